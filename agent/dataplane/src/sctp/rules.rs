//! Service ports of SCTP to the tables that serve them. PURE. Enters: the service ports and this node's addresses. Leaves: a
//! [`Ruleset`] of each family that has any. Called by table.
//!
//! As kube-proxy's nftables mode has them (KEP-3866, pkg/proxy/nftables), with its names: a look-up in `service-ips` or
//! `service-nodeports` leads to the service port's chain, that by chance to an endpoint's chain. What differs:
//!
//! - All is of SCTP: keys have no protocol, and packets of others leave each hook after one comparison.
//! - Who has no endpoint is told apart after the translation where the node itself sends, so that externalTrafficPolicy Local
//!   does not cut it off from endpoints elsewhere.
//! - The node's addresses are sets, followed as they come and go, in place of look-ups in its routes.
//! - Wrong ports are refused at ClusterIPs that have some port of SCTP; other ClusterIPs are not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use xebec_abi::state::NODE_IP_ANY;

use super::ruleset::{Chain, Ruleset, Set, keyword};
use crate::model::{Family, Kind, ServicePort, SourceRange, Vip};

/// What the rules need to know of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// All of its own, without loopback.
    pub own: BTreeSet<IpAddr>,
    /// Those that node ports answer at.
    pub node_ports: BTreeSet<IpAddr>,
    /// The networks of the cluster's pods; what comes from there is not from outside. Empty if they are not known.
    pub pods: BTreeSet<SourceRange>,
}

impl Addresses {
    /// From the node's addresses with their `NODE_IP_` flags. Loopback leads no SCTP anywhere, as upstream.
    pub fn new(flags: &BTreeMap<IpAddr, u32>, pods: BTreeSet<SourceRange>) -> Self {
        let own = || flags.iter().filter(|(addr, _)| !addr.is_loopback());
        let node_ports = own().filter(|(_, flags)| **flags & NODE_IP_ANY != 0);
        Self {
            own: own().map(|(addr, _)| *addr).collect(),
            node_ports: node_ports.map(|(addr, _)| *addr).collect(),
            pods,
        }
    }
}

pub(super) const SERVICE_IPS: &str = "service-ips";
pub(super) const SERVICE_NODE_PORTS: &str = "service-nodeports";
pub(super) const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
pub(super) const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
pub(super) const FIREWALL_IPS: &str = "firewall-ips";
pub(super) const HOST_PORTS: &str = "host-ports";
pub(super) const HOST_PORTS_AT: &str = "host-ports-at";
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
pub(super) const NODE_PORT_IPS: &str = "nodeport-ips";
pub(super) const NODE_IPS: &str = "node-ips";

/// kube-proxy's mark of packets whose source is to be the node's (`--iptables-masquerade-bit` 14): it is gone again once
/// they are translated.
pub(super) const MARK: &str = "0x4000";
pub(super) const JUMP_MARK: &str = "jump mark-for-masquerade";

/// The table of a family; `None` if no service port is of it.
pub fn rules(family: Family, ports: &[ServicePort], addresses: &Addresses) -> Option<Ruleset> {
    let mut rules = Rules::new(family, addresses);
    let mut of_family = ports.iter().filter(|port| port.primary.family() == family).peekable();
    of_family.peek()?;
    of_family.for_each(|port| rules.add(port));
    Some(rules.out)
}

/// What stands for a service port in names of chains: letters, digits and few signs, whatever the API may one day allow.
fn label(port: &ServicePort) -> String {
    let text = match (port.kind, port.primary.vip) {
        // Of its own alphabet, beside namespaces.
        (Kind::HostPort, Vip::HostAddress(addr)) => format!("HOST/{addr}/{}", port.primary.port),
        (Kind::HostPort, _) => format!("HOST/any/{}", port.primary.port),
        _ => port.name.replace(':', "/"),
    };
    word(&text)
}

fn word(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "/-.".contains(c) { c } else { '.' };
    text.chars().map(plain).collect()
}

/// The networks as elements of a set: one that lies in another is left out, since nft refuses both.
fn networks<'a>(ranges: impl Iterator<Item = &'a SourceRange> + Clone) -> Vec<String> {
    let covers =
        |other: &SourceRange, range: &SourceRange| other.bits < range.bits && other.contains(&range.addr);
    let outermost = ranges.clone().filter(|range| !ranges.clone().any(|other| covers(other, range)));
    outermost.map(|range| format!("{}/{}", range.addr, range.bits)).collect()
}

pub(super) struct Rules<'a> {
    pub(super) family: Family,
    pub(super) addresses: &'a Addresses,
    /// `ip saddr { ... }` of the pods, if their networks are known.
    pub(super) from_pods: Option<String>,
    out: Ruleset,
}

