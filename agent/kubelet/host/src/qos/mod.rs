//! Quality of service, all pure. Enters: a pod. Leaves: its class, its summed requests and limits, the kernel's
//! numbers for them (shares, quota, OOM score). Called by the cgroup manager and by whoever builds a container.

mod class;
mod requests;
mod values;

pub use class::{QosClass, qos_class};
pub use requests::{
    Amounts, Declared, amounts, container_limits, container_requests, pod_limits, pod_requests,
};
pub use values::{
    ContainerResources, PodResources, container_resources, milli_to_quota, milli_to_shares, oom_score_adj,
    pod_resources, shares_to_weight,
};

/// The period CPU quotas are given for, in microseconds.
pub const QUOTA_PERIOD_US: u64 = 100_000;
/// The fewest CPU shares a cgroup may have.
pub const MIN_SHARES: u64 = 2;
/// The most CPU shares a cgroup may have.
pub const MAX_SHARES: u64 = 262_144;
