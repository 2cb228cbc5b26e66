//! The core group (`v1`), without pods (see [`crate::pod`]) and volumes (see [`crate::storage`]).

pub mod binding;
pub mod component_status;
pub mod config_map;
pub mod endpoints;
pub mod limit_range;
pub mod namespace;
pub mod node;
mod node_rules;
pub mod pod_template;
mod quota_scopes;
pub mod replication_controller;
pub mod resource_quota;
pub mod secret;
pub mod service;
pub mod service_account;
mod service_addresses;
mod service_update;
mod service_validate;

#[cfg(test)]
mod tables;
