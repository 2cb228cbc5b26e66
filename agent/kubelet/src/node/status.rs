//! The Node's status (pure). Enters: facts about machine and runtime, the status the API has. Leaves: the NodeStatus
//! upstream's kubelet would write.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Upstream's limit for the images listed in the status.
const MAX_IMAGES: usize = 50;

/// Everything a node's status depends on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The node's addresses, the primary first.
    pub ips: Vec<String>,
    /// The machine's name.
    pub hostname: String,
    /// What the machine has: cpu, memory, ephemeral-storage, hugepages-*, pods.
    pub capacity: BTreeMap<String, Quantity>,
    /// What of that pods may have.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Kernel, operating system, versions.
    pub info: NodeSystemInfo,
    /// Why the runtime or its network is not ready, one text each; empty = ready.
    pub not_ready: Vec<String>,
    /// Memory is short.
    pub memory_pressure: bool,
    /// Disk space or inodes are short.
    pub disk_pressure: bool,
    /// Process ids are short.
    pub pid_pressure: bool,
    /// Images on the machine: names and size in bytes.
    pub images: Vec<(Vec<String>, i64)>,
    /// The port of the kubelet's server.
    pub port: u16,
}

/// The status for these facts.
pub fn node_status(facts: &Facts, old: &NodeStatus, now: Timestamp) -> NodeStatus {
    let mut addresses: Vec<NodeAddress> = facts
        .ips
        .iter()
        .map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.clone() })
        .collect();
    addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: facts.hostname.clone() });
    let mut images = facts.images.clone();
    images.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    images.truncate(MAX_IMAGES);
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(facts.capacity.clone()),
        allocatable: Some(facts.allocatable.clone()),
        conditions: Some(conditions(facts, old, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(facts.port) }),
        }),
        node_info: Some(facts.info.clone()),
        images: Some(
            images
                .into_iter()
                .map(|(names, size)| ContainerImage { names: Some(names), size_bytes: Some(size) })
                .collect(),
        ),
        // owned by others
        volumes_attached: old.volumes_attached.clone(),
        volumes_in_use: old.volumes_in_use.clone(),
        ..NodeStatus::default()
    }
}

fn conditions(facts: &Facts, old: &NodeStatus, now: Timestamp) -> Vec<NodeCondition> {
    let pressure = |kind: &str, on: bool, bad: &str, good: &str, messages: (&str, &str)| {
        if on {
            (kind.to_owned(), "True", bad.to_owned(), messages.0.to_owned())
        } else {
            (kind.to_owned(), "False", good.to_owned(), messages.1.to_owned())
        }
    };
    let ready = if facts.not_ready.is_empty() {
        ("Ready".to_owned(), "True", "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned())
    } else {
        let message = match facts.not_ready.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        ("Ready".to_owned(), "False", "KubeletNotReady".to_owned(), message)
    };
    let all = [
        pressure(
            "MemoryPressure",
            facts.memory_pressure,
            "KubeletHasInsufficientMemory",
            "KubeletHasSufficientMemory",
            ("kubelet has insufficient memory available", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            facts.disk_pressure,
            "KubeletHasDiskPressure",
            "KubeletHasNoDiskPressure",
            ("kubelet has disk pressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            facts.pid_pressure,
            "KubeletHasInsufficientPID",
            "KubeletHasSufficientPID",
            ("kubelet has insufficient PID available", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    let before = old.conditions.as_deref().unwrap_or_default();
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let mine = all.into_iter().map(|(kind, status, reason, message)| {
        let previous = before.iter().find(|condition| condition.type_ == kind);
        let since = previous.filter(|p| p.status == status).and_then(|p| p.last_transition_time.clone());
        NodeCondition {
            type_: kind,
            status: status.to_owned(),
            reason: Some(reason),
            message: Some(message),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
        }
    });
    let mine: Vec<NodeCondition> = mine.collect();
    let others = before.iter().filter(|c| !mine.iter().any(|m| m.type_ == c.type_)).cloned();
    let others: Vec<NodeCondition> = others.collect();
    mine.into_iter().chain(others).collect()
}

/// True if two statuses differ in more than their heartbeats.
pub fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(a) != still(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: &NodeStatus) -> &NodeCondition {
        status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready").unwrap()
    }

    #[test]
    fn a_missing_network_makes_the_node_not_ready_and_the_change_is_dated() {
        let start = Timestamp::from_second(1000).unwrap();
        let later = Timestamp::from_second(2000).unwrap();
        let mut facts = Facts { ips: vec!["10.0.0.1".into()], hostname: "n".into(), ..Facts::default() };
        let first = node_status(&facts, &NodeStatus::default(), start);
        assert_eq!(ready(&first).message.as_deref(), Some("kubelet is posting ready status"));
        let same = node_status(&facts, &first, later);
        assert!(!differs(&first, &same), "a heartbeat alone is no change");
        assert_eq!(ready(&same).last_transition_time, Some(Time(start)));
        facts.not_ready = vec!["container runtime network not ready: x".into()];
        let lost = node_status(&facts, &same, later);
        assert!(differs(&same, &lost));
        assert_eq!(ready(&lost).status, "False");
        assert_eq!(ready(&lost).last_transition_time, Some(Time(later)));
    }

    #[test]
    fn the_largest_images_are_listed() {
        let image = |n: i64| (vec![format!("i{n}")], n);
        let facts = Facts { images: (0..60).map(image).collect(), ..Facts::default() };
        let status = node_status(&facts, &NodeStatus::default(), Timestamp::UNIX_EPOCH);
        let images = status.images.unwrap();
        assert_eq!((images.len(), images[0].size_bytes), (MAX_IMAGES, Some(59)));
    }
}
