//! PURE: which nodes can run a pod, and why the others cannot.
//!
//! Enters: a pod, the nodes. Leaves: for each node nothing, or upstream's reason. The order of the checks is upstream's,
//! since the first reason found is the one that is counted in the message.

mod affinity;
mod resources;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::{self, HostPort, Resources};
use crate::select;
use crate::snapshot::{NodeEntry, Snapshot};

pub use affinity::PodTerms;

/// Why a node cannot run the pod, in upstream's words; several for resources.
pub type Reasons = Vec<String>;

/// A pod with everything the checks need, computed once for all nodes.
pub struct Asked<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What it requests.
    pub requests: Resources,
    /// The host ports it wants.
    pub ports: Vec<HostPort>,
    /// Its and others' pod (anti-)affinity against the cluster.
    pub terms: PodTerms,
}

impl<'a> Asked<'a> {
    /// Prepares the checks of one pod against one state of the cluster.
    pub fn new(pod: &'a Pod, snapshot: &Snapshot) -> Self {
        let spec = pod.spec.as_ref();
        Self {
            pod,
            requests: spec.map(pod::requests).unwrap_or_default(),
            ports: spec.map(pod::host_ports).unwrap_or_default(),
            terms: PodTerms::new(pod, snapshot),
        }
    }

    /// Why this node cannot run the pod; empty when it can.
    pub fn check(&self, node: &NodeEntry) -> Reasons {
        let Some(spec) = &self.pod.spec else { return vec!["pod has no spec".to_owned()] };
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        let node_spec = node.node.spec.as_ref();
        let taints = node_spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let one = |reason: &str| vec![reason.to_owned()];
        if node_spec.and_then(|spec| spec.unschedulable) == Some(true)
            && !tolerates_unschedulable(tolerations)
        {
            return one("node(s) were unschedulable");
        }
        if spec.node_name.as_deref().is_some_and(|name| !name.is_empty() && name != node.name()) {
            return one("node(s) didn't match the requested node name");
        }
        if let Some(taint) = select::untolerated(taints, tolerations, &["NoSchedule", "NoExecute"]) {
            let value = taint.value.as_deref().unwrap_or_default();
            return vec![format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)];
        }
        if !affinity::node_matches(spec, &node.node) {
            return one("node(s) didn't match Pod's node affinity/selector");
        }
        if self.ports.iter().any(|wanted| node.ports().any(|used| used.conflicts(wanted))) {
            return one("node(s) didn't have free ports for the requested pod ports");
        }
        let lacking = resources::lacking(&self.requests, node);
        if !lacking.is_empty() {
            return lacking;
        }
        self.terms.check(node).map(one).unwrap_or_default()
    }
}

fn tolerates_unschedulable(tolerations: &[k8s_openapi::api::core::v1::Toleration]) -> bool {
    let taint = k8s_openapi::api::core::v1::Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    };
    tolerations.iter().any(|toleration| select::tolerates(toleration, &taint))
}

/// The message of a pod that no node can run: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) ...`.
pub fn message(total: usize, reasons: &[Reasons]) -> String {
    if total == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for reason in reasons.iter().flatten() {
        *counts.entry(reason).or_default() += 1;
    }
    // Upstream sorts the finished texts, so the count leads.
    let mut texts: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort_unstable();
    format!("0/{total} nodes are available: {}.", texts.join(", "))
}

#[cfg(test)]
mod tests;
