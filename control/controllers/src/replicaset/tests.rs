use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::plan::{Failure, Scale, same, scale, status};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// A ready, running pod on node n, changed by a merge.
fn pod(name: &str, change: Value) -> Arc<Pod> {
    let mut value = json!({
        "metadata": {"name": name, "uid": name, "labels": {"app": "a"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [], "nodeName": "n"},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:30:00Z"}]},
    });
    xebec_api::patch::merge_patch(&mut value, &change);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn first_to_go(pods: &[Arc<Pod>]) -> String {
    match scale(i32::try_from(pods.len()).unwrap() - 1, pods, pods, now()) {
        Scale::Delete(gone) => gone[0].name_any(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn counts() {
    let pods = [pod("a", json!({})), pod("b", json!({}))];
    assert!(matches!(scale(2, &pods, &pods, now()), Scale::Keep));
    assert!(matches!(scale(5, &pods, &pods, now()), Scale::Create(3)));
    assert!(matches!(scale(5000, &pods, &pods, now()), Scale::Create(500)));
    assert!(matches!(scale(0, &pods, &pods, now()), Scale::Delete(gone) if gone.len() == 2));
}

#[test]
fn deletion_order_is_upstreams() {
    let fine = || pod("fine", json!({}));
    let cases = [
        ("unassigned", json!({"spec": {"nodeName": null}})),
        ("pending", json!({"status": {"phase": "Pending"}})),
        ("not ready", json!({"status": {"conditions": []}})),
        ("cheap", json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}})),
        (
            "ready shortly",
            json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:50Z"}]}}),
        ),
        (
            "restarting",
            json!({"status": {"containerStatuses": [
            {"name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": 3}]}}),
        ),
        ("younger", json!({"metadata": {"creationTimestamp": "2026-01-01T00:59:00Z"}})),
    ];
    for (name, change) in cases {
        assert_eq!(first_to_go(&[fine(), pod(name, change)]), name);
    }
    let crowded = [
        pod("alone", json!({"spec": {"nodeName": "m"}})),
        pod("zcrowd", json!({})),
        pod("zcrowd2", json!({})),
    ];
    assert!(first_to_go(&crowded).starts_with("zcrowd"));
}

fn set(min_ready: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": "rs", "generation": 4},
        "spec": {"replicas": 3, "minReadySeconds": min_ready, "selector": {"matchLabels": {"app": "a"}},
                 "template": {"metadata": {"labels": {"app": "a", "v": "2"}}}},
    }))
    .unwrap()
}

#[test]
fn status_counts_active_pods_only() {
    let pods = [
        pod("a", json!({"metadata": {"labels": {"v": "2"}}})),
        pod("b", json!({"status": {"conditions": []}})),
        pod("done", json!({"status": {"phase": "Failed"}})),
        pod("going", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:59:59Z"}})),
    ];
    let (status, again) = status(&set(0), &pods, None, now());
    assert_eq!((status.replicas, status.fully_labeled_replicas), (2, Some(1)));
    assert_eq!((status.ready_replicas, status.available_replicas), (Some(1), Some(1)));
    assert_eq!((status.terminating_replicas, status.observed_generation), (Some(1), Some(4)));
    assert_eq!((status.conditions, again), (None, None));
}

#[test]
fn availability_comes_with_time() {
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:55Z"}]);
    let pods = [pod("a", json!({"status": {"conditions": ready}}))];
    let (status, again) = status(&set(30), &pods, None, now());
    assert_eq!((status.ready_replicas, status.available_replicas), (Some(1), Some(0)));
    assert_eq!(again, Some(Duration::from_secs(25)));
}

#[test]
fn failure_condition_appears_once_and_goes() {
    let mut set = set(0);
    let failure = Failure { reason: "FailedCreate", message: "exceeded quota".to_owned() };
    let (first, _) = status(&set, &[], Some(&failure), now());
    assert_eq!(first.conditions.as_ref().unwrap()[0].reason.as_deref(), Some("FailedCreate"));
    set.status = Some(first.clone());
    let later: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
    let (second, _) = status(&set, &[], Some(&failure), later);
    assert!(same(&first, &second));
    let (third, _) = status(&set, &[], None, later);
    assert!(!same(&first, &third) && third.conditions.is_none());
}
