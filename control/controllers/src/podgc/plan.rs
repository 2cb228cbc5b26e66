//! Which pods nobody will ever look after again. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::machinery::pods;
use crate::machinery::time::since;

/// How long a node must be gone before its pods are given up.
pub const QUARANTINE: Duration = Duration::from_secs(40);

/// Why a pod is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There are more terminated pods than allowed, and it is one of the oldest.
    Surplus,
    /// Its node is gone.
    Orphaned,
    /// It is being deleted and was never bound to a node.
    Unscheduled,
}

/// The nodes that pods name but that are not there, since when.
#[derive(Debug, Default)]
pub struct Missing {
    since: HashMap<String, Timestamp>,
}

impl Missing {
    /// Notes which nodes are missing now; answers those that have been for long enough.
    pub fn update(&mut self, missing: HashSet<String>, now: Timestamp) -> HashSet<String> {
        self.since.retain(|name, _| missing.contains(name));
        for name in missing {
            self.since.entry(name).or_insert(now);
        }
        self.since
            .iter()
            .filter(|(_, at)| since(now, **at) >= QUARANTINE)
            .map(|(name, _)| name.clone())
            .collect()
    }
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default()
}

/// The pods to remove; `gone` are the nodes that are certainly gone.
pub fn plan(all: &[Arc<Pod>], gone: &HashSet<String>, threshold: usize) -> Vec<(Arc<Pod>, Why)> {
    let mut removed: Vec<(Arc<Pod>, Why)> = Vec::new();
    let mut ended: Vec<&Arc<Pod>> = Vec::new();
    for pod in all {
        if !node(pod).is_empty() && gone.contains(node(pod)) {
            removed.push((pod.clone(), Why::Orphaned));
        } else if node(pod).is_empty() && pods::is_terminating(pod) {
            removed.push((pod.clone(), Why::Unscheduled));
        } else if pods::is_terminal(pod) {
            ended.push(pod);
        }
    }
    if threshold > 0 && ended.len() > threshold {
        ended.sort_by_key(|p| (p.metadata.creation_timestamp.as_ref().map(|t| t.0), p.metadata.name.clone()));
        let surplus = ended.len() - threshold;
        removed.extend(ended.into_iter().take(surplus).map(|p| (p.clone(), Why::Surplus)));
    }
    removed
}
