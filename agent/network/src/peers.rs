//! The ways to the pods of other nodes. PURE. Enters: the cluster's nodes and this node's own addresses. Leaves: for each
//! other node's pod network the way there, and why some have none. Called by the agent, whenever either changes.
//!
//! A node on a network of ours is the next hop itself; to any other its packets travel in VXLAN. A pod network that cannot
//! be a node's own share (it is ours, or another's, or holds addresses of nodes) gets no route, and takes none away.
//!
//! Next hops are of the pods' own family. In VXLAN packets of either family travel to the first of the node's addresses whose
//! family this node has, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::cidr::{IpNet, is_v6, network, overlap};

/// How packets reach the pods of other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// By routes to nodes on a network of ours, by VXLAN to all others.
    #[default]
    Auto,
    /// By routes alone: to nodes elsewhere somebody else's lead, such as a router's.
    Native,
    /// By VXLAN alone.
    Vxlan,
}

impl FromStr for Routing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "native" => Ok(Self::Native),
            "vxlan" => Ok(Self::Vxlan),
            _ => Err("give auto, native or vxlan".to_owned()),
        }
    }
}

/// What of another node matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// When its Node was made, in seconds since 1970: of two nodes with one network the older has it.
    pub created: i64,
    /// Its addresses within the cluster (`InternalIP`), the preferred first.
    pub addresses: Vec<IpAddr>,
    /// Its shares of the pods' addresses, as the API has them.
    pub pod_cidrs: Vec<String>,
}

/// An address of this node, on a device that leads to other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The device's index.
    pub device: u32,
    /// The address.
    pub address: IpAddr,
    /// The network that it is on.
    pub network: IpNet,
}

/// The way to a node's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The node is the next hop.
    Native {
        /// Its address.
        via: IpAddr,
        /// The index of our device that is on the same network.
        device: u32,
    },
    /// In VXLAN.
    Tunnel {
        /// The node's address.
        remote: IpAddr,
    },
}

/// Why a pod network has no way from here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is no network.
    Unreadable(String),
    /// It has addresses in common with this node's own pods.
    Own(IpNet),
    /// It has addresses in common with the pods of another node.
    Taken(IpNet, String),
    /// It holds an address of a node, whose packets would go astray.
    OfNodes(IpNet, IpAddr),
    /// The node has no address yet that can be reached from here.
    NoAddress,
    /// The node's address is this node's own: a Node that this machine left behind under another name.
    Ourselves(IpAddr),
    /// The node has no address of this family on a network of ours, and there is to be no tunnel.
    Elsewhere(IpNet),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => {
                write!(formatter, "{text:?} is no network such as 10.244.1.0/24 or fd00:10:244:1::/64")
            }
            Self::Own(cidr) => write!(formatter, "{cidr} has addresses of this node's own pods"),
            Self::Taken(cidr, node) => write!(formatter, "{cidr} has addresses of pods of node {node}"),
            Self::OfNodes(cidr, address) => write!(formatter, "{cidr} holds the node address {address}"),
            Self::NoAddress => {
                formatter.write_str("the node has no address (InternalIP) of a family that this node has")
            }
            Self::Ourselves(address) => write!(formatter, "its address {address} is this node's own"),
            Self::Elsewhere(cidr) => {
                let family = if is_v6(cidr) { "IPv6" } else { "IPv4" };
                write!(
                    formatter,
                    "{cidr}: the node has no {family} address on a network of this node, and --pod-routing is native"
                )
            }
        }
    }
}

/// Where a pod network is, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// The name of its node.
    pub node: String,
    /// The node's first share, by which its end of the tunnel is known.
    pub first: IpNet,
    /// The way.
    pub way: Way,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The way to each pod network.
    pub ways: BTreeMap<IpNet, To>,
    /// What has none, by node.
    pub refused: BTreeSet<(String, Refusal)>,
}

/// Decides for all `peers` by name, none of which is this node, whose own pods have addresses of `pods`. Whoever has a network
/// in the plan `before` keeps it against others.
pub fn plan(
    routing: Routing,
    pods: &[IpNet],
    own: &[OwnAddress],
    peers: &BTreeMap<String, Peer>,
    before: &Plan,
) -> Plan {
    let mut out = Plan::default();
    let mut claims = Vec::new();
    for (name, peer) in peers {
        let mut first = None;
        for text in &peer.pod_cidrs {
            match network(text) {
                Ok(cidr) => {
                    let held = before.ways.get(&cidr).is_some_and(|to| to.node == *name);
                    claims.push((!held, peer.created, name, cidr, *first.get_or_insert(cidr)));
                }
                Err(_) => {
                    out.refused.insert((name.clone(), Refusal::Unreadable(text.clone())));
                }
            }
        }
    }
    claims.sort_unstable();
    for (_, _, name, cidr, first) in claims {
        let Some(peer) = peers.get(name) else { continue };
        let decided = possible(pods, own, peer, cidr, &out.ways).and_then(|()| way(routing, own, peer, cidr));
        match decided {
            Ok(way) => {
                out.ways.insert(cidr, To { node: name.clone(), first, way });
            }
            Err(refusal) => {
                out.refused.insert((name.clone(), refusal));
            }
        }
    }
    out
}

/// Whether the network can be the peer's.
fn possible(
    pods: &[IpNet],
    own: &[OwnAddress],
    peer: &Peer,
    cidr: IpNet,
    ways: &BTreeMap<IpNet, To>,
) -> Result<(), Refusal> {
    if pods.iter().any(|own| overlap(own, &cidr)) {
        return Err(Refusal::Own(cidr));
    }
    let mut addresses = own.iter().map(|own| own.address).chain(peer.addresses.iter().copied());
    if let Some(address) = addresses.find(|address| cidr.contains(address)) {
        return Err(Refusal::OfNodes(cidr, address));
    }
    // Those that are in have no address in common: only the ones next to its first address can overlap.
    let (below, above) = (ways.range(..cidr).next_back(), ways.range(cidr..).next());
    match below.into_iter().chain(above).find(|(other, _)| overlap(other, &cidr)) {
        Some((_, to)) => Err(Refusal::Taken(cidr, to.node.clone())),
        None => Ok(()),
    }
}

fn way(routing: Routing, own: &[OwnAddress], peer: &Peer, cidr: IpNet) -> Result<Way, Refusal> {
    let is_ours = |address: &&IpAddr| own.iter().any(|own| own.address == **address);
    if let Some(address) = peer.addresses.iter().find(is_ours) {
        return Err(Refusal::Ourselves(*address));
    }
    let reached = |address: &&IpAddr| own.iter().any(|own| own.address.is_ipv6() == address.is_ipv6());
    let remote = *peer.addresses.iter().find(reached).ok_or(Refusal::NoAddress)?;
    let beside = |via: &IpAddr| {
        let on_link = own.iter().filter(|own| own.network.contains(via));
        on_link
            .max_by_key(|own| own.network.prefix_len())
            .map(|own| Way::Native { via: *via, device: own.device })
    };
    let mut of_family = peer.addresses.iter().filter(|address| address.is_ipv6() == is_v6(&cidr));
    let native = of_family.find_map(beside).filter(|_| routing != Routing::Vxlan);
    match native {
        Some(way) => Ok(way),
        None if routing == Routing::Native => Err(Refusal::Elsewhere(cidr)),
        None => Ok(Way::Tunnel { remote }),
    }
}

#[cfg(test)]
mod tests;
