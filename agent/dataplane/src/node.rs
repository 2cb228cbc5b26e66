//! The own Node: where it is, what addresses and pod networks it has. PURE. Enters: the API's events of one Node.
//! Leaves: [`NodeFacts`], and from them where node ports answer. Called by run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::Event;
use xebec_abi::state::{NODE_IP_ANY, NODE_IP_HOST_ONLY, NODE_IP_OWN};

use crate::health::Status;
use crate::model::{Family, SourceRange};

/// The zone a node is in.
const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

/// What the dataplane needs of its Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its `topology.kubernetes.io/zone`, by which endpoints' hints are read (KEP-2433).
    pub zone: Option<String>,
    /// Its addresses, one a family, the primary first: internal ones before external ones, as upstream.
    pub addresses: Vec<IpAddr>,
    /// Its `spec.podCIDRs`.
    pub pod_ranges: BTreeSet<SourceRange>,
}

impl NodeFacts {
    /// Of a Node.
    pub fn of(node: &Node) -> Self {
        let label = node.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_ZONE));
        let listed = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let of_kind = |kind: &'static str| {
            listed.clone().filter(move |a| a.type_ == kind).filter_map(|a| a.address.parse::<IpAddr>().ok())
        };
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in of_kind("InternalIP").chain(of_kind("ExternalIP")) {
            if !addresses.iter().any(|known| Family::of(known) == Family::of(&address)) {
                addresses.push(address);
            }
        }
        let ranges = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr));
        Self {
            zone: label.filter(|zone| !zone.is_empty()).cloned(),
            addresses,
            pod_ranges: ranges.filter_map(|range| SourceRange::parse(range)).collect(),
        }
    }
}

impl NodeFacts {
    /// This node's addresses, the primary of each family first: what was `given` on the command line counts in its family,
    /// before what the Node says.
    pub fn addresses_beside(&self, given: &[IpAddr]) -> Vec<IpAddr> {
        let is_given = |a: &IpAddr| given.iter().any(|own| Family::of(own) == Family::of(a));
        let others = self.addresses.iter().filter(|a| !is_given(a));
        given.iter().chain(others).copied().collect()
    }
}

/// The own Node as last seen.
#[derive(Clone, Debug, Default)]
pub struct OwnNode {
    /// The list that runs has shown it.
    listed: bool,
    /// A list is complete: whether there is such a Node is known.
    settled: bool,
    facts: NodeFacts,
}

impl OwnNode {
    /// What was last seen of it, even after it was deleted: pods and connections may outlive it for a while.
    pub const fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// Whether a whole list was seen, or will not be.
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Its watch failed, perhaps for lack of a right: Services do not wait for it any longer.
    pub fn give_up(&mut self) {
        self.settled = true;
    }

    /// Takes an event, and notes in `status` whether the node is to stay; true if the facts changed. A whole list
    /// without the Node says that it is gone; one that only began, as without an API server, says nothing.
    pub fn follow(&mut self, event: Event<Node>, status: &mut Status) -> bool {
        match event {
            Event::Init => self.listed = false,
            Event::Apply(node) | Event::InitApply(node) => {
                self.listed = true;
                status.node(Some(&node));
                let facts = NodeFacts::of(&node);
                let changed = facts != self.facts;
                self.facts = facts;
                return changed;
            }
            Event::InitDone => {
                self.settled = true;
                if !self.listed {
                    status.node(None);
                }
            }
            Event::Delete(_) => status.node(None),
        }
        false
    }
}

/// Where node ports answer (`--nodeport-addresses`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePorts {
    /// At every address of the node, and at its loopback for itself.
    #[default]
    Everywhere,
    /// At the Node's primary address of each family.
    Primary,
    /// At the node's addresses in these networks; in a family without any, everywhere.
    Within(Vec<SourceRange>),
}

impl NodePorts {
    /// Whether they answer at every address of a family.
    fn answer_everywhere(&self, family: Family) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Primary => false,
            Self::Within(ranges) => {
                let mut of_family =
                    ranges.iter().filter(|range| Family::of(&range.addr) == family).peekable();
                of_family.peek().is_none() || of_family.any(|range| range.bits == 0)
            }
        }
    }

    fn answer_at(&self, address: IpAddr, primary: &[IpAddr]) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Primary => primary.contains(&address),
            Self::Within(ranges) => {
                let family = || ranges.iter().filter(|r| Family::of(&r.addr) == Family::of(&address));
                family().next().is_none() || family().any(|range| range.contains(&address))
            }
        }
    }
}

/// The node's own addresses with their `NODE_IP_` flags, 127.0.0.1 among them for its whole network. `primary` are
/// the Node's addresses.
pub fn node_addresses(
    own: &BTreeSet<IpAddr>,
    ports: &NodePorts,
    primary: &[IpAddr],
) -> BTreeMap<IpAddr, u32> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let flags = |address: &IpAddr| match (ports.answer_at(*address, primary), address.is_loopback()) {
        (false, _) => NODE_IP_OWN,
        (true, true) => NODE_IP_HOST_ONLY,
        (true, false) => NODE_IP_ANY,
    };
    own.iter().chain([&loopback]).map(|address| (*address, flags(address))).collect()
}

/// Where a listener has to be so that it is where node ports answer; arguments as of [`node_addresses`]. A family's
/// unspecified address stands for all of the family.
pub fn listening_addresses(
    own: &BTreeSet<IpAddr>,
    ports: &NodePorts,
    primary: &[IpAddr],
) -> BTreeSet<IpAddr> {
    let every = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
    let every = every.into_iter().filter(|address| ports.answer_everywhere(Family::of(address)));
    let single = node_addresses(own, ports, primary)
        .into_iter()
        .filter(|(address, flags)| *flags != NODE_IP_OWN && !ports.answer_everywhere(Family::of(address)));
    every.chain(single.map(|(address, _)| address)).collect()
}

