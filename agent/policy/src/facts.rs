//! The API's objects as the compiler's facts. PURE. What upstream's validation lets through is read as it is meant; a
//! peer or port that this version does not know selects nothing, so that a newer rule never allows too much.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use xebec_api::selector::LabelSelector;

use crate::model::{NamedPort, Network, Peer, Pod, Policy, Port, PortRange, Protocol, Rule};

/// A policy that cannot be read; it selects its pods and allows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("NetworkPolicy {namespace}/{name}: {field}: {why}")]
pub struct Unreadable {
    namespace: String,
    name: String,
    field: &'static str,
    why: String,
}

/// A protocol by its name; absent is TCP.
fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

fn selector(selector: &meta::LabelSelector) -> Result<LabelSelector, String> {
    let value = serde_json::to_value(selector).map_err(|error| error.to_string())?;
    LabelSelector::from_object(&value).map_err(|error| error.to_string())
}

fn peer(peer: &net::NetworkPolicyPeer) -> Result<Option<Peer>, String> {
    if let Some(block) = &peer.ip_block {
        let read = |text: &String| {
            Network::parse(text).ok_or_else(|| format!("{text:?} is no network such as 10.0.0.0/8"))
        };
        let except = block.except.iter().flatten().map(read).collect::<Result<_, _>>()?;
        return Ok(Some(Peer::Block { network: read(&block.cidr)?, except }));
    }
    let namespaces = peer.namespace_selector.as_ref().map(selector).transpose()?;
    let pods = peer.pod_selector.as_ref().map(selector).transpose()?;
    // A peer without anything known says what only a newer version understands.
    if namespaces.is_none() && pods.is_none() {
        return Ok(None);
    }
    Ok(Some(Peer::Pods { namespaces, pods: pods.unwrap_or_else(LabelSelector::everything) }))
}

fn port(port: &net::NetworkPolicyPort) -> Option<Port> {
    let number = |number: i32| u16::try_from(number).ok();
    let range = match (&port.port, port.end_port) {
        (None, _) => PortRange::Any,
        (Some(IntOrString::Int(first)), None) => PortRange::Numbers(number(*first)?, number(*first)?),
        (Some(IntOrString::Int(first)), Some(last)) => PortRange::Numbers(number(*first)?, number(last)?),
        (Some(IntOrString::String(name)), None) => PortRange::Named(name.clone()),
        (Some(IntOrString::String(_)), Some(_)) => return None,
    };
    Some(Port { protocol: protocol(port.protocol.as_deref())?, range })
}

/// The rule, or none when what is left of it after the unknown would allow everybody or everything.
fn rule(
    peers: Option<&Vec<net::NetworkPolicyPeer>>,
    ports: Option<&Vec<net::NetworkPolicyPort>>,
) -> Result<Option<Rule>, String> {
    let (all_peers, all_ports) = (peers.map_or(0, Vec::len), ports.map_or(0, Vec::len));
    let peers = peers.into_iter().flatten().map(peer).collect::<Result<Vec<_>, _>>()?;
    let peers: Vec<Peer> = peers.into_iter().flatten().collect();
    let ports: Vec<Port> = ports.into_iter().flatten().filter_map(port).collect();
    let unknown = (all_peers > 0 && peers.is_empty()) || (all_ports > 0 && ports.is_empty());
    Ok((!unknown).then_some(Rule { peers, ports }))
}

