//! The autoscaling group: HorizontalPodAutoscalers.

mod convert;
pub mod horizontal;

pub use convert::{to_v1, to_v2};
mod old_metrics;
mod rules;

#[cfg(test)]
mod tables;