impl<'a> Rules<'a> {
    fn new(family: Family, addresses: &'a Addresses) -> Self {
        let pods = networks(addresses.pods.iter().filter(|range| Family::of(&range.addr) == family));
        let from_pods = (!pods.is_empty()).then(|| format!("{{ {} }}", pods.join(", ")));
        let mut rules = Self { family, addresses, from_pods, out: Ruleset::default() };
        rules.frame();
        rules
    }

    pub(super) fn set(&mut self, name: &str, map: bool, spec: &str) {
        let set = Set { map, spec: spec.to_owned(), ..Set::default() };
        self.out.sets.insert(name.to_owned(), set);
    }

    pub(super) fn chain(&mut self, name: &str, hook: Option<&'static str>, rules: Vec<String>) {
        self.out.chains.insert(name.to_owned(), Chain { hook, rules });
    }

    pub(super) fn element(&mut self, set: &str, key: String, value: String) {
        if let Some(set) = self.out.sets.get_mut(set) {
            set.elements.insert(key, value);
        }
    }

    fn add(&mut self, port: &ServicePort) {
        let label = label(port);
        let all: BTreeSet<SocketAddr> = port.sets.cluster.iter().chain(&port.sets.local).copied().collect();
        if port.kind == Kind::HostPort {
            return self.host_port(port, &label, &all);
        }
        let external = !port.aliases.is_empty();
        let uses_cluster = !port.internal_local || external;
        let uses_local = port.internal_local || (port.external_local && external);
        let (cluster, local) = (&port.sets.cluster, &port.sets.local);
        for endpoint in &all {
            let is_in = |list: &[SocketAddr]| list.binary_search(endpoint).is_ok();
            if (uses_cluster && is_in(cluster)) || (uses_local && is_in(local)) {
                self.endpoint(&label, endpoint, port.affinity);
            }
        }
        for (used, kind, list) in [(uses_cluster, "service", cluster), (uses_local, "local", local)] {
            if used && !list.is_empty() {
                let rules = self.choice(&label, list, port.affinity);
                self.chain(&format!("{kind}-{label}"), None, rules);
            }
        }
        self.internal(port, &label);
        if external {
            self.external(port, &label);
        }
    }

    /// A pod's port of the node: nobody chooses, and the pod sees its client.
    fn host_port(&mut self, port: &ServicePort, label: &str, endpoints: &BTreeSet<SocketAddr>) {
        let Some(endpoint) = endpoints.first() else { return };
        let chain = self.endpoint(label, endpoint, None);
        let number = port.primary.port;
        match port.primary.vip {
            Vip::HostAddress(addr) => {
                self.element(HOST_PORTS_AT, format!("{addr} . {number}"), format!("goto {chain}"));
            }
            _ => self.element(HOST_PORTS, number.to_string(), format!("goto {chain}")),
        }
    }

    /// An endpoint's chain; returns its name.
    fn endpoint(&mut self, label: &str, endpoint: &SocketAddr, affinity: Option<u32>) -> String {
        let ip = keyword(self.family);
        let name = endpoint_chain(label, endpoint);
        // Who is its own endpoint must not see itself as the client, or it would answer itself.
        let mut rules = vec![format!("{ip} saddr {} {JUMP_MARK}", endpoint.ip())];
        if let Some(seconds) = affinity {
            let set = clients(label, endpoint, seconds);
            rules.push(format!("update @{set} {{ {ip} saddr }}"));
            let spec =
                format!("type {} ; flags dynamic,timeout ; timeout {seconds}s ;", address(self.family));
            self.out.sets.insert(set, Set { spec, learned: true, ..Set::default() });
        }
        rules.push(format!("meta l4proto sctp dnat to {endpoint}"));
        self.chain(&name, None, rules);
        name
    }

