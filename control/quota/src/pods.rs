//! What a pod uses: compute while it lives, `count/pods` while it is stored.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use xebec_api::{meta, names};

use crate::{ResourceList, pod};

const FIXED: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// Once a quota limits one of these, every container must set it; upstream keeps the mistake and adds no more to it.
const MUST_BE_SET: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Names without a domain, or of a Kubernetes domain.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

pub(crate) fn counts(name: &str) -> bool {
    FIXED.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || (!is_native(name) && name.starts_with("requests."))
}

/// Whether the pod still counts: neither finished, nor stuck in deletion beyond twice its grace.
fn is_charged(pod: &Value, now: Timestamp) -> bool {
    if matches!(meta::str_at(pod, "/status/phase"), "Failed" | "Succeeded") {
        return false;
    }
    let grace = meta::int_at(pod, "/metadata/deletionGracePeriodSeconds");
    let (Some(at), Some(grace)) = (meta::deletion_timestamp(pod), grace) else { return true };
    at.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now <= end)
}

fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut usage = ResourceList::new();
    usage.set_count("pods", 1);
    for (name, amount) in requests.iter() {
        if matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            usage.set(name, amount);
            usage.set(format!("requests.{name}"), amount);
        } else if is_extended(name) {
            usage.set(format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in limits.iter() {
        if matches!(name, "cpu" | "memory" | "ephemeral-storage") {
            usage.set(format!("limits.{name}"), amount);
        }
    }
    usage
}

pub(crate) fn usage(pod: &Value, now: Timestamp) -> ResourceList {
    let mut usage = ResourceList::new();
    if is_charged(pod, now) {
        usage = compute(&pod::requests(pod), &pod::limits(pod));
    }
    usage.set_count("count/pods", 1);
    usage
}

/// `must specify limits.cpu for: a,b; requests.memory for: a`, when containers leave out what a quota limits.
pub(crate) fn missing(limited: &[String], pod: &Value) -> Option<String> {
    if pod::has_pod_level_resources(pod) {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in ["/spec/containers", "/spec/initContainers"].iter().flat_map(|at| meta::list_at(pod, at))
    {
        let requests = ResourceList::from_value(&container["resources"]["requests"]);
        let limits = ResourceList::from_value(&container["resources"]["limits"]);
        let set = compute(&requests, &limits);
        for name in limited.iter().filter(|n| MUST_BE_SET.contains(&n.as_str()) && !set.contains(n)) {
            missing.entry(name).or_default().insert(meta::str_at(container, "/name"));
        }
    }
    let one = |(resource, names): (&&str, &BTreeSet<&str>)| {
        let names: Vec<&str> = names.iter().copied().collect();
        format!("{resource} for: {}", names.join(","))
    };
    let all: Vec<String> = missing.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("must specify {}", all.join("; ")))
}
