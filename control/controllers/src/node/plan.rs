//! What a node's silence means: conditions, taints and evictions. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, PodCondition, Taint, Toleration};

use crate::machinery::time::{plus, seconds};

/// The taint of a node that says it is not ready; new nodes get it on admission.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint of a node that says nothing any more.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// A node's condition.
pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

/// Whether the node says it is ready: `True`, `False`, or `Unknown`.
pub fn ready(node: &Node) -> &str {
    condition(node, "Ready").map_or("Unknown", |c| c.status.as_str())
}

/// The conditions of a node that has been silent for too long; none if they say so already.
pub fn silenced(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut conditions = node.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        match conditions.iter_mut().find(|c| c.type_ == kind) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(seconds(now));
                changed = true;
            }
            None => {
                conditions.push(NodeCondition {
                    type_: kind.to_owned(),
                    status: "Unknown".to_owned(),
                    reason: Some("NodeStatusNeverUpdated".to_owned()),
                    message: Some("Kubelet never posted node status.".to_owned()),
                    last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                    last_transition_time: Some(seconds(now)),
                });
                changed = true;
            }
        }
    }
    changed.then_some(conditions)
}

fn taint(key: &str, effect: &str, now: Option<Timestamp>) -> Taint {
    Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added: now.map(seconds) }
}

/// The taints a node should carry, by its conditions; those of others stay. None if it has them already.
pub fn taints(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.clone().unwrap_or_default();
    let mut wanted: Vec<Taint> = Vec::new();
    let silence = match ready(node) {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    if let Some(key) = silence {
        wanted.push(taint(key, "NoSchedule", Some(now)));
        wanted.push(taint(key, "NoExecute", Some(now)));
    }
    for (kind, key) in PRESSURES {
        if condition(node, kind).is_some_and(|c| c.status == "True") {
            wanted.push(taint(key, "NoSchedule", Some(now)));
        }
    }
    if spec.unschedulable == Some(true) {
        wanted.push(taint(UNSCHEDULABLE, "NoSchedule", Some(now)));
    }
    let current = spec.taints.unwrap_or_default();
    let ours = |t: &Taint| {
        t.key == NOT_READY
            || t.key == UNREACHABLE
            || t.key == UNSCHEDULABLE
            || PRESSURES.iter().any(|p| p.1 == t.key)
    };
    let same = |a: &Taint, b: &Taint| a.key == b.key && a.effect == b.effect;
    let mut result: Vec<Taint> =
        current.iter().filter(|t| !ours(t) || wanted.iter().any(|w| same(w, t))).cloned().collect();
    let missing: Vec<Taint> = wanted.into_iter().filter(|w| !result.iter().any(|t| same(w, t))).collect();
    result.extend(missing);
    (result != current).then_some(result)
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        _ => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
    }
}

/// When a pod must leave its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It may stay.
    Never,
    /// At this time, or at once if it is past.
    At(Timestamp),
}

/// How long a pod endures its node's NoExecute taints: the shortest tolerationSeconds, none at all if one is not tolerated.
pub fn eviction(node: &Node, pod: &Pod, now: Timestamp) -> Eviction {
    let spec = node.spec.clone().unwrap_or_default();
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.clone()).unwrap_or_default();
    let mut at: Option<Timestamp> = None;
    for taint in spec.taints.iter().flatten().filter(|t| t.effect == "NoExecute") {
        let matching: Vec<&Toleration> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if matching.is_empty() {
            return Eviction::At(now);
        }
        let Some(least) = matching.iter().filter_map(|t| t.toleration_seconds).min() else { continue };
        let since = taint.time_added.as_ref().map_or(now, |t| t.0);
        let due = plus(since, Duration::from_secs(u64::try_from(least).unwrap_or_default()));
        at = Some(at.map_or(due, |a| a.min(due)));
    }
    at.map_or(Eviction::Never, Eviction::At)
}

/// The conditions of a pod whose node is no longer ready: Ready turns false. None if it is already.
pub fn not_ready(pod: &Pod, now: Timestamp) -> Option<PodCondition> {
    let ready = pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready")?;
    (ready.status == "True").then(|| PodCondition {
        status: "False".to_owned(),
        last_transition_time: Some(seconds(now)),
        ..ready.clone()
    })
}
