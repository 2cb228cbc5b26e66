//! How many pods a ReplicaSet lacks, which it gives up first, and its status. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::machinery::children::BURST;
use crate::machinery::pods::{self, Availability};
use crate::machinery::time::seconds;

/// The annotation by which a pod asks to be deleted earlier (lower) or later (higher).
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What to do about the number of pods.
#[derive(Debug)]
pub enum Scale {
    /// Enough.
    Keep,
    /// Create so many.
    Create(usize),
    /// Delete these.
    Delete(Vec<Arc<Pod>>),
}

/// Compares what is wanted with the active pods; `related` are the active pods of all ReplicaSets of the same owner.
pub fn scale(desired: i32, active: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Scale {
    let desired = usize::try_from(desired).unwrap_or_default();
    match active.len().cmp(&desired) {
        Ordering::Equal => Scale::Keep,
        Ordering::Less => Scale::Create((desired - active.len()).min(BURST)),
        Ordering::Greater => {
            let count = (active.len() - desired).min(BURST);
            let mut ranked = active.to_vec();
            if desired > 0 {
                rank(&mut ranked, related, now);
            }
            ranked.truncate(count);
            Scale::Delete(ranked)
        }
    }
}

/// The powers of two in an age; ages of one magnitude count as equal, so that scaling down spreads (KEP-2185).
fn magnitude(since: Option<Timestamp>, now: Timestamp) -> i64 {
    let Some(since) = since else { return 0 };
    let nanos = crate::machinery::time::since(now, since).as_nanos();
    if nanos == 0 { -1 } else { i64::from(nanos.ilog2()) }
}

fn cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST));
    text.and_then(|t| t.parse().ok()).unwrap_or_default()
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default()
}

/// Sorts pods so that the first is the first to go (upstream's ActivePodsWithRanks).
fn rank(ranked: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|p| pods::is_active(p)) {
        *crowd.entry(node(pod)).or_default() += 1;
    }
    let phase = |pod: &Pod| match pods::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    ranked.sort_by(|a, b| {
        let crowded = |p: &Pod| crowd.get(node(p)).copied().unwrap_or_default();
        (!node(a).is_empty())
            .cmp(&!node(b).is_empty())
            .then_with(|| phase(a).cmp(&phase(b)))
            .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
            .then_with(|| cost(a).cmp(&cost(b)))
            .then_with(|| crowded(b).cmp(&crowded(a)))
            .then_with(|| {
                let ready = pods::is_ready(a) && pods::is_ready(b);
                let of = |p: &Pod| if ready { magnitude(pods::ready_since(p), now) } else { 0 };
                of(a).cmp(&of(b))
            })
            .then_with(|| pods::max_restarts(b).cmp(&pods::max_restarts(a)))
            .then_with(|| {
                let of = |p: &Pod| magnitude(p.metadata.creation_timestamp.as_ref().map(|t| t.0), now);
                of(a).cmp(&of(b))
            })
            .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
    });
}

/// How the last attempt to change the number of pods failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whether it was creating or deleting.
    pub reason: &'static str,
    /// The server's words.
    pub message: String,
}

/// The status that follows from the pods, and when it may change by time alone.
pub fn status(
    set: &ReplicaSet,
    owned: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|s| s.min_ready_seconds).unwrap_or_default();
    let none = BTreeMap::new();
    let template_labels = spec
        .and_then(|s| s.template.as_ref())
        .and_then(|t| t.metadata.as_ref())
        .and_then(|m| m.labels.as_ref())
        .unwrap_or(&none);
    let (mut replicas, mut labelled, mut ready, mut available, mut terminating) = (0, 0, 0, 0, 0);
    let mut again: Option<Duration> = None;
    for pod in owned {
        if pods::is_terminating(pod) && !pods::is_terminal(pod) {
            terminating += 1;
        }
        if !pods::is_active(pod) {
            continue;
        }
        replicas += 1;
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        labelled += i32::from(template_labels.iter().all(|(k, v)| labels.get(k) == Some(v)));
        ready += i32::from(pods::is_ready(pod));
        match pods::availability(pod, min_ready, now) {
            Availability::Now => available += 1,
            Availability::In(wait) => again = Some(again.map_or(wait, |w| w.min(wait))),
            Availability::No => {}
        }
    }
    let old = set.status.clone().unwrap_or_default();
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let known = conditions.iter().position(|c| c.type_ == "ReplicaFailure");
    match (failure, known) {
        (Some(failure), None) => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(seconds(now)),
        }),
        (None, Some(at)) => {
            conditions.remove(at);
        }
        _ => {}
    }
    let status = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: Some(labelled),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        terminating_replicas: Some(terminating),
        observed_generation: set.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    };
    (status, again)
}

/// Whether two statuses say the same, a missing count being zero.
pub fn same(a: &ReplicaSetStatus, b: &ReplicaSetStatus) -> bool {
    let count = |n: Option<i32>| n.unwrap_or_default();
    a.replicas == b.replicas
        && count(a.fully_labeled_replicas) == count(b.fully_labeled_replicas)
        && count(a.ready_replicas) == count(b.ready_replicas)
        && count(a.available_replicas) == count(b.available_replicas)
        && count(a.terminating_replicas) == count(b.terminating_replicas)
        && a.observed_generation == b.observed_generation
        && a.conditions.as_deref().unwrap_or_default() == b.conditions.as_deref().unwrap_or_default()
}
