//! The controllers against the real API server on the embedded store, in one process, with a stand-in for kubelets
//! that makes every pod run at once.

#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

mod balancers;
mod certificates;
mod cluster;
mod deployments;
mod jobs;
mod namespaces;
mod quotas;
mod roles;
mod topology;
