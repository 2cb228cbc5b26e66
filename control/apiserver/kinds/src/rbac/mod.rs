//! The rbac.authorization.k8s.io group: roles and bindings. Escalation checks are xebec-identity's.

pub mod binding;
pub mod role;

#[cfg(test)]
mod tables;
