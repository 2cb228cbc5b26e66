//! The policy group: PodDisruptionBudgets.

pub mod convert;
pub mod disruption_budget;
