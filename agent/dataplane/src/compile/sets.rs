//! Which endpoints a service port has. PURE. Enters: slices and where this node is. Leaves: [`Sets`].
//!
//! Rules, as upstream's proxies follow them (KEP-1669 terminating endpoints, KEP-2433 hints, KEP-3015 distribution):
//! ready endpoints; if there is none, those that still serve while terminating. Hints narrow the ready cluster set
//! only if every ready endpoint carries one and some endpoint is meant for here; they never narrow the local set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::facts::{EndpointFacts, SliceFacts};
use crate::model::{Family, Protocol, Sets};

/// Where this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// Its `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// The endpoints of the port named `port` of a Service.
///
/// The answer is sorted and without repetition, so equal worlds give equal sets whatever the order of their slices.
pub fn sets<'a>(
    slices: impl Iterator<Item = &'a SliceFacts>,
    family: Family,
    port: &str,
    protocol: Protocol,
    publish_not_ready: bool,
    place: &Place,
) -> Sets {
    let mut known: BTreeMap<SocketAddr, &EndpointFacts> = BTreeMap::new();
    for slice in slices.filter(|s| s.family == family) {
        let numbers = slice.ports.iter().filter(|(name, p, _)| **name == *port && *p == protocol);
        for (_, _, number) in numbers {
            for endpoint in &*slice.endpoints {
                // An endpoint may stand in two slices while it moves; the better condition counts.
                let known = known.entry(SocketAddr::new(endpoint.addr, *number)).or_insert(endpoint);
                if rank(endpoint, publish_not_ready) > rank(known, publish_not_ready) {
                    *known = endpoint;
                }
            }
        }
    }
    let local = |e: &EndpointFacts| e.place.node.as_deref() == Some(place.node.as_str());
    let usable = usable(known.iter().map(|(a, e)| (*a, *e)).collect(), publish_not_ready);
    let here = known.iter().map(|(a, e)| (*a, *e)).filter(|(_, e)| local(e)).collect();
    let mut sets = Sets {
        cluster: narrowed(&usable, place).into_iter().map(|(a, _)| a).collect(),
        local: self::usable(here, publish_not_ready).0.into_iter().map(|(a, _)| a).collect(),
        serving: Vec::new(),
    };
    if protocol == Protocol::Udp {
        let selected =
            |a: &SocketAddr| [&sets.cluster, &sets.local].iter().any(|s| s.binary_search(a).is_ok());
        let answers = |e: &EndpointFacts| e.serving || rank(e, publish_not_ready) > 0;
        let others = known.iter().filter(|(a, e)| answers(e) && !selected(a));
        sets.serving = others.map(|(a, _)| *a).collect();
    }
    sets
}

/// How many ready endpoints a Service has on a node, by distinct address. Those that still serve while terminating do
/// not count: a load balancer is to leave them.
pub fn local_ready<'a>(slices: impl Iterator<Item = &'a SliceFacts>, family: Family, node: &str) -> usize {
    let slices = slices.filter(|s| s.family == family && !s.ports.is_empty());
    let here =
        slices.flat_map(|s| &*s.endpoints).filter(|e| e.ready && e.place.node.as_deref() == Some(node));
    here.map(|e| e.addr).collect::<BTreeSet<IpAddr>>().len()
}

fn rank(e: &EndpointFacts, publish_not_ready: bool) -> u8 {
    match e {
        e if e.ready || publish_not_ready => 2,
        e if e.serving && e.terminating => 1,
        _ => 0,
    }
}

type Candidates<'a> = Vec<(SocketAddr, &'a EndpointFacts)>;

/// The best there is, and whether that is ready endpoints.
fn usable(all: Candidates<'_>, publish_not_ready: bool) -> (Candidates<'_>, bool) {
    let of = |wanted: u8| all.iter().copied().filter(move |(_, e)| rank(e, publish_not_ready) == wanted);
    let ready: Candidates<'_> = of(2).collect();
    if ready.is_empty() { (of(1).collect(), false) } else { (ready, true) }
}

fn narrowed<'a>((all, ready): &(Candidates<'a>, bool), place: &Place) -> Candidates<'a> {
    if !ready {
        return all.clone();
    }
    let node = |e: &EndpointFacts| e.place.for_nodes.iter().any(|n| **n == *place.node);
    if all.iter().all(|(_, e)| !e.place.for_nodes.is_empty()) && all.iter().any(|(_, e)| node(e)) {
        return all.iter().copied().filter(|(_, e)| node(e)).collect();
    }
    if let Some(zone) = place.zone.as_deref() {
        let zone = |e: &EndpointFacts| e.place.for_zones.iter().any(|z| **z == *zone);
        if all.iter().all(|(_, e)| !e.place.for_zones.is_empty()) && all.iter().any(|(_, e)| zone(e)) {
            return all.iter().copied().filter(|(_, e)| zone(e)).collect();
        }
    }
    all.clone()
}
