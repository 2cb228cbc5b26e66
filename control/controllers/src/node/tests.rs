use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::Heartbeats;
use super::plan::{Eviction, eviction, not_ready, silenced, taints};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn node(ready: &str, taints: Value) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady",
                                   "lastHeartbeatTime": "2026-01-01T00:59:00Z"}]},
    }))
    .unwrap()
}

fn keys(taints: &[k8s_openapi::api::core::v1::Taint]) -> Vec<String> {
    taints
        .iter()
        .map(|t| format!("{}:{}", t.key.trim_start_matches("node.kubernetes.io/"), t.effect))
        .collect()
}

#[test]
fn silence_is_unknown_and_said_once() {
    let conditions = silenced(&node("True", Value::Null), now()).unwrap();
    assert_eq!(conditions.len(), 4);
    assert_eq!(
        (conditions[0].status.as_str(), conditions[0].reason.as_deref()),
        ("Unknown", Some("NodeStatusUnknown"))
    );
    assert_eq!(conditions[0].message.as_deref(), Some("Kubelet stopped posting node status."));
    assert_eq!(
        conditions[0].last_heartbeat_time.as_ref().unwrap().0,
        "2026-01-01T00:59:00Z".parse().unwrap()
    );
    assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
    let mut silent = node("True", Value::Null);
    silent.status.as_mut().unwrap().conditions = Some(conditions);
    assert_eq!(silenced(&silent, now()), None);
}

#[test]
fn taints_follow_the_conditions_and_leave_others_alone() {
    let own = json!([{"key": "example.com/x", "effect": "NoSchedule"}]);
    let admitted = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
    assert_eq!(taints(&node("True", own.clone()), now()), None);
    assert_eq!(keys(&taints(&node("True", admitted.clone()), now()).unwrap()), Vec::<String>::new());
    assert_eq!(
        keys(&taints(&node("False", admitted), now()).unwrap()),
        ["not-ready:NoSchedule", "not-ready:NoExecute"]
    );
    let unreachable = taints(&node("Unknown", own), now()).unwrap();
    assert_eq!(
        keys(&unreachable),
        ["example.com/x:NoSchedule", "unreachable:NoSchedule", "unreachable:NoExecute"]
    );
    assert_eq!(unreachable[2].time_added.as_ref().unwrap().0, now());
    let mut cordoned = node("True", Value::Null);
    cordoned.spec.as_mut().unwrap().unschedulable = Some(true);
    assert_eq!(keys(&taints(&cordoned, now()).unwrap()), ["unschedulable:NoSchedule"]);
}

#[test]
fn eviction_by_the_shortest_toleration() {
    let node = node(
        "Unknown",
        json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute",
                                       "timeAdded": "2026-01-01T00:59:00Z"}]),
    );
    let pod = |tolerations: Value| -> Pod {
        serde_json::from_value(
            json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}}),
        )
        .unwrap()
    };
    let with = |seconds: Value| {
        json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                                       "effect": "NoExecute", "tolerationSeconds": seconds})
    };
    let at = |text: &str| Eviction::At(text.parse().unwrap());
    let cases = [
        (Value::Null, Eviction::At(now())),
        (json!([with(json!(300))]), at("2026-01-01T01:04:00Z")),
        (json!([with(json!(300)), with(json!(10))]), at("2026-01-01T00:59:10Z")),
        (json!([with(Value::Null)]), Eviction::Never),
        (json!([{"operator": "Exists"}]), Eviction::Never),
        (json!([{"key": "other", "operator": "Exists"}]), Eviction::At(now())),
    ];
    for (tolerations, expected) in cases {
        assert_eq!(eviction(&node, &pod(tolerations.clone()), now()), expected, "{tolerations}");
    }
}

#[test]
fn pods_of_a_silent_node_are_not_ready() {
    let pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [
        {"type": "Ready", "status": "True"}]}}))
    .unwrap();
    assert_eq!(not_ready(&pod, now()).unwrap().status, "False");
    assert_eq!(not_ready(&Pod::default(), now()), None);
}

#[test]
fn a_heartbeat_is_any_change_of_lease_or_status_by_our_own_clock() {
    let mut beats = Heartbeats::default();
    let at = |minute: u32| format!("2026-01-01T01:{minute:02}:00Z").parse::<Timestamp>().unwrap();
    assert_eq!(beats.last("u", "lease 1", at(0)), at(0));
    assert_eq!(beats.last("u", "lease 1", at(1)), at(0));
    assert_eq!(beats.last("u", "lease 2", at(2)), at(2));
    assert_eq!(beats.last("v", "lease 1", at(3)), at(3));
}
