//! What scheduling needs of a pod, computed once. Enters: a Pod. Leaves: requests, host ports, terms.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use xebec_api::quantity::Quantity;

/// Requested amounts by resource name: `cpu` in millicores, everything else in units (bytes, pieces).
pub type Resources = BTreeMap<String, i64>;

/// A port on the node that a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The node's address; `0.0.0.0` means all of them.
    pub ip: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == any || other.ip == any)
    }
}

/// The amount of a resource in the unit that scheduling counts in.
pub fn amount(name: &str, quantity: &ApiQuantity) -> i64 {
    // The API server validated it: what does not parse counts as nothing rather than stopping all scheduling.
    Quantity::parse(&quantity.0)
        .map_or(0, |parsed| if name == "cpu" { parsed.milli_value() } else { parsed.value() })
}

/// All amounts of a resource list.
pub fn amounts(list: Option<&BTreeMap<String, ApiQuantity>>) -> Resources {
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), amount(name, quantity))).collect()
}

fn container_requests(container: &Container) -> Resources {
    amounts(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn add(to: &mut Resources, what: &Resources) {
    for (name, value) in what {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*value);
    }
}

fn raise(to: &mut Resources, what: &Resources) {
    for (name, value) in what {
        let most = to.entry(name.clone()).or_default();
        *most = (*most).max(*value);
    }
}

/// The most that a pod uses at any time: containers and started sidecars together, or an init container beside the
/// sidecars started before it; plus the overhead; pod-level requests replace the sum (KEP-753, KEP-2837).
pub fn requests(spec: &PodSpec) -> Resources {
    let mut running = Resources::new();
    for container in &spec.containers {
        add(&mut running, &container_requests(container));
    }
    let (mut sidecars, mut peak) = (Resources::new(), Resources::new());
    for container in spec.init_containers.iter().flatten() {
        let wanted = container_requests(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &wanted);
            raise(&mut peak, &sidecars);
        } else {
            let mut moment = sidecars.clone();
            add(&mut moment, &wanted);
            raise(&mut peak, &moment);
        }
    }
    add(&mut running, &sidecars);
    raise(&mut running, &peak);
    for (name, value) in amounts(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref())) {
        running.insert(name, value);
    }
    add(&mut running, &amounts(spec.overhead.as_ref()));
    running.retain(|_, value| *value != 0);
    running
}

/// Host ports of all containers that run at the same time.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned()),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: port.host_port.filter(|port| *port > 0)?,
            })
        })
        .collect()
}

/// `namespace/name`.
pub fn key(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name))
}

/// Whether the pod still uses its node.
pub fn is_active(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn container(cpu: &str, memory: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn init_containers_count_by_their_peak() {
        let mut init = container("2", "10Mi");
        let plain = spec(
            json!({"containers": [container("100m", "1Gi"), container("200m", "1Gi")], "initContainers": [init]}),
        );
        assert_eq!(requests(&plain)["cpu"], 2000);
        assert_eq!(requests(&plain)["memory"], 2 << 30);
        init["restartPolicy"] = "Always".into();
        let sidecar = spec(
            json!({"containers": [container("100m", "1Gi")], "initContainers": [init, container("1", "1Mi")]}),
        );
        assert_eq!(requests(&sidecar)["cpu"], 3000, "the second init container runs beside the sidecar");
    }

    #[test]
    fn overhead_and_pod_level_requests_count() {
        let pod = spec(json!({
            "containers": [container("100m", "1Gi")],
            "resources": {"requests": {"cpu": "1"}},
            "overhead": {"cpu": "50m"},
        }));
        assert_eq!(requests(&pod)["cpu"], 1050);
    }

    #[test]
    fn host_ports_conflict_by_address_and_protocol() {
        let port = |ip: &str, protocol: &str, port| HostPort {
            ip: ip.to_owned(),
            protocol: protocol.to_owned(),
            port,
        };
        assert!(port("0.0.0.0", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("10.0.0.2", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("0.0.0.0", "UDP", 80).conflicts(&port("0.0.0.0", "TCP", 80)));
    }
}
