//! The scheduler: which node runs a pod.
//!
//! Enters: pods and nodes (kube-rs watches). Leaves: bindings, Events, and the PodScheduled condition.
//! `snapshot` (the cluster as scheduling sees it) -> `filter` (PURE: which nodes can) -> `score` (PURE: which is best)
//! -> `bind`. `queue` orders the pods and brings refused ones back when something changed or after back-off.
//! Called by `xebec-control scheduler` and `all`; it is a client of the public API like any other scheduler, and takes
//! only pods whose `spec.schedulerName` is its own.

pub mod filter;
pub mod pod;
pub mod queue;
mod report;
mod run;
pub mod score;
pub mod select;
pub mod snapshot;

pub use run::{Options, run};

/// Why the scheduler ended.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The options cannot be used.
    #[error(
        "scheduler name is empty: give the name that pods carry in spec.schedulerName, such as default-scheduler"
    )]
    NoName,
}
