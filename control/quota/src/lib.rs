//! What objects use of a ResourceQuota. Pure: no clock (it is a parameter), no I/O.
//!
//! Enters: objects and quotas as JSON values. Leaves: amounts by resource name, and which quota an object counts
//! against. Called by the API server's admission, which reserves before it writes, and by the quota controller, which
//! counts what is there: both must come to the same numbers, so both count here.
//! Authority: pkg/quota/v1 upstream.

mod claims;
mod evaluator;
pub mod pod;
mod pods;
mod resources;
mod scope;
mod services;

pub use evaluator::{Evaluator, ignored};
pub use resources::{ResourceList, names_text};
pub use scope::{ScopeSelector, selectors};

use serde_json::Value;

/// What a quota allows: `spec.hard` as the controller has taken it over into `status.hard`.
///
/// Admission enforces the status, not the spec: a limit nobody has counted yet cannot be compared with anything.
pub fn hard(quota: &Value) -> ResourceList {
    ResourceList::at(quota, "/status/hard")
}

/// What is used of a quota: `status.used`.
pub fn used(quota: &Value) -> ResourceList {
    ResourceList::at(quota, "/status/used")
}
