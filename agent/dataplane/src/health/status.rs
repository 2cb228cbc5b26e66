//! Whether the proxy is healthy. PURE, with kube-proxy's rules (pkg/proxy/healthcheck/proxy_health.go): healthy while
//! it starts and while everything it heard of is applied, unhealthy once something waits too long. Both families are
//! applied together, so both always have one state.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

/// How long something may wait before the proxy is unhealthy: twice kube-proxy's default sync period.
const PATIENCE: Duration = Duration::from_secs(60);
/// The cluster autoscaler's mark on a node that it is about to remove.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
/// What upstream shows for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    updated: Option<Timestamp>,
    waiting_since: Option<Instant>,
    eligible: bool,
}

/// One family's part of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyReport {
    last_updated: String,
    healthy: bool,
}

/// The answer of `/healthz` (with `nodeEligible`) and `/livez` (without).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<&'static str, FamilyReport>,
}

impl Report {
    /// Whether the answer is 200 rather than 503.
    pub fn is_ok(&self) -> bool {
        self.healthy && self.node_eligible != Some(false)
    }
}

impl Status {
    /// Notes one application; `behind` if something of it has to be tried again.
    pub fn applied(&mut self, behind: bool, now: Timestamp, at: Instant) {
        if behind {
            self.waiting_since.get_or_insert(at);
        } else {
            (self.updated, self.waiting_since) = (Some(now), None);
        }
    }

    /// Notes the own Node, absent when it was deleted: traffic should go to one that stays (KEP-3836).
    pub fn node(&mut self, node: Option<&Node>) {
        self.eligible = node.is_some_and(|node| {
            let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            node.metadata.deletion_timestamp.is_none() && taints.into_iter().all(|t| t.key != TO_BE_DELETED)
        });
    }

    /// Whether the proxy itself is healthy, whatever becomes of the node.
    pub fn is_healthy(&self, at: Instant) -> bool {
        self.waiting_since.is_none_or(|since| at.saturating_duration_since(since) < PATIENCE)
    }

    /// What is to be told at a moment; with `node`, whether the node is to stay counts too.
    pub fn report(&self, node: bool, now: Timestamp, at: Instant) -> Report {
        let healthy = self.is_healthy(at);
        let updated = self.updated.map_or_else(|| NEVER.to_owned(), |time| time.to_string());
        let family = FamilyReport { last_updated: updated.clone(), healthy };
        let mut report = Report {
            last_updated: updated,
            current_time: now.to_string(),
            node_eligible: node.then_some(self.eligible),
            healthy,
            status: self.updated.iter().flat_map(|_| ["IPv4", "IPv6"]).map(|f| (f, family.clone())).collect(),
        };
        if report.is_ok() {
            // As older releases had it: recent, whenever all is well.
            report.last_updated.clone_from(&report.current_time);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(extra: serde_json::Value) -> Node {
        let mut node = json!({"metadata": {"name": "n"}, "spec": {}});
        for (key, value) in extra.as_object().unwrap() {
            node[key] = value.clone();
        }
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn it_is_healthy_until_something_waits_too_long() {
        let (mut status, start, now) = (Status::default(), Instant::now(), Timestamp::UNIX_EPOCH);
        let after = |seconds| start + Duration::from_secs(seconds);
        let show = |status: &Status, seconds| {
            serde_json::to_value(status.report(false, now, after(seconds))).unwrap()
        };
        let current = "1970-01-01T00:00:00Z";
        let started = json!({"lastUpdated": current, "currentTime": current, "healthy": true});
        assert_eq!(show(&status, 0), started, "while it starts");
        status.applied(true, now, after(0));
        status.applied(true, now, after(59));
        assert!(status.is_healthy(after(59)) && !status.is_healthy(after(60)));
        let late = json!({"lastUpdated": NEVER, "currentTime": current, "healthy": false});
        assert_eq!(show(&status, 60), late);
        status.applied(false, now, after(60));
        let family = json!({"lastUpdated": current, "healthy": true});
        let fresh = json!({
            "lastUpdated": current, "currentTime": current, "healthy": true,
            "status": {"IPv4": family, "IPv6": family},
        });
        assert_eq!(show(&status, 600), fresh);
    }

    #[test]
    fn a_node_that_is_to_go_is_not_eligible() {
        let mut status = Status::default();
        let (at, now) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let ok = |status: &Status| status.report(true, now, at).is_ok();
        assert!(!ok(&status), "not seen yet");
        status.node(Some(&node(json!({}))));
        assert!(ok(&status));
        let taint = json!({"spec": {"taints": [{"key": TO_BE_DELETED, "effect": "NoSchedule"}]}});
        let deleted = json!({"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        for leaving in [Some(node(taint)), Some(node(deleted)), None] {
            status.node(leaving.as_ref());
            assert!(!ok(&status), "{leaving:?}");
            // The proxy on it works all the same: /livez and the Services' checks do not ask for the node.
            assert!(status.report(false, now, at).is_ok() && status.is_healthy(at));
        }
    }
}
