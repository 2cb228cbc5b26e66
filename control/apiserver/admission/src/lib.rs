//! The built-in admission plug-ins: what a write must satisfy beyond its own schema, and what the cluster adds to it.
//!
//! Enters: a write ([`Request`]) with its object and the stored one. Leaves: the completed object or an error that is
//! answered as it is, questions for the authorizer ([`Question`]), warnings and audit annotations ([`Findings`]), and
//! for quotas a reservation. Called by the API server's admission, plug-in by plug-in in the order of
//! [`Plugin::ORDER`]: first the mutating phase of all, then (the kind's own rules being satisfied) the validating one.
//!
//! Plug-ins are pure over an [`xebec_identity::ObjectReader`]. Two keep state, because they must: [`quota`] (its lanes)
//! and [`rate_limit`] (its buckets).

#![expect(clippy::result_large_err, reason = "an ApiError is built on failure only, and answered at once")]

mod certificates;
mod config;
mod images;
mod limit_ranger;
mod namespaces;
mod network;
mod node_restriction;
mod nodes;
mod owner_references;
mod plugin;
mod pod_references;
pub mod pod_security;
mod priority;
pub mod quota;
pub mod rate_limit;
mod request;
mod runtime_class;
mod service_account;
mod storage;
#[cfg(test)]
mod testing;
mod tolerations;

pub use config::{Config, ConfigError};
pub use nodes::NodeSelectors;
pub use plugin::{Plugin, SelectionError, select};
pub use request::{Call, Findings, Operation, Question, Request};
pub use tolerations::TolerationConfig;
