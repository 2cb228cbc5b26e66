//! Which node answers for which address. PURE: the API's events come in, owners go out.
//!
//! Of the nodes that may, the one whose name and the address together have the highest number (rendezvous hashing): equal
//! views give equal owners, and a node that comes or goes moves only the addresses that are or were its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Service};
use kube::runtime::watcher::Event;
use xebec_dataplane::compile::facts::Owner;
use xebec_dataplane::compile::local_ready;
use xebec_dataplane::model::Family;
use xebec_dataplane::world::World;

/// Nodes with this label answer for no load balancer's address (upstream's well-known label).
pub const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The class of load balancers that is ours.
pub const CLASS: &str = "xebec.dev/load-balancer";
/// The condition by which the controller marks what it allocated.
pub const CONDITION: &str = "network.xebec.dev/AddressesAllocated";

/// A number for a node and an address, the same on every machine: FNV-1a, then splitmix64's finish, by which one bit
/// changes all.
fn weight(address: IpAddr, node: &str) -> u64 {
    let octets = match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in octets.iter().chain(node.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The node that answers for an address; `None` if none may. The name decides between equals.
pub fn owner<'a>(address: IpAddr, nodes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nodes.max_by_key(|node| (weight(address, node), *node))
}

/// A Service whose addresses are to be announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Namespace and name.
    pub service: Owner,
    /// UID, for Events.
    pub uid: String,
}

/// What is known of the cluster.
#[derive(Default)]
pub struct Cluster {
    /// Services and slices, as the dataplane sees them.
    world: World,
    /// The Services whose addresses are ours, with their UIDs.
    marked: BTreeMap<Owner, String>,
    listing: BTreeSet<Owner>,
    excluded: BTreeSet<String>,
    nodes_synced: bool,
}

fn name(service: &Service) -> Owner {
    let meta = &service.metadata;
    Owner::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Whether the addresses of a Service are ours to announce.
fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let class = spec.and_then(|spec| spec.load_balancer_class.as_deref());
    let conditions = service.status.iter().flat_map(|status| status.conditions.iter().flatten());
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
        && class.is_none_or(|class| class == CLASS)
        && conditions.into_iter().any(|condition| condition.type_ == CONDITION)
}

impl Cluster {
    /// Whether everything was listed once.
    pub fn synced(&self) -> bool {
        self.nodes_synced && self.world.synced()
    }

    /// A Service event.
    pub fn service(&mut self, event: Event<Service>) {
        match &event {
            Event::Init => self.listing.clear(),
            Event::InitApply(service) => {
                self.listing.insert(name(service));
                self.mark(service);
            }
            Event::Apply(service) => self.mark(service),
            Event::Delete(service) => drop(self.marked.remove(&name(service))),
            Event::InitDone => {
                let listing = std::mem::take(&mut self.listing);
                self.marked.retain(|service, _| listing.contains(service));
            }
        }
        self.world.service(event);
        // What changed is of no interest here: everything is decided anew.
        self.world.take_dirty();
    }

    fn mark(&mut self, service: &Service) {
        if is_ours(service) {
            self.marked.insert(name(service), service.metadata.uid.clone().unwrap_or_default());
        } else {
            self.marked.remove(&name(service));
        }
    }

    /// An EndpointSlice event.
    pub fn slice(&mut self, event: Event<k8s_openapi::api::discovery::v1::EndpointSlice>) {
        self.world.slice(event);
        self.world.take_dirty();
        self.world.settle();
    }

    /// A Node event.
    pub fn node(&mut self, event: Event<Node>) {
        match event {
            Event::Init => self.excluded.clear(),
            Event::InitApply(node) | Event::Apply(node) => {
                let excluded = node.metadata.labels.as_ref().is_some_and(|all| all.contains_key(EXCLUDED));
                let name = node.metadata.name.unwrap_or_default();
                if excluded {
                    self.excluded.insert(name);
                } else {
                    self.excluded.remove(&name);
                }
            }
            Event::Delete(node) => drop(self.excluded.remove(&node.metadata.name.unwrap_or_default())),
            Event::InitDone => self.nodes_synced = true,
        }
    }

