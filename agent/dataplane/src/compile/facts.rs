//! What the dataplane needs of a Service and of an EndpointSlice, and nothing else: the cache holds these, so its
//! memory does not grow with annotations and managed fields. Enters: API objects. Leaves: facts. Called by run.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::balancing::Balancing;
use super::forwarding::Forwarding;
use super::names::Names;
use crate::model::{Family, Protocol, SourceRange};

/// Another proxy's service (KEP-2447): such Services and their slices are not ours.
pub const LABEL_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Marks headless Services and their slices.
pub const LABEL_HEADLESS: &str = "service.kubernetes.io/headless";
/// The Service a slice belongs to.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Upstream's default for ClientIP affinity: three hours.
const AFFINITY_DEFAULT_SECONDS: i32 = 10_800;

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Owner {
    /// From parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// Name, empty for the only port.
    pub name: Box<str>,
    /// Transport.
    pub protocol: Protocol,
    /// Port at the VIP.
    pub port: u16,
    /// NodePort, if allocated.
    pub node_port: Option<u16>,
}

/// A Service with VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Creation time in seconds: of two Services that claim one frontend the older has it.
    pub created: i64,
    /// ClusterIPs, at most one per family.
    pub cluster_ips: Box<[IpAddr]>,
    /// `spec.externalIPs`.
    pub external_ips: Box<[IpAddr]>,
    /// Load balancer addresses with ipMode VIP (KEP-1860).
    pub load_balancer_ips: Box<[IpAddr]>,
    /// Ports.
    pub ports: Box<[PortFacts]>,
    /// internalTrafficPolicy Local.
    pub internal_local: bool,
    /// externalTrafficPolicy Local.
    pub external_local: bool,
    /// The annotation of [`super::forwarding`].
    pub forwarding: Forwarding,
    /// loadBalancerSourceRanges.
    pub source_ranges: Box<[SourceRange]>,
    /// ClientIP affinity, timeout in seconds.
    pub affinity: Option<u32>,
    /// The annotation of [`super::balancing`].
    pub balancing: Balancing,
    /// publishNotReadyAddresses.
    pub publish_not_ready: bool,
    /// healthCheckNodePort, of a load balancer with externalTrafficPolicy Local: for others it has no meaning.
    pub health_check_port: Option<u16>,
}

impl ServiceFacts {
    /// Whether it has a port of SCTP.
    pub fn has_sctp(&self) -> bool {
        self.ports.iter().any(|port| port.protocol == Protocol::Sctp)
    }
}

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFacts {
    /// First address; the others have no defined meaning upstream.
    pub addr: IpAddr,
    /// May get new connections; absent means yes.
    pub ready: bool,
    /// Answers, even while it terminates; absent means as ready.
    pub serving: bool,
    /// Is being shut down.
    pub terminating: bool,
    /// Where it is, and whom it is meant for.
    pub place: Arc<EndpointPlace>,
}

/// What endpoints of one node mostly have in common, and one copy for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndpointPlace {
    /// On which node.
    pub node: Option<Arc<str>>,
    /// Zones the control plane wants it used from.
    pub for_zones: Box<[Arc<str>]>,
    /// Nodes the control plane wants it used from.
    pub for_nodes: Box<[Arc<str>]>,
}

/// A slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFacts {
    /// The Service.
    pub owner: Owner,
    /// Family of all its endpoints.
    pub family: Family,
    /// Named ports with the endpoints' numbers.
    pub ports: Box<[(Arc<str>, Protocol, u16)]>,
    /// Endpoints.
    pub endpoints: Box<[EndpointFacts]>,
}

fn addresses(list: Option<&Vec<String>>) -> Vec<IpAddr> {
    list.into_iter().flatten().filter_map(|a| a.parse().ok()).collect()
}

fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|p| *p != 0)
}

/// The ClusterIPs of a Service that this proxy must leave alone: another proxy's, or one without a port that we serve.
pub fn held(object: &Service) -> Vec<IpAddr> {
    let Some(spec) = object.spec.as_ref().filter(|s| s.type_.as_deref() != Some("ExternalName")) else {
        return Vec::new();
    };
    if service(object).is_some_and(|facts| !facts.ports.is_empty()) {
        return Vec::new();
    }
    let mut out = addresses(spec.cluster_ips.as_ref());
    out.extend(spec.cluster_ip.as_deref().and_then(|a| a.parse::<IpAddr>().ok()));
    out
}

