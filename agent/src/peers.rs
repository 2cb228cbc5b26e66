//! The pods of other nodes: follows the cluster's Nodes and keeps the routes to their pods. Enters: Nodes, this node's own
//! addresses. Leaves: routes, and lines that say which pods cannot be reached and why. Called by network, for as long as the
//! pod network is served.
//!
//! Nothing is removed before all Nodes are known, and nothing while the API server is away. Routes outlive the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xebec_network::IpNet;
use xebec_network::peers::{Peer, Plan, Routing, plan};
use xebec_network::routes::{apply, own_addresses};

/// Changes within this time are one: a cluster that starts brings many Nodes at once.
const TOGETHER: Duration = Duration::from_millis(100);
/// How often the node's own addresses and routes are looked at without a change of Nodes.
const RESYNC: Duration = Duration::from_secs(60);

/// How packets get to other nodes' pods.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// By routes, by VXLAN, or each where it fits.
    pub(crate) routing: Routing,
    /// VXLAN's UDP port.
    pub(crate) port: u16,
    /// The addresses of this node's own pods.
    pub(crate) pods: Vec<IpNet>,
}

/// Keeps the routes until `stop`; what goes wrong is told and tried again.
pub(crate) async fn follow(client: Client, node_name: &str, settings: Settings, stop: CancellationToken) {
    // Of a Node a few lines matter, and it has many (its images): only those are kept.
    let events = watch(Api::<Node>::all(client), watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut known = Known { own: node_name.to_owned(), ..Known::default() };
    let (mut before, mut told) = (Plan::default(), Told::default());
    let mut due = Instant::now() + RESYNC;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => match event {
                Some(Ok(event)) => {
                    if known.take(event) {
                        due = due.min(Instant::now() + TOGETHER);
                    }
                }
                Some(Err(error)) => {
                    let error = xebec_program::chain(&error);
                    tracing::warn!(what = "nodes", error, "watch failed; routes to other nodes' pods stay as they are");
                }
                None => return,
            },
            () = tokio::time::sleep_until(due) => {
                due = Instant::now() + RESYNC;
                if let Some(peers) = &known.peers {
                    before = reconcile(&settings, peers, before, &mut told).await;
                }
            }
        }
    }
}

/// From what is known to what is in the kernel; returns what was decided.
async fn reconcile(
    settings: &Settings,
    peers: &BTreeMap<String, Peer>,
    before: Plan,
    told: &mut Told,
) -> Plan {
    let own = match own_addresses().await {
        Ok(own) => own,
        Err(error) => {
            told.news([xebec_program::chain(&error)].into());
            return before;
        }
    };
    let plan = plan(settings.routing, &settings.pods, &own, peers, &before);
    let mut lacking: BTreeSet<String> =
        plan.refused.iter().map(|(node, why)| format!("node {node}: {why}")).collect();
    match apply(&plan, &settings.pods, settings.port).await {
        Ok(applied) => {
            if applied.added + applied.removed > 0 {
                let (added, removed) = (applied.added, applied.removed);
                tracing::info!(added, removed, nodes = plan.ways.len(), "routes to other nodes' pods");
            }
            lacking.extend(applied.no_tunnel);
            let node = |cidr| plan.ways.get(cidr).map_or("none", |to| to.node.as_str());
            lacking.extend(
                applied.failed.iter().map(|(cidr, why)| format!("node {}: {cidr}: {why}", node(cidr))),
            );
        }
        Err(error) => {
            lacking.insert(xebec_program::chain(&error));
        }
    }
    told.news(lacking);
    plan
}

/// What was told and lasts.
#[derive(Debug, Default)]
struct Told(BTreeSet<String>);

impl Told {
    /// Tells what is new; what lasts is told once, and anew when it comes back.
    fn news(&mut self, lacking: BTreeSet<String>) -> usize {
        let mut new = 0;
        for why in lacking.difference(&self.0) {
            tracing::warn!(why, "pods of another node cannot be reached, or not as wanted");
            new += 1;
        }
        self.0 = lacking;
        new
    }
}

/// What the API has told of other nodes.
#[derive(Debug, Default)]
struct Known {
    own: String,
    /// `None` before all are known.
    peers: Option<BTreeMap<String, Peer>>,
    /// A list that is not over yet.
    fresh: BTreeMap<String, Peer>,
}

