//! PURE: which of the nodes that can run a pod is best.
//!
//! Enters: the pod, the nodes that passed the filter. Leaves: a score for each, higher is better. The parts and weights
//! are upstream's defaults: LeastAllocated 1, BalancedAllocation 1, NodeAffinity 2, TaintToleration 3, InterPodAffinity's
//! place is taken by spreading the pods of one owner (upstream's default topology spread, weight 2).

use k8s_openapi::api::core::v1::Pod;

use crate::filter::Asked;
use crate::select;
use crate::snapshot::NodeEntry;

/// The best score of a part.
const MAX: f64 = 100.0;

/// Scores of nodes, in their order.
pub fn scores(asked: &Asked<'_>, nodes: &[&NodeEntry]) -> Vec<f64> {
    let preferred: Vec<f64> = nodes.iter().map(|node| preferred_affinity(asked.pod, node)).collect();
    let taints: Vec<f64> = nodes.iter().map(|node| soft_taints(asked.pod, node)).collect();
    let siblings: Vec<f64> = nodes.iter().map(|node| siblings(asked.pod, node)).collect();
    let (preferred, taints, siblings) = (upwards(&preferred), downwards(&taints), downwards(&siblings));
    nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            least_allocated(asked, node)
                + balanced_allocation(asked, node)
                + 2.0 * preferred[index]
                + 3.0 * taints[index]
                + 2.0 * siblings[index]
        })
        .collect()
}

/// More is better: the largest becomes 100.
fn upwards(raw: &[f64]) -> Vec<f64> {
    let most = raw.iter().copied().fold(0.0, f64::max);
    raw.iter().map(|value| if most > 0.0 { value / most * MAX } else { 0.0 }).collect()
}

/// Less is better: zero becomes 100, the largest 0.
fn downwards(raw: &[f64]) -> Vec<f64> {
    upwards(raw).iter().map(|value| MAX - value).collect()
}

/// The share of a resource in use after placing the pod. Pods without requests count as a little (100m, 200Mi), as
/// upstream does, so that they spread too.
fn usage(asked: &Asked<'_>, node: &NodeEntry, resource: &str, least: i64) -> f64 {
    let allocatable = node.allocatable.get(resource).copied().unwrap_or(0);
    if allocatable <= 0 {
        return 1.0;
    }
    let unstated = node.pods.values().filter(|placed| !states(&placed.pod, resource)).count();
    let unstated = i64::try_from(unstated).unwrap_or(i64::MAX);
    let wanted = asked.requests.get(resource).copied().unwrap_or(least);
    let used = node.requested.get(resource).copied().unwrap_or(0) + unstated.saturating_mul(least);
    (used.saturating_add(wanted) as f64 / allocatable as f64).min(1.0)
}

fn states(pod: &Pod, resource: &str) -> bool {
    pod.spec.as_ref().is_some_and(|spec| crate::pod::requests(spec).contains_key(resource))
}

fn shares(asked: &Asked<'_>, node: &NodeEntry) -> [f64; 2] {
    [usage(asked, node, "cpu", 100), usage(asked, node, "memory", 200 << 20)]
}

fn least_allocated(asked: &Asked<'_>, node: &NodeEntry) -> f64 {
    shares(asked, node).iter().map(|share| (1.0 - share) * MAX / 2.0).sum()
}

fn balanced_allocation(asked: &Asked<'_>, node: &NodeEntry) -> f64 {
    let [cpu, memory] = shares(asked, node);
    // The standard deviation of two values.
    (1.0 - (cpu - memory).abs() / 2.0) * MAX
}

fn preferred_affinity(pod: &Pod, node: &NodeEntry) -> f64 {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let terms = affinity
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref());
    let matching =
        terms.unwrap_or_default().iter().filter(|term| select::node_term(&term.preference, &node.node));
    matching.map(|term| f64::from(term.weight)).sum()
}

fn soft_taints(pod: &Pod, node: &NodeEntry) -> f64 {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let taints = node.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let refused = taints.iter().filter(|taint| {
        select::untolerated(std::slice::from_ref(taint), tolerations, &["PreferNoSchedule"]).is_some()
    });
    refused.count() as f64
}

/// Pods of the same controller on the node.
fn siblings(pod: &Pod, node: &NodeEntry) -> f64 {
    let controller = |pod: &Pod| {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
    };
    let Some(own) = controller(pod) else { return 0.0 };
    node.pods.values().filter(|placed| controller(&placed.pod).as_ref() == Some(&own)).count() as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::Snapshot;

    fn pod(name: &str, extra: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": name, "uid": name, "namespace": "d"}, "spec": {"containers": [{"name": "c"}]}});
        xebec_api::patch::merge_patch(&mut pod, &extra);
        serde_json::from_value(pod).unwrap()
    }

    /// The name of the best node among `a` and `b`, each with an extra patch, given pods that are on `a`.
    fn best(asking: &Pod, a: Value, b: Value, on_a: &[Pod]) -> String {
        let mut snapshot = Snapshot::default();
        for (name, extra) in [("a", a), ("b", b)] {
            let mut node = json!({"metadata": {"name": name, "labels": {"node": name}},
                "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "100"}}});
            xebec_api::patch::merge_patch(&mut node, &extra);
            snapshot.put_node(serde_json::from_value(node).unwrap());
        }
        on_a.iter().for_each(|pod| snapshot.assume(&Arc::new(pod.clone()), "a"));
        let nodes: Vec<&NodeEntry> = snapshot.nodes().collect();
        let scores = scores(&Asked::new(asking, &snapshot), &nodes);
        if scores[0] > scores[1] { "a".to_owned() } else { "b".to_owned() }
    }

    #[test]
    fn emptier_preferred_untainted_and_spread_win() {
        let none = || json!({});
        let busy = pod(
            "busy",
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}}]}}),
        );
        assert_eq!(best(&pod("p", none()), none(), none(), &[busy]), "b");
        assert_eq!(
            best(&pod("p", none()), none(), none(), &[pod("q", none())]),
            "b",
            "pods without requests count"
        );
        let prefers_a = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "preference": {"matchExpressions": [{"key": "node", "operator": "In", "values": ["a"]}]}}]}}}});
        assert_eq!(best(&pod("p", prefers_a), none(), none(), &[]), "a");
        let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
        assert_eq!(best(&pod("p", none()), none(), soft, &[]), "a");
        let owned = || json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": true}]}});
        assert_eq!(best(&pod("p", owned()), none(), none(), &[pod("q", owned())]), "b");
    }
}
