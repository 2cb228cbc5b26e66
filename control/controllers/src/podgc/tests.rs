use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::plan::{Missing, Why, plan};

fn pod(name: &str, more: Value) -> Arc<Pod> {
    let mut value = json!({"metadata": {"name": name}, "spec": {"containers": []}});
    xebec_api::patch::merge_patch(&mut value, &more);
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn only_the_forsaken() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let pods = [
        pod("fine", json!({"spec": {"nodeName": "n"}})),
        pod("waiting", json!({})),
        pod("never bound", going.clone()),
        pod("orphan", json!({"spec": {"nodeName": "gone"}})),
        pod(
            "young",
            json!({"metadata": {"creationTimestamp": "2026-01-01T00:02:00Z"}, "status": {"phase": "Failed"}}),
        ),
        pod(
            "old",
            json!({"metadata": {"creationTimestamp": "2026-01-01T00:01:00Z"}, "status": {"phase": "Succeeded"}}),
        ),
    ];
    let gone = HashSet::from(["gone".to_owned()]);
    let found = |threshold| -> Vec<(String, Why)> {
        plan(&pods, &gone, threshold)
            .into_iter()
            .map(|(p, w)| (p.metadata.name.clone().unwrap(), w))
            .collect()
    };
    let forsaken = [("never bound".to_owned(), Why::Unscheduled), ("orphan".to_owned(), Why::Orphaned)];
    assert_eq!(found(0), forsaken);
    assert_eq!(found(2), forsaken);
    assert_eq!(found(1)[2], ("old".to_owned(), Why::Surplus));
}

#[test]
fn a_node_must_be_gone_for_a_while() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<HashSet<_>>();
    let mut missing = Missing::default();
    assert!(missing.update(set(&["a"]), at(0)).is_empty());
    assert!(missing.update(set(&["a", "b"]), at(20)).is_empty());
    assert_eq!(missing.update(set(&["a", "b"]), at(40)), set(&["a"]));
    assert!(missing.update(set(&[]), at(41)).is_empty());
    assert!(missing.update(set(&["a"]), at(90)).is_empty());
}
