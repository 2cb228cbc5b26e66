//! The node's machine as the kubelet needs it: capacity, QoS and cgroups, volumes, environment, container logs.
//!
//! Enters: pods (k8s-openapi) and what the kubelet fetched for them through [`volumes::Sources`]. Leaves: cgroups,
//! mounted volumes, resolved environments and log bytes. Called by `xebec-kubelet` and `xebec-kubelet-serve`;
//! it knows neither the API server nor the container runtime.

pub mod cgroups;
pub mod env;
pub mod logs;
pub mod machine;
pub mod qos;
pub mod volumes;
