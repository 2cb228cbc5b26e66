//! The networking.k8s.io group.

pub mod address;
pub mod ingress;
pub mod ingress_class;
pub mod network_policy;

#[cfg(test)]
mod tables;