impl Known {
    /// Takes an event; whether what is known is something else now. PURE.
    fn take(&mut self, event: Event<Node>) -> bool {
        match event {
            Event::Init => {
                self.fresh.clear();
                false
            }
            Event::InitApply(node) => {
                if node.name_any() != self.own {
                    self.fresh.insert(node.name_any(), peer(&node));
                }
                false
            }
            Event::InitDone => {
                let all = Some(std::mem::take(&mut self.fresh));
                let changed = self.peers != all;
                self.peers = all;
                changed
            }
            Event::Apply(node) => {
                let name = node.name_any();
                let Some(peers) = self.peers.as_mut().filter(|_| name != self.own) else { return false };
                let peer = peer(&node);
                let changed = peers.get(&name) != Some(&peer);
                peers.insert(name, peer);
                changed
            }
            Event::Delete(node) => {
                self.peers.as_mut().is_some_and(|peers| peers.remove(&node.name_any()).is_some())
            }
        }
    }
}

fn peer(node: &Node) -> Peer {
    let status = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = status.filter(|address| address.type_ == "InternalIP");
    Peer {
        created: node.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        pod_cidrs: pod_cidrs(node),
    }
}

/// A node's shares of the pods' addresses, as the API has them.
pub(crate) fn pod_cidrs(node: &Node) -> Vec<String> {
    let spec = node.spec.as_ref();
    // `podCIDRs` has `podCIDR` first, where a control plane of today filled it in.
    let many = spec.and_then(|spec| spec.pod_cidrs.clone()).filter(|cidrs| !cidrs.is_empty());
    let one = || spec.and_then(|spec| spec.pod_cidr.clone()).filter(|cidr| !cidr.is_empty());
    many.unwrap_or_else(|| one().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, spec: Value, address: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-02T03:04:05Z"}, "spec": spec,
            "status": {"addresses": [
                {"type": "Hostname", "address": name}, {"type": "ExternalIP", "address": "203.0.113.1"},
                {"type": "InternalIP", "address": address}, {"type": "InternalIP", "address": "fd00::1"},
            ]},
        }))
        .unwrap()
    }

    fn share(cidr: &str) -> Value {
        json!({"podCIDR": cidr, "podCIDRs": [cidr, "fd44::/64"]})
    }

    #[test]
    fn of_a_node_its_share_its_inner_addresses_and_its_age_matter() {
        let read = peer(&node("b", share("10.244.2.0/24"), "192.0.2.2"));
        let addresses = ["192.0.2.2", "fd00::1"].map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!(read.addresses, addresses);
        assert_eq!(read.pod_cidrs, ["10.244.2.0/24", "fd44::/64"]);
        assert_eq!(read.created, 1_767_323_045);
        let older = peer(&node("b", json!({"podCIDR": "10.244.2.0/24"}), "192.0.2.2"));
        assert_eq!(older.pod_cidrs, ["10.244.2.0/24"]);
        assert!(peer(&node("b", json!({"podCIDR": ""}), "192.0.2.2")).pod_cidrs.is_empty());
    }

    #[test]
    fn nothing_is_known_before_all_is_and_heartbeats_change_nothing() {
        let mut known = Known { own: "a".to_owned(), ..Known::default() };
        let b = || node("b", share("10.244.2.0/24"), "192.0.2.2");
        assert!(!known.take(Event::Init) && !known.take(Event::InitApply(b())));
        assert!(!known.take(Event::InitApply(node("a", share("10.244.1.0/24"), "192.0.2.1"))));
        assert!(known.peers.is_none());
        assert!(known.take(Event::InitDone));
        assert_eq!(known.peers.as_ref().unwrap().keys().collect::<Vec<_>>(), ["b"]);
        // The own node, and what does not matter.
        assert!(!known.take(Event::Apply(node("a", share("10.244.9.0/24"), "192.0.2.1"))));
        let mut beaten = b();
        beaten.metadata.resource_version = Some("7".to_owned());
        assert!(!known.take(Event::Apply(beaten)));
        assert!(known.take(Event::Apply(node("b", share("10.244.2.0/24"), "192.0.2.3"))));
        // A new list in the place of a broken watch: who left meanwhile is gone when it is over, not before.
        assert!(
            !known.take(Event::Init) && !known.take(Event::InitApply(node("c", share("x"), "192.0.2.4")))
        );
        assert!(known.peers.as_ref().unwrap().contains_key("b"));
        assert!(known.take(Event::InitDone));
        assert_eq!(known.peers.as_ref().unwrap().keys().collect::<Vec<_>>(), ["c"]);
        assert!(known.take(Event::Delete(node("c", share("x"), "192.0.2.4"))));
        assert!(!known.take(Event::Delete(b())));
    }

    #[test]
    fn what_lasts_is_told_once() {
        let mut told = Told::default();
        let some = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(told.news(some(&["a", "b"])), 2);
        assert_eq!(told.news(some(&["a", "b"])), 0);
        assert_eq!(told.news(some(&["b"])), 0);
        assert_eq!(told.news(some(&["a", "b"])), 1, "it is back");
    }
}