/// The facts of a Service; `None` if it has no VIP (headless, ExternalName) or belongs to another proxy.
pub fn service(object: &Service) -> Option<ServiceFacts> {
    let labels = object.metadata.labels.as_ref();
    let spec = object.spec.as_ref()?;
    let foreign = labels.is_some_and(|l| l.contains_key(LABEL_PROXY_NAME));
    if foreign || spec.type_.as_deref() == Some("ExternalName") || spec.cluster_ip.as_deref() == Some("None")
    {
        return None;
    }
    let mut cluster_ips = addresses(spec.cluster_ips.as_ref());
    if cluster_ips.is_empty() {
        cluster_ips.extend(spec.cluster_ip.as_deref().and_then(|a| a.parse::<IpAddr>().ok()));
    }
    if cluster_ips.is_empty() {
        return None;
    }
    let ports = spec.ports.iter().flatten().filter_map(|p| {
        Some(PortFacts {
            name: p.name.as_deref().unwrap_or_default().into(),
            protocol: Protocol::from_api(p.protocol.as_deref())?,
            port: port(p.port)?,
            node_port: p.node_port.and_then(port),
        })
    });
    let ingress =
        object.status.iter().flat_map(|s| s.load_balancer.iter()).flat_map(|l| l.ingress.iter().flatten());
    let load_balancer_ips = ingress
        .filter(|i| i.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|i| i.ip.as_deref()?.parse().ok())
        .collect();
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        config.and_then(|c| c.timeout_seconds).unwrap_or(AFFINITY_DEFAULT_SECONDS).clamp(1, 86_400) as u32
    });
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let checked = external_local && spec.type_.as_deref() == Some("LoadBalancer");
    Some(ServiceFacts {
        created: object.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |t| t.0.as_second()),
        cluster_ips: cluster_ips.into(),
        external_ips: addresses(spec.external_ips.as_ref()).into(),
        load_balancer_ips,
        ports: ports.collect(),
        external_local,
        forwarding: Forwarding::of(object),
        source_ranges: spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .filter_map(|r| SourceRange::parse(r))
            .collect(),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        affinity,
        balancing: Balancing::of(object),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        health_check_port: spec.health_check_node_port.filter(|_| checked).and_then(port),
    })
}

fn endpoint(e: &Endpoint, family: Family, names: &mut Names) -> Option<EndpointFacts> {
    let addr: IpAddr = e.addresses.first()?.parse().ok()?;
    if Family::of(&addr) != family {
        return None;
    }
    let conditions = e.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let hints = e.hints.as_ref();
    let place = EndpointPlace {
        node: e.node_name.as_deref().map(|name| names.share(name)),
        for_zones: hints
            .and_then(|h| h.for_zones.as_ref())
            .iter()
            .flat_map(|z| z.iter())
            .map(|z| names.share(&z.name))
            .collect(),
        for_nodes: hints
            .and_then(|h| h.for_nodes.as_ref())
            .iter()
            .flat_map(|n| n.iter())
            .map(|n| names.share(&n.name))
            .collect(),
    };
    Some(EndpointFacts {
        addr,
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        place: names.place(place),
    })
}

/// The facts of a slice; `None` if it is no Service's, headless, another proxy's, or of names rather than addresses.
pub fn slice(object: &EndpointSlice, names: &mut Names) -> Option<SliceFacts> {
    let labels = object.metadata.labels.as_ref()?;
    if labels.contains_key(LABEL_HEADLESS) || labels.contains_key(LABEL_PROXY_NAME) {
        return None;
    }
    let family = match object.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        _ => return None,
    };
    let namespace = names.share(object.metadata.namespace.as_deref()?);
    let owner = Owner { namespace, name: labels.get(LABEL_SERVICE_NAME)?.as_str().into() };
    let ports: Box<[_]> = object
        .ports
        .iter()
        .flatten()
        .filter_map(|p| {
            let name = names.share(p.name.as_deref().unwrap_or_default());
            Some((name, Protocol::from_api(p.protocol.as_deref())?, port(p.port?)?))
        })
        .collect();
    let endpoints = object.endpoints.iter().flatten().filter_map(|e| endpoint(e, family, names));
    Some(SliceFacts { owner, family, ports, endpoints: endpoints.collect() })
}
