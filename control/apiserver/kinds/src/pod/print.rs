//! The rows of `kubectl get pods`.
//!
//! Authority: upstream's printPod.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shared::access::{at, flag, has, int, list, text};
use crate::table::{AGE, Column, NAME, age, column, human_duration, name, or_none, parse_time, wide};

/// The columns of a pod.
pub const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "The aggregate readiness state of this pod for accepting traffic."),
    column("Status", "string", "The aggregate status of the containers in this pod."),
    column(
        "Restarts",
        "string",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    wide("IP", "string", "The pod's primary address."),
    wide("Node", "string", "The node the pod is bound to."),
    wide("Nominated Node", "string", "The node on which other pods are being preempted for this pod."),
    wide("Readiness Gates", "string", "Conditions beside its containers that make the pod ready."),
];

/// The cells of a pod.
pub fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarize(pod);
    let restarts = match summary.last_restart {
        Some(time) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, human_duration(now.as_second() - time.as_second()))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = match list(pod, &["status", "podIPs"]).first() {
        Some(first) => text(first, &["ip"]),
        None => text(pod, &["status", "podIP"]),
    };
    vec![
        name(pod),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        age(pod, now),
        json!(or_none(ip)),
        json!(or_none(text(pod, &["spec", "nodeName"]))),
        json!(or_none(text(pod, &["status", "nominatedNodeName"]))),
        json!(readiness_gates(pod)),
    ]
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn count_restarts(&mut self, status: &Value) {
        self.restarts += int(status, &["restartCount"]).unwrap_or(0);
        let finished = parse_time(at(status, &["lastState", "terminated", "finishedAt"]));
        self.last_restart = self.last_restart.max(finished);
    }
}

fn summarize(pod: &Value) -> Summary {
    let mut summary = Summary { reason: text(pod, &["status", "phase"]).to_owned(), ..Summary::default() };
    let pod_reason = text(pod, &["status", "reason"]);
    if !pod_reason.is_empty() {
        summary.reason = pod_reason.to_owned();
    }
    if conditions(pod)
        .any(|c| text(c, &["type"]) == "PodScheduled" && text(c, &["reason"]) == "SchedulingGated")
    {
        summary.reason = "SchedulingGated".to_owned();
    }
    let init = list(pod, &["spec", "initContainers"]);
    let sidecars: Vec<&str> =
        init.iter().filter(|c| text(c, &["restartPolicy"]) == "Always").map(|c| text(c, &["name"])).collect();
    summary.total = list(pod, &["spec", "containers"]).len() + sidecars.len();
    let mut of_sidecars = Summary::default();
    let initializing = initialize(pod, &sidecars, init.len(), &mut summary, &mut of_sidecars);
    if !initializing || condition_is_true(pod, "Initialized") {
        summary.restarts = of_sidecars.restarts;
        summary.last_restart = of_sidecars.last_restart;
        run(pod, &mut summary);
    }
    if has(pod, &["metadata", "deletionTimestamp"]) {
        let phase = text(pod, &["status", "phase"]);
        if pod_reason == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

/// Walks the init containers up to the first that has not finished; true when there is one.
fn initialize(
    pod: &Value,
    sidecars: &[&str],
    count: usize,
    summary: &mut Summary,
    of_sidecars: &mut Summary,
) -> bool {
    for (index, status) in list(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        summary.count_restarts(status);
        let sidecar = sidecars.contains(&text(status, &["name"]));
        if sidecar {
            of_sidecars.count_restarts(status);
        }
        let terminated = at(status, &["state", "terminated"]);
        if terminated.is_object() && int(terminated, &["exitCode"]).unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && flag(status, &["started"]) {
            summary.ready += usize::from(flag(status, &["ready"]));
            continue;
        }
        let waiting = text(status, &["state", "waiting", "reason"]);
        summary.reason = if terminated.is_object() {
            format!("Init:{}", ended(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{count}")
        };
        return true;
    }
    false
}

fn run(pod: &Value, summary: &mut Summary) {
    let mut running = false;
    for status in list(pod, &["status", "containerStatuses"]).iter().rev() {
        summary.count_restarts(status);
        let waiting = text(status, &["state", "waiting", "reason"]);
        let terminated = at(status, &["state", "terminated"]);
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if terminated.is_object() {
            summary.reason = ended(terminated);
        } else if flag(status, &["ready"]) && has(status, &["state", "running"]) {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let ready = condition_is_true(pod, "Ready");
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

/// Why a terminated container ended.
fn ended(terminated: &Value) -> String {
    let reason = text(terminated, &["reason"]);
    let signal = int(terminated, &["signal"]).unwrap_or(0);
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", int(terminated, &["exitCode"]).unwrap_or(0))
    }
}

fn conditions(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, &["status", "conditions"]).iter()
}

fn condition_is_true(pod: &Value, kind: &str) -> bool {
    conditions(pod).any(|c| text(c, &["type"]) == kind && text(c, &["status"]) == "True")
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = gates.iter().filter(|gate| condition_is_true(pod, text(gate, &["conditionType"]))).count();
    format!("{met}/{}", gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    fn cells(pod: Value) -> Vec<String> {
        let strings = row(&pod, now()).into_iter();
        strings.map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect()
    }

    fn pod(spec: Value, status: Value) -> Value {
        json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": status})
    }

    #[test]
    fn the_status_says_what_upstream_says() {
        let one = json!({"containers": [{"name": "a"}]});
        let init = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]});
        let cases = [
            (one.clone(), json!({"phase": "Pending"}), ["p", "0/1", "Pending", "0", "60m"]),
            (
                one.clone(),
                json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": true, "restartCount": 2,
                    "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}}]}),
                ["p", "1/1", "Running", "2 (5m ago)", "60m"],
            ),
            (
                one.clone(),
                json!({"phase": "Running", "containerStatuses": [{"name": "a",
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                ["p", "0/1", "CrashLoopBackOff", "0", "60m"],
            ),
            (
                one.clone(),
                json!({"phase": "Succeeded", "containerStatuses": [{"name": "a",
                    "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
                ["p", "0/1", "Completed", "0", "60m"],
            ),
            (
                one.clone(),
                json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]}),
                ["p", "0/1", "ExitCode:3", "0", "60m"],
            ),
            (
                init.clone(),
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
                ["p", "0/1", "Init:0/1", "0", "60m"],
            ),
            (
                init,
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 1,
                    "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
                ["p", "0/1", "Init:Error", "1", "60m"],
            ),
            (
                one,
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
                ["p", "0/1", "SchedulingGated", "0", "60m"],
            ),
        ];
        for (spec, status, want) in cases {
            assert_eq!(cells(pod(spec, status.clone()))[..5], want, "{status}");
        }
    }

    #[test]
    fn a_started_sidecar_counts_as_ready() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
        let status = json!({"phase": "Running",
            "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}}],
            "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}]});
        assert_eq!(cells(pod(spec, status))[1..3], ["2/2", "Running"]);
    }

    #[test]
    fn deletion_and_the_wide_columns() {
        let mut deleted = pod(
            json!({"nodeName": "n1", "containers": [{"name": "a"}], "readinessGates": [{"conditionType": "x/y"}]}),
            json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}),
        );
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z");
        assert_eq!(
            cells(deleted),
            ["p", "0/1", "Terminating", "0", "60m", "10.0.0.1", "n1", "<none>", "0/1"]
        );
    }
}
