//! Tables of pods against nodes: the reason is upstream's text.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::*;

fn node(name: &str, extra: Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": "a"}},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3", "ephemeral-storage": "10Gi"}},
    });
    xebec_api::patch::merge_patch(&mut node, &extra);
    serde_json::from_value(node).unwrap()
}

fn pod(name: &str, spec: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c"}]},
    });
    xebec_api::patch::merge_patch(&mut pod["spec"], &spec);
    serde_json::from_value(pod).unwrap()
}

fn requests(list: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": list}}]})
}

fn reasons(pod: &Pod, node: Node, others: &[Pod]) -> Vec<String> {
    let mut snapshot = Snapshot::default();
    let name = node.metadata.name.clone().unwrap();
    snapshot.put_node(node);
    for other in others {
        snapshot.assume(&Arc::new(other.clone()), &name);
    }
    let asked = Asked::new(pod, &snapshot);
    snapshot.nodes().map(|node| asked.check(node)).next().unwrap()
}

#[test]
fn each_check_gives_its_reason() {
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}});
    let required = |key: &str| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}}}})
    };
    let table: Vec<(Value, Value, &[&str])> = vec![
        (json!({}), json!({}), &[]),
        (json!({}), json!({"spec": {"unschedulable": true}}), &["node(s) were unschedulable"]),
        (
            json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}),
            json!({"spec": {"unschedulable": true}}),
            &[],
        ),
        (json!({"nodeName": "other"}), json!({}), &["node(s) didn't match the requested node name"]),
        (json!({}), taint("NoSchedule"), &["node(s) had untolerated taint {k: v}"]),
        (json!({}), taint("PreferNoSchedule"), &[]),
        (json!({"tolerations": [{"key": "k", "operator": "Exists"}]}), taint("NoExecute"), &[]),
        (
            json!({"nodeSelector": {"zone": "b"}}),
            json!({}),
            &["node(s) didn't match Pod's node affinity/selector"],
        ),
        (json!({"nodeSelector": {"zone": "a"}}), json!({}), &[]),
        (required("gpu"), json!({}), &["node(s) didn't match Pod's node affinity/selector"]),
        (required("zone"), json!({}), &[]),
        (
            requests(json!({"cpu": "3", "memory": "5Gi"})),
            json!({}),
            &["Insufficient cpu", "Insufficient memory"],
        ),
        (requests(json!({"cpu": "2"})), json!({}), &[]),
        (requests(json!({"example.com/gpu": "1"})), json!({}), &["Insufficient example.com/gpu"]),
    ];
    for (spec, extra, expected) in table {
        assert_eq!(
            reasons(&pod("p", spec.clone()), node("n", extra.clone()), &[]),
            expected,
            "{spec} on {extra}"
        );
    }
}

#[test]
fn what_runs_there_counts() {
    let big = pod("big", requests(json!({"cpu": "1500m"})));
    assert_eq!(
        reasons(&pod("p", requests(json!({"cpu": "600m"}))), node("n", json!({})), &[big]),
        ["Insufficient cpu"]
    );
    let small = |name| pod(name, json!({}));
    let three = [small("a"), small("b"), small("c")];
    assert_eq!(reasons(&small("p"), node("n", json!({})), &three), ["Too many pods"]);
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]});
    assert_eq!(
        reasons(&pod("p", port.clone()), node("n", json!({})), &[pod("q", port)]),
        ["node(s) didn't have free ports for the requested pod ports"]
    );
}

#[test]
fn pod_affinity_and_anti_affinity() {
    let term = |kind: &str, app: &str| {
        json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}}]}}})
    };
    let there = pod("web", json!({}));
    let on = |asking: &Pod, others: &[Pod]| reasons(asking, node("n", json!({})), others);
    assert!(on(&pod("p", term("podAffinity", "web")), std::slice::from_ref(&there)).is_empty());
    assert_eq!(on(&pod("p", term("podAffinity", "web")), &[]), ["node(s) didn't match pod affinity rules"]);
    assert!(on(&pod("web", term("podAffinity", "web")), &[]).is_empty(), "the first of a group may start it");
    assert_eq!(
        on(&pod("p", term("podAntiAffinity", "web")), std::slice::from_ref(&there)),
        ["node(s) didn't match pod anti-affinity rules"]
    );
    let refusing = pod("lonely", term("podAntiAffinity", "p"));
    assert_eq!(
        on(&pod("p", json!({})), &[refusing]),
        ["node(s) didn't satisfy existing pods anti-affinity rules"]
    );
}

#[test]
fn the_message_counts_reasons() {
    assert_eq!(message(0, &[]), "no nodes available to schedule pods");
    let reasons = [
        vec!["Insufficient cpu".to_owned(), "Insufficient memory".to_owned()],
        vec!["Insufficient cpu".to_owned()],
        vec!["node(s) were unschedulable".to_owned()],
    ];
    assert_eq!(
        message(3, &reasons),
        "0/3 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 Insufficient cpu."
    );
}