    /// The addresses that `own` answers for, of the nodes `fresh`; none before everything is known.
    pub fn owned(&self, own: &str, fresh: &BTreeSet<&str>) -> BTreeMap<IpAddr, Announced> {
        let mut owned = BTreeMap::new();
        if !self.synced() {
            return owned;
        }
        for (service, uid) in &self.marked {
            let Some((facts, slices)) = self.world.get(service) else { continue };
            for address in &facts.load_balancer_ips {
                let may = |node: &&str| {
                    let here = || local_ready(slices.iter().copied(), Family::of(address), node) > 0;
                    !self.excluded.contains(*node) && (!facts.external_local || here())
                };
                if owner(*address, fresh.iter().copied().filter(may)) == Some(own) {
                    owned.insert(*address, Announced { service: service.clone(), uid: uid.clone() });
                }
            }
        }
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn service(name: &str, ips: &[&str], spec: Value, marked: bool) -> Service {
        let ingress: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        let condition = json!({"type": CONDITION, "status": "True", "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let mut value = json!({
            "metadata": {"name": name, "namespace": "d", "uid": name},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": ingress}, "conditions": if marked { json!([condition]) } else { json!([]) }},
        });
        value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn slice(service: &str, nodes: &[(&str, bool)]) -> EndpointSlice {
        let endpoint = |(index, (node, ready)): (usize, &(&str, bool))| json!({"addresses": [format!("10.0.0.{}", index + 1)], "nodeName": node, "conditions": {"ready": ready}});
        let endpoints: Vec<Value> = nodes.iter().enumerate().map(endpoint).collect();
        serde_json::from_value(json!({"metadata": {"name": service, "namespace": "d", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": endpoints}))
        .unwrap()
    }

    fn node(name: &str, labels: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    }

    fn cluster(services: Vec<Service>, slices: Vec<EndpointSlice>, nodes: Vec<Node>) -> Cluster {
        let mut cluster = Cluster::default();
        cluster.service(Event::Init);
        services.into_iter().for_each(|one| cluster.service(Event::InitApply(one)));
        cluster.service(Event::InitDone);
        cluster.slice(Event::Init);
        slices.into_iter().for_each(|one| cluster.slice(Event::InitApply(one)));
        cluster.slice(Event::InitDone);
        cluster.node(Event::Init);
        nodes.into_iter().for_each(|one| cluster.node(Event::InitApply(one)));
        cluster.node(Event::InitDone);
        cluster
    }

    fn owners(cluster: &Cluster, fresh: &[&str], address: &str) -> Vec<String> {
        let address: IpAddr = address.parse().unwrap();
        let set: BTreeSet<&str> = fresh.iter().copied().collect();
        let owns = |node: &&&str| cluster.owned(node, &set).contains_key(&address);
        fresh.iter().filter(owns).map(|node| (*node).to_owned()).collect()
    }

    #[test]
    fn names_are_the_controllers() {
        use xebec_api::load_balancer;
        assert_eq!((CLASS, CONDITION), (load_balancer::CLASS, load_balancer::CONDITION));
    }

    #[test]
    fn only_ours_and_only_by_nodes_that_may() {
        let local = json!({"externalTrafficPolicy": "Local"});
        let mut cluster = cluster(
            vec![
                service("all", &["192.0.2.1", "2001:db8::1"], json!({}), true),
                service("local", &["192.0.2.2"], local, true),
                service("theirs", &["192.0.2.3"], json!({}), false),
                service("classed", &["192.0.2.4"], json!({"loadBalancerClass": "example.com/x"}), true),
                service("retyped", &["192.0.2.5"], json!({"type": "ClusterIP"}), true),
            ],
            vec![slice("local", &[("b", true), ("c", false)])],
            vec![node("a", json!({})), node("out", json!({EXCLUDED: ""}))],
        );
        let fresh = ["a", "b", "c", "out"];
        assert_eq!(owners(&cluster, &fresh, "192.0.2.1").len(), 1);
        assert_eq!(owners(&cluster, &fresh, "2001:db8::1").len(), 1);
        assert_eq!(owners(&cluster, &["out"], "192.0.2.1"), [""; 0]);
        assert_eq!(owners(&cluster, &fresh, "192.0.2.2"), ["b"]);
        for other in ["192.0.2.3", "192.0.2.4", "192.0.2.5"] {
            assert_eq!(owners(&cluster, &fresh, other), [""; 0], "{other}");
        }
        // The endpoint moves, and with it the address; the label goes.
        cluster.slice(Event::Apply(slice("local", &[("b", false), ("c", true)])));
        assert_eq!(owners(&cluster, &fresh, "192.0.2.2"), ["c"]);
        cluster.node(Event::Apply(node("out", json!({}))));
        assert_eq!(owners(&cluster, &["out"], "192.0.2.1"), ["out"]);
        cluster.service(Event::Delete(service("all", &["192.0.2.1"], json!({}), true)));
        assert_eq!(owners(&cluster, &fresh, "192.0.2.1"), [""; 0]);
        assert_eq!(owners(&Cluster::default(), &fresh, "192.0.2.2"), [""; 0], "nothing is known yet");
    }

    proptest! {
        /// Equal views, one owner; a node that leaves moves its own addresses only, one that comes takes its own only.
        #[test]
        fn one_owner_and_little_movement(count in 1..9_usize, leaves in 0..9_usize, ips in prop::collection::btree_set(any::<u32>(), 1..40)) {
            let names: Vec<String> = (0..count).map(|n| format!("node-{n}")).collect();
            let addresses: Vec<IpAddr> = ips.into_iter().map(|n| IpAddr::from(n.to_be_bytes())).collect();
            let gone = &names[leaves % count];
            for address in &addresses {
                let before = owner(*address, names.iter().map(String::as_str)).unwrap();
                let reversed = owner(*address, names.iter().rev().map(String::as_str)).unwrap();
                prop_assert_eq!(before, reversed, "whatever order they are seen in");
                let after = owner(*address, names.iter().filter(|name| *name != gone).map(String::as_str));
                if before == gone {
                    prop_assert_ne!(after, Some(gone.as_str()));
                } else {
                    prop_assert_eq!(after, Some(before));
                }
            }
        }
    }

    #[test]
    fn addresses_are_spread() {
        let names = ["node-1", "node-2", "node-3", "node-4"];
        let mut counts = BTreeMap::new();
        for last in 0..=255 {
            *counts.entry(owner(IpAddr::from([192, 0, 2, last]), names.into_iter()).unwrap()).or_insert(0) +=
                1;
        }
        assert!(counts.len() == 4 && counts.values().all(|count| (32..=96).contains(count)), "{counts:?}");
    }
}
