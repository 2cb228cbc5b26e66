//! Affinity to nodes and to other pods. PURE.
//!
//! A pod term looks at a topology domain: all nodes with the same value of a label. Which domains hold a matching pod is
//! computed once for each pod to schedule, so that a node is checked with a few look-ups.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm, PodSpec};

use crate::select;
use crate::snapshot::{NodeEntry, Snapshot};

/// nodeSelector and required node affinity.
pub(super) fn node_matches(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| {
            labels.and_then(|labels| labels.get(key)).is_some_and(|found| found == value)
        });
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| select::node_selector(required, node))
}

/// A topology domain: label and value.
type Domain = (String, String);

/// Required pod affinity and anti-affinity, worked out against the cluster.
pub struct PodTerms {
    /// Each required affinity term: its key, and the domains with a matching pod.
    affinity: Vec<(String, HashSet<String>)>,
    /// No pod anywhere matches any term, but the pod itself matches all: the first of a group may start it.
    first_of_group: bool,
    /// Domains in which a pod stands that the pod refuses to be with.
    anti: HashSet<Domain>,
    /// Domains in which a pod stands that refuses to be with this one.
    refused: HashSet<Domain>,
}

impl PodTerms {
    /// Works out the terms of `pod` and of the pods that are there.
    pub fn new(pod: &Pod, snapshot: &Snapshot) -> Self {
        let (required, forbidden) = terms(pod);
        let mut affinity: Vec<(String, HashSet<String>)> =
            required.iter().map(|term| (term.topology_key.clone(), HashSet::new())).collect();
        let (mut anti, mut refused) = (HashSet::new(), HashSet::new());
        let mut any_match = false;
        for node in snapshot.nodes() {
            for placed in node.pods.values() {
                let other = placed.pod.as_ref();
                for (term, (_, domains)) in required.iter().zip(&mut affinity) {
                    if matches(term, pod, other) {
                        any_match = true;
                        domains.extend(node.label(&term.topology_key).map(str::to_owned));
                    }
                }
                anti.extend(
                    forbidden.iter().filter(|term| matches(term, pod, other)).filter_map(|t| domain(t, node)),
                );
                let theirs = terms(other).1;
                refused.extend(
                    theirs.iter().filter(|term| matches(term, other, pod)).filter_map(|t| domain(t, node)),
                );
            }
        }
        let first_of_group =
            !any_match && !required.is_empty() && required.iter().all(|term| matches(term, pod, pod));
        Self { affinity, first_of_group, anti, refused }
    }

    /// Upstream's reason why this node does not do.
    pub(super) fn check(&self, node: &NodeEntry) -> Option<&'static str> {
        let affine = self.affinity.iter().all(|(key, domains)| {
            node.label(key).is_some_and(|value| self.first_of_group || domains.contains(value))
        });
        if !affine {
            return Some("node(s) didn't match pod affinity rules");
        }
        let stands_in = |domains: &HashSet<Domain>| {
            domains.iter().any(|(key, value)| node.label(key).is_some_and(|found| found == value))
        };
        if stands_in(&self.anti) {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
        stands_in(&self.refused).then_some("node(s) didn't satisfy existing pods anti-affinity rules")
    }
}

fn domain(term: &PodAffinityTerm, node: &NodeEntry) -> Option<Domain> {
    Some((term.topology_key.clone(), node.label(&term.topology_key)?.to_owned()))
}

/// Required affinity and anti-affinity terms of a pod.
fn terms(pod: &Pod) -> (&[PodAffinityTerm], &[PodAffinityTerm]) {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let required = affinity
        .and_then(|affinity| affinity.pod_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_deref());
    let forbidden = affinity
        .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_deref());
    (required.unwrap_or_default(), forbidden.unwrap_or_default())
}

/// Whether `owner`'s term selects `other`: namespace and labels, with matchLabelKeys taken from the owner (KEP-3633).
fn matches(term: &PodAffinityTerm, owner: &Pod, other: &Pod) -> bool {
    let empty = BTreeMap::new();
    let labels = other.metadata.labels.as_ref().unwrap_or(&empty);
    let own_labels = owner.metadata.labels.as_ref().unwrap_or(&empty);
    let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
    let named = term.namespaces.as_deref().unwrap_or_default();
    // An empty namespaceSelector means every namespace; a term without either means the owner's.
    let everywhere = term.namespace_selector.as_ref().is_some_and(|selector| {
        selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
    });
    let here = if named.is_empty() && term.namespace_selector.is_none() {
        owner.metadata.namespace.as_deref().unwrap_or_default() == namespace
    } else {
        everywhere || named.iter().any(|name| name == namespace)
    };
    let same = |keys: &Option<Vec<String>>, equal: bool| {
        keys.iter().flatten().all(|key| match own_labels.get(key) {
            Some(value) => (labels.get(key) == Some(value)) == equal,
            None => true,
        })
    };
    here && select::labels(term.label_selector.as_ref(), labels)
        && same(&term.match_label_keys, true)
        && same(&term.mismatch_label_keys, false)
}