/// Which sources are the cluster's own pods (`--detect-local-mode`): their traffic is never external.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PodRanges {
    /// Only what the socket hooks see.
    #[default]
    Unknown,
    /// These networks (`ClusterCIDR`).
    These(BTreeSet<SourceRange>),
    /// The own Node's `spec.podCIDRs` (`NodeCIDR`).
    OfNode,
}

impl PodRanges {
    /// The networks, given what is known of the Node.
    pub fn resolve(&self, node: &NodeFacts) -> BTreeSet<SourceRange> {
        match self {
            Self::Unknown => BTreeSet::new(),
            Self::These(ranges) => ranges.clone(),
            Self::OfNode => node.pod_ranges.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_whole_list_or_a_deletion_says_that_the_node_is_gone() {
        let (mut status, mut own) = (Status::default(), OwnNode::default());
        let mut after = |events: Vec<Event<Node>>| {
            for event in events {
                own.follow(event, &mut status);
            }
            let ok = status.report(true, Timestamp::UNIX_EPOCH, Instant::now()).is_ok();
            (ok, own.is_settled())
        };
        assert_eq!(after(vec![Event::Init]), (false, false));
        assert_eq!(after(vec![Event::InitApply(Node::default()), Event::InitDone]), (true, true));
        // The API server is away: the watch begins again and again.
        assert!(after(vec![Event::Init, Event::Init]).0);
        assert!(!after(vec![Event::InitDone]).0);
        assert!(after(vec![Event::Apply(Node::default())]).0);
        assert!(!after(vec![Event::Delete(Node::default())]).0);
    }

    #[test]
    fn facts_are_the_zone_one_address_a_family_and_the_pod_networks() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {LABEL_ZONE: "z1"}},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd44:1::/64"]},
            "status": {"addresses": [
                {"type": "ExternalIP", "address": "203.0.113.5"}, {"type": "Hostname", "address": "n"},
                {"type": "InternalIP", "address": "10.0.0.5"}, {"type": "InternalIP", "address": "10.0.0.6"},
                {"type": "ExternalIP", "address": "2001:db8::5"},
            ]},
        }))
        .unwrap();
        let facts = NodeFacts::of(&node);
        assert_eq!(facts.zone.as_deref(), Some("z1"));
        let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.5", "2001:db8::5"]);
        assert_eq!(facts.pod_ranges.len(), 2);
        let (mut status, mut own) = (Status::default(), OwnNode::default());
        assert!(own.follow(Event::Apply(node.clone()), &mut status));
        assert!(!own.follow(Event::Apply(node), &mut status), "nothing new");
        assert!(!own.follow(Event::Delete(Node::default()), &mut status));
        assert_eq!(own.facts(), &facts, "what was known stays");
    }

    #[test]
    fn node_ports_answer_where_they_are_told_to() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let own = ["10.0.0.5", "192.168.1.5", "fd00::5", "::1"].map(ip).into_iter().collect();
        let flags = |ports: &NodePorts| {
            let found = node_addresses(&own, ports, &[ip("10.0.0.5")]);
            ["127.0.0.1", "10.0.0.5", "192.168.1.5", "::1", "fd00::5"].map(|a| found[&ip(a)])
        };
        let (any, host, none) = (NODE_IP_ANY, NODE_IP_HOST_ONLY, NODE_IP_OWN);
        assert_eq!(flags(&NodePorts::Everywhere), [host, any, any, host, any]);
        assert_eq!(flags(&NodePorts::Primary), [none, any, none, none, none]);
        let within = |ranges: &[&str]| {
            NodePorts::Within(ranges.iter().filter_map(|r| SourceRange::parse(r)).collect())
        };
        assert_eq!(flags(&within(&["192.168.0.0/16"])), [none, none, any, host, any], "IPv6 is not limited");
        assert_eq!(flags(&within(&["127.0.0.0/8", "fd00::/8"])), [host, none, none, none, any]);
    }

    #[test]
    fn listeners_are_where_node_ports_answer() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let own = ["10.0.0.5", "192.168.1.5", "fd00::5", "::1"].map(ip).into_iter().collect();
        let at = |ports: &NodePorts| {
            let found = listening_addresses(&own, ports, &[ip("10.0.0.5"), ip("fd00::5")]);
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let within = |ranges: &[&str]| {
            at(&NodePorts::Within(ranges.iter().filter_map(|r| SourceRange::parse(r)).collect()))
        };
        assert_eq!(at(&NodePorts::Everywhere), "0.0.0.0 ::");
        assert_eq!(at(&NodePorts::Primary), "10.0.0.5 fd00::5");
        assert_eq!(within(&["192.168.0.0/16"]), "192.168.1.5 ::", "IPv6 is not limited");
        assert_eq!(within(&["127.0.0.0/8", "10.0.0.0/8", "::/0"]), "10.0.0.5 127.0.0.1 ::");
        assert_eq!(within(&["172.16.0.0/12", "fd01::/16"]), "", "no address of the node is in them");
    }

    #[test]
    fn pods_are_known_by_network() {
        let range = |text: &str| SourceRange::parse(text).unwrap();
        let node = NodeFacts { pod_ranges: BTreeSet::from([range("10.244.1.0/24")]), ..NodeFacts::default() };
        assert!(PodRanges::Unknown.resolve(&node).is_empty());
        assert_eq!(PodRanges::OfNode.resolve(&node), node.pod_ranges);
        let these = BTreeSet::from([range("10.244.0.0/16")]);
        assert_eq!(PodRanges::These(these.clone()).resolve(&node), these);
    }
}
