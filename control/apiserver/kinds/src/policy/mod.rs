//! The policy group: PodDisruptionBudgets.

pub mod disruption_budget;
