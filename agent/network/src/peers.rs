//! The ways to the pods of other nodes. PURE. Enters: the cluster's nodes and this node's own addresses. Leaves: for each
//! other node's pod network the way there, and why some have none. Called by the agent, whenever either changes.
//!
//! A node on a network of ours is the next hop itself; to any other its packets travel in VXLAN. A pod network that cannot
//! be a node's own share (it is ours, or another's, or holds addresses of nodes) gets no route, and takes none away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::Cidr;

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
    pub address: Ipv4Addr,
    /// The network that it is on.
    pub network: Cidr,
}

/// The way to a node's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The node is the next hop.
    Native {
        /// Its address.
        via: Ipv4Addr,
        /// The index of our device that is on the same network.
        device: u32,
    },
    /// In VXLAN.
    Tunnel {
        /// The node's address.
        remote: Ipv4Addr,
    },
}

/// Why a pod network has no way from here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is no network.
    Unreadable(String),
    /// It has addresses in common with this node's own pods.
    Own(Cidr),
    /// It has addresses in common with the pods of another node.
    Taken(Cidr, String),
    /// It holds an address of a node, whose packets would go astray.
    OfNodes(Cidr, Ipv4Addr),
    /// The node has no IPv4 address yet.
    NoAddress,
    /// The node's address is this node's own: a Node that this machine left behind under another name.
    Ourselves(Ipv4Addr),
    /// The node is on no network of ours, and there is to be no tunnel.
    Elsewhere(Ipv4Addr),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => write!(formatter, "{text:?} is no network such as 10.244.1.0/24"),
            Self::Own(cidr) => write!(formatter, "{cidr} has addresses of this node's own pods"),
            Self::Taken(cidr, node) => write!(formatter, "{cidr} has addresses of pods of node {node}"),
            Self::OfNodes(cidr, address) => write!(formatter, "{cidr} holds the node address {address}"),
            Self::NoAddress => formatter.write_str("the node has no IPv4 address (InternalIP)"),
            Self::Ourselves(address) => write!(formatter, "its address {address} is this node's own"),
            Self::Elsewhere(address) => {
                write!(formatter, "{address} is on no network of this node, and --pod-routing is native")
            }
        }
    }
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The way to each pod network, with the name of its node.
    pub ways: BTreeMap<Cidr, (String, Way)>,
    /// What has none, by node.
    pub refused: BTreeSet<(String, Refusal)>,
}

/// Decides for all `peers` by name, none of which is this node. Whoever has a network in the plan `before` keeps it
/// against others.
pub fn plan(
    routing: Routing,
    pods: Cidr,
    own: &[OwnAddress],
    peers: &BTreeMap<String, Peer>,
    before: &Plan,
) -> Plan {
    let mut out = Plan::default();
    let mut claims = Vec::new();
    for (name, peer) in peers {
        for text in peer.pod_cidrs.iter().filter(|text| !is_v6(text)) {
            match text.parse::<Cidr>() {
                Ok(cidr) => {
                    let held = before.ways.get(&cidr).is_some_and(|(holder, _)| holder == name);
                    claims.push((!held, peer.created, name, cidr));
                }
                Err(_) => {
                    out.refused.insert((name.clone(), Refusal::Unreadable(text.clone())));
                }
            }
        }
    }
    claims.sort_unstable();
    for (_, _, name, cidr) in claims {
        let Some(peer) = peers.get(name) else { continue };
        let decided = possible(pods, own, peer, cidr, &out.ways).and_then(|()| way(routing, own, peer));
        match decided {
            Ok(way) => {
                out.ways.insert(cidr, (name.clone(), way));
            }
            Err(refusal) => {
                out.refused.insert((name.clone(), refusal));
            }
        }
    }
    out
}

/// IPv6 networks are nobody's business here.
fn is_v6(text: &str) -> bool {
    text.contains(':')
}

fn v4(peer: &Peer) -> impl Iterator<Item = Ipv4Addr> {
    peer.addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    })
}

/// Whether the network can be the peer's.
fn possible(
    pods: Cidr,
    own: &[OwnAddress],
    peer: &Peer,
    cidr: Cidr,
    ways: &BTreeMap<Cidr, (String, Way)>,
) -> Result<(), Refusal> {
    if cidr.overlaps(pods) {
        return Err(Refusal::Own(cidr));
    }
    if let Some(address) = own.iter().map(|own| own.address).chain(v4(peer)).find(|a| cidr.contains(*a)) {
        return Err(Refusal::OfNodes(cidr, address));
    }
    // Those that are in have no address in common: only the ones next to its first address can overlap.
    let (below, above) = (ways.range(..cidr).next_back(), ways.range(cidr..).next());
    match below.into_iter().chain(above).find(|(other, _)| other.overlaps(cidr)) {
        Some((_, (name, _))) => Err(Refusal::Taken(cidr, name.clone())),
        None => Ok(()),
    }
}

fn way(routing: Routing, own: &[OwnAddress], peer: &Peer) -> Result<Way, Refusal> {
    if let Some(address) = v4(peer).find(|address| own.iter().any(|own| own.address == *address)) {
        return Err(Refusal::Ourselves(address));
    }
    let remote = v4(peer).next().ok_or(Refusal::NoAddress)?;
    let beside = |via: Ipv4Addr| {
        let on_link = own.iter().filter(|own| own.network.contains(via));
        on_link.max_by_key(|own| own.network.length()).map(|own| Way::Native { via, device: own.device })
    };
    let native = v4(peer).find_map(beside).filter(|_| routing != Routing::Vxlan);
    match native {
        Some(way) => Ok(way),
        None if routing == Routing::Native => Err(Refusal::Elsewhere(remote)),
        None => Ok(Way::Tunnel { remote }),
    }
}

#[cfg(test)]
mod tests;
