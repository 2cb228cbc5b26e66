//! What the server says about a definition, and how it gets from new to served to gone.
//!
//! Enters: a definition, the other definitions, the built-in resources, the time. Leaves: a definition with a new
//! status to be written, or nothing to do. Called by the API server's loop over definitions.
//!
//! Authority: apiextensions-apiserver, pkg/controller/{status,establish,nonstructuralschema,apiapproval,finalizer}.

mod conditions;
mod deletion;
mod naming;
mod plan;

#[cfg(test)]
mod tests;

pub use conditions::{Condition, is_true};
pub use deletion::{Deletion, InstancesGone, begin_deletion, deletion_step, finish_deletion};
pub use naming::{Claims, TakenNames};
pub use plan::{ESTABLISH_DELAY, Step, is_served, plan};
