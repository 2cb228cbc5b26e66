//! Events, which are stored once and served in two groups: core/v1 and events.k8s.io/v1.

mod convert;
mod event;
mod rules;

#[cfg(test)]
mod tables;

pub use convert::{to_core, to_events};
pub use event::{CoreEvent, NewEvent};