    /// The rules that choose: the endpoint that a client has, else one by chance.
    fn choice(&self, label: &str, endpoints: &[SocketAddr], affinity: Option<u32>) -> Vec<String> {
        let ip = keyword(self.family);
        let known = affinity.into_iter().flat_map(|seconds| {
            endpoints.iter().map(move |endpoint| {
                let (set, chain) = (clients(label, endpoint, seconds), endpoint_chain(label, endpoint));
                format!("{ip} saddr @{set} goto {chain}")
            })
        });
        let mut rules: Vec<String> = known.collect();
        let chains = endpoints.iter().enumerate();
        let chains: Vec<String> =
            chains.map(|(at, endpoint)| format!("{at} : goto {}", endpoint_chain(label, endpoint))).collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), chains.join(", ")));
        rules
    }

    /// The chain that has the last word where no endpoint is to be had: refused if there is none anywhere, else dropped, so
    /// that a load balancer's retry finds a node that has one.
    fn nobody(&mut self, port: &ServicePort, label: &str) -> String {
        let (kind, verdict) =
            if port.sets.cluster.is_empty() { ("refused", "reject") } else { ("dropped", "drop") };
        let name = format!("{kind}-{label}");
        self.chain(&name, None, vec![verdict.to_owned()]);
        format!("goto {name}")
    }

    /// The ClusterIP.
    fn internal(&mut self, port: &ServicePort, label: &str) {
        let Vip::Address(addr) = port.primary.vip else { return };
        self.element(CLUSTER_IPS, addr.to_string(), String::new());
        let (kind, list) =
            if port.internal_local { ("local", &port.sets.local) } else { ("service", &port.sets.cluster) };
        let key = format!("{addr} . {}", port.primary.port);
        if list.is_empty() {
            let verdict = self.nobody(port, label);
            self.element(NO_ENDPOINT_SERVICES, key, verdict);
        } else {
            self.element(SERVICE_IPS, key, format!("goto {kind}-{label}"));
        }
    }

    /// Node port, external IPs and load balancers' addresses.
    fn external(&mut self, port: &ServicePort, label: &str) {
        let balanced =
            port.aliases.iter().filter(|(_, kind)| *kind == Kind::LoadBalancer).map(|(key, _)| key.vip);
        let balanced: Vec<IpAddr> =
            balanced.filter_map(|vip| if let Vip::Address(addr) = vip { Some(addr) } else { None }).collect();
        let guarded = self.firewall(port, label, &balanced);
        let list = if port.external_local { &port.sets.local } else { &port.sets.cluster };
        let nobody = list.is_empty().then(|| self.nobody(port, label));
        if !port.sets.cluster.is_empty() {
            let rules = self.external_rules(port, label);
            self.chain(&format!("external-{label}"), None, rules);
        }
        for (frontend, kind) in &port.aliases {
            let (key, found, none) = match frontend.vip {
                Vip::Address(addr) => {
                    (format!("{addr} . {}", frontend.port), SERVICE_IPS, NO_ENDPOINT_SERVICES)
                }
                _ => (frontend.port.to_string(), SERVICE_NODE_PORTS, NO_ENDPOINT_NODE_PORTS),
            };
            if *kind == Kind::LoadBalancer && guarded {
                self.element(FIREWALL_IPS, key.clone(), format!("goto firewall-{label}"));
            }
            if !port.sets.cluster.is_empty() {
                self.element(found, key.clone(), format!("goto external-{label}"));
            }
            if let Some(verdict) = &nobody {
                self.element(none, key, verdict.clone());
            }
        }
    }

    /// Whom external addresses lead where. With externalTrafficPolicy Local that is an endpoint here, but for the cluster's
    /// own, who could as well be sent in by a load balancer elsewhere.
    fn external_rules(&self, port: &ServicePort, label: &str) -> Vec<String> {
        if !port.external_local {
            return vec![JUMP_MARK.to_owned(), format!("goto service-{label}")];
        }
        let ip = keyword(self.family);
        let pods = self.from_pods.iter().map(|pods| format!("{ip} saddr {pods} goto service-{label}"));
        let mut rules: Vec<String> = pods.collect();
        rules.push(format!("{ip} saddr @{NODE_IPS} {JUMP_MARK}"));
        rules.push(format!("{ip} saddr @{NODE_IPS} goto service-{label}"));
        if !port.sets.local.is_empty() {
            rules.push(format!("goto local-{label}"));
        }
        rules
    }

    /// loadBalancerSourceRanges; true if they keep anybody out.
    fn firewall(&mut self, port: &ServicePort, label: &str, balanced: &[IpAddr]) -> bool {
        let ranges = &port.source_ranges;
        if balanced.is_empty() || ranges.is_empty() || ranges.iter().any(|range| range.bits == 0) {
            return false;
        }
        let mut sources = networks(ranges.iter());
        // A node that has the balancer's address itself is its own client by it.
        if self.addresses.own.iter().any(|own| ranges.iter().any(|range| range.contains(own))) {
            let others = balanced.iter().filter(|addr| !ranges.iter().any(|range| range.contains(addr)));
            sources.extend(others.map(IpAddr::to_string));
        }
        let rule = format!("{} saddr != {{ {} }} drop", keyword(self.family), sources.join(", "));
        self.chain(&format!("firewall-{label}"), None, vec![rule]);
        true
    }
}

/// The type of a family's addresses.
pub(super) const fn address(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

/// The chain of an endpoint.
fn endpoint_chain(label: &str, endpoint: &SocketAddr) -> String {
    format!("endpoint-{label}__{}/{}", word(&endpoint.ip().to_string()), endpoint.port())
}

/// The set of an endpoint's clients. A set keeps its timeout for good, so another one has another name.
fn clients(label: &str, endpoint: &SocketAddr, seconds: u32) -> String {
    format!("affinity-{label}__{}/{}-{seconds}", word(&endpoint.ip().to_string()), endpoint.port())
}
