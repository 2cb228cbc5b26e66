//! `x-kubernetes-validations`: rules in CEL.
//!
//! Enters: schemas with rules; objects, and the objects before. Leaves: compiled rules and their estimated costs for
//! [`crate::definition`]; errors of objects for [`crate::resource`].
//!
//! Authority: apiextensions-apiserver, pkg/apiserver/schema/cel (KEP-2876; ratcheting KEP-4008).

mod compile;
mod run;

#[cfg(test)]
mod tests;

pub use compile::{Compiled, CompiledRule, compile_node};
pub use run::{Outcome, Rules};

/// The variable of the value.
pub(crate) const SELF: &str = "self";
/// The variable of the value before.
pub(crate) const OLD_SELF: &str = "oldSelf";
