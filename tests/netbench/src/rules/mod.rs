//! The peers' rule sets, generated: what kube-proxy would have written for the same Services. PURE.

pub(crate) mod iptables;
pub(crate) mod nftables;

use crate::{frames, plan};

/// A port of a Service.
pub(crate) struct ServicePort {
    /// A name for its chains.
    pub(crate) name: String,
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Its virtual IP.
    pub(crate) ip: String,
    /// The node's port, if it has one.
    pub(crate) node_port: Option<u16>,
    /// Addresses that serve it.
    pub(crate) endpoints: Vec<String>,
}

/// The port that clients call.
pub(crate) const PORT: u16 = 80;

/// The ports of `services` Services; the last has a UDP port as well, and is reached from outside. One more is served
/// elsewhere.
pub(crate) fn ports(services: usize, endpoints: u8) -> Vec<ServicePort> {
    let port = |service: usize, protocol: &'static str| ServicePort {
        name: format!("{service:06}{}", protocol.to_uppercase()),
        protocol,
        ip: plan::virtual_ip(service),
        node_port: plan::node_port(service, services).filter(|_| protocol == "tcp"),
        endpoints: plan::endpoints(service, services, endpoints),
    };
    let elsewhere = ServicePort {
        name: "elsewhere".to_owned(),
        protocol: "udp",
        ip: plan::virtual_ip(services),
        node_port: Some(frames::PORT),
        endpoints: vec![frames::FAR.to_owned()],
    };
    let all = (0..services).map(|service| port(service, "tcp"));
    all.chain([port(services - 1, "udp"), elsewhere]).collect()
}
