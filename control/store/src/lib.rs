//! Cluster state: one trait, two engines.
