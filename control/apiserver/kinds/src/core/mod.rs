//! The core group (`v1`), without pods (see [`crate::pod`]) and volumes (see [`crate::storage`]).

pub mod binding;
pub mod component_status;
pub mod config_map;
pub mod endpoints;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod pod_template;
pub mod replication_controller;
pub mod resource_quota;
pub mod secret;
pub mod service;
pub mod service_account;
mod service_addresses;
mod service_update;
mod service_validate;

#[cfg(test)]
mod service_tables;

#[cfg(test)]
mod data_tables;
