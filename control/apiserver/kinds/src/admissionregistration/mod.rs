//! The admissionregistration.k8s.io group: webhook configurations, admission policies and their bindings.

pub mod binding;
pub mod client;
mod conditions;
mod match_resources;
pub mod mutating_policy;
mod policy;
mod rule;
pub mod validating_policy;
pub mod webhook;

pub(crate) const GROUP: &str = "admissionregistration.k8s.io";
const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
