//! What nodes weigh: the share of allocatable CPU that each zone has. Pure.
//!
//! Enters: nodes. Leaves: [`Shares`], and a [`Weight`] that differs only if a node's change can change them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use xebec_api::quantity::Quantity;

/// The label with a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// A node with one of these, whatever their value, takes no part.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Each zone's part of the CPU of all zones, of at least two; they sum up to 1.
pub type Shares = BTreeMap<String, f64>;

/// What one node adds to its zone.
#[derive(Clone, Debug, PartialEq)]
pub enum Weight {
    /// Nothing: it is not ready, or of the control plane.
    Nothing,
    /// It cannot be said: no zone, or no CPU.
    Unknown,
    /// So much CPU in a zone.
    Cpu(String, Quantity),
}

/// The zone of a node.
pub fn zone(node: &Node) -> Option<&String> {
    node.labels().get(ZONE).filter(|zone| !zone.is_empty())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|c| c.type_ == "Ready").is_some_and(|c| c.status == "True")
}

/// What a node weighs.
pub fn weight(node: &Node) -> Weight {
    if EXCLUDED.iter().any(|label| node.labels().contains_key(*label)) || !is_ready(node) {
        return Weight::Nothing;
    }
    let cpu = node.status.as_ref().and_then(|s| s.allocatable.as_ref()).and_then(|all| all.get("cpu"));
    let cpu = cpu.and_then(|cpu| Quantity::parse(&cpu.0).ok()).filter(|cpu| !cpu.is_zero());
    match (zone(node), cpu) {
        (Some(zone), Some(cpu)) => Weight::Cpu(zone.clone(), cpu),
        _ => Weight::Unknown,
    }
}

/// The zones' shares. None: less than two zones, or one node of which it cannot be said.
pub fn shares(nodes: &[Arc<Node>]) -> Option<Shares> {
    let mut zones: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut total = Quantity::ZERO;
    for node in nodes {
        match weight(node) {
            Weight::Nothing => {}
            Weight::Unknown => return None,
            Weight::Cpu(zone, cpu) => {
                total = total.saturating_add(cpu);
                let sum = zones.entry(zone).or_default();
                *sum = sum.saturating_add(cpu);
            }
        }
    }
    let share = |cpu: Quantity| cpu.milli_value() as f64 / total.milli_value() as f64;
    (zones.len() > 1).then(|| zones.into_iter().map(|(zone, cpu)| (zone, share(cpu))).collect())
}