/// A policy's facts; where a selector or network cannot be read, of a policy that isolates its pods and allows nothing,
/// with the reason.
#[must_use]
pub fn policy(policy: &net::NetworkPolicy) -> (Policy, Option<Unreadable>) {
    let namespace = policy.metadata.namespace.clone().unwrap_or_default();
    let name = policy.metadata.name.clone().unwrap_or_default();
    let spec = policy.spec.clone().unwrap_or_default();
    let types = spec.policy_types.clone().unwrap_or_else(|| {
        // As upstream's defaults: always ingress, egress if there are rules for it.
        let egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
        [Some("Ingress"), egress.then_some("Egress")].into_iter().flatten().map(str::to_owned).collect()
    });
    let isolates = |name: &str| types.iter().any(|one| one == name);
    let read = || -> Result<Policy, (&'static str, String)> {
        let pods = spec.pod_selector.as_ref().map_or_else(|| Ok(LabelSelector::everything()), selector);
        let ingress = spec.ingress.iter().flatten().map(|one| rule(one.from.as_ref(), one.ports.as_ref()));
        let egress = spec.egress.iter().flatten().map(|one| rule(one.to.as_ref(), one.ports.as_ref()));
        let ingress = ingress.collect::<Result<Vec<_>, _>>().map_err(|why| ("spec.ingress", why))?;
        let egress = egress.collect::<Result<Vec<_>, _>>().map_err(|why| ("spec.egress", why))?;
        Ok(Policy {
            namespace: namespace.clone(),
            name: name.clone(),
            pods: pods.map_err(|why| ("spec.podSelector", why))?,
            ingress: isolates("Ingress").then(|| ingress.into_iter().flatten().collect()),
            egress: isolates("Egress").then(|| egress.into_iter().flatten().collect()),
        })
    };
    match read() {
        Ok(policy) => (policy, None),
        Err((field, why)) => {
            let pods = spec.pod_selector.as_ref().map_or_else(|| Ok(LabelSelector::everything()), selector);
            let closed = Policy {
                namespace: namespace.clone(),
                name: name.clone(),
                // Whose pods they are is unknown, too: then it is all of the namespace's.
                pods: pods.unwrap_or_else(|_| LabelSelector::everything()),
                ingress: isolates("Ingress").then(Vec::new),
                egress: isolates("Egress").then(Vec::new),
            };
            (closed, Some(Unreadable { namespace: namespace.clone(), name: name.clone(), field, why }))
        }
    }
}

/// A pod's facts; none for one that has ended, whose addresses may be others' by now.
#[must_use]
pub fn pod(pod: &core::Pod) -> Option<Pod> {
    let spec = pod.spec.as_ref()?;
    let status = pod.status.clone().unwrap_or_default();
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let texts = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).chain(status.pod_ip.as_deref());
    let mut addresses: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    // Sidecars are init containers with ports of their own.
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ports = containers.flat_map(|container| container.ports.iter().flatten()).filter_map(|port| {
        Some(NamedPort {
            name: port.name.clone()?,
            protocol: protocol(port.protocol.as_deref())?,
            number: u16::try_from(port.container_port).ok()?,
        })
    });
    Some(Pod {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        addresses,
        ports: ports.collect(),
        on_host: spec.host_network == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(spec: serde_json::Value) -> (Policy, Option<Unreadable>) {
        let object = json!({"metadata": {"namespace": "x", "name": "p"}, "spec": spec});
        policy(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn directions_are_as_upstreams_defaults() {
        let directions = |spec| {
            let (policy, unreadable) = read(spec);
            assert_eq!(unreadable, None);
            (policy.ingress.is_some(), policy.egress.is_some())
        };
        assert_eq!(directions(json!({"podSelector": {}})), (true, false));
        assert_eq!(directions(json!({"podSelector": {}, "egress": []})), (true, false));
        assert_eq!(directions(json!({"podSelector": {}, "egress": [{}]})), (true, true));
        assert_eq!(directions(json!({"podSelector": {}, "policyTypes": ["Egress"]})), (false, true));
    }

    #[test]
    fn what_cannot_be_read_isolates_and_allows_nothing() {
        let (policy, unreadable) =
            read(json!({"podSelector": {}, "ingress": [{}, {"from": [{"ipBlock": {"cidr": "nonsense"}}]}]}));
        assert_eq!((policy.ingress, policy.egress), (Some(Vec::new()), None));
        let why = unreadable.unwrap().to_string();
        assert!(why.starts_with("NetworkPolicy x/p: spec.ingress: \"nonsense\""), "{why}");
    }
}
