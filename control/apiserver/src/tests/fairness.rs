//! Priority and fairness through the front door.

use std::time::Duration;

use serde_json::json;
use xebec_flow::Digest;

use super::harness::{Cluster, send};

const API: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

async fn one_seat_for_alice(cluster: &Cluster) {
    let level = json!({"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 1, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}}});
    let made = cluster.post(&format!("{API}/prioritylevelconfigurations"), &level).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let schema = json!({"metadata": {"name": "alice"}, "spec": {
        "priorityLevelConfiguration": {"name": "narrow"}, "matchingPrecedence": 50,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "alice"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    let made = cluster.post(&format!("{API}/flowschemas"), &schema).await;
    assert_eq!(made.code, 201, "{}", made.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_level_tells_its_requests_to_come_back_and_no_others() {
    let cluster = Cluster::start().await;
    one_seat_for_alice(&cluster).await;
    let alice = cluster.client("alice", "team").await;
    let uid = cluster.get(&format!("{API}/flowschemas/alice")).await.json()["metadata"]["uid"].clone();
    // The server takes the objects over a moment after they were written.
    let mut answer = send(&alice, "GET", "/version", &[], "").await;
    for _ in 0..100 {
        if answer
            .headers
            .get("x-kubernetes-pf-flowschema-uid")
            .is_some_and(|sent| uid == sent.to_str().unwrap())
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = send(&alice, "GET", "/version", &[], "").await;
    }
    assert_eq!(answer.headers["x-kubernetes-pf-flowschema-uid"], uid.as_str().unwrap());
    assert_eq!(answer.code, 200);
    let groups = ["team".to_owned(), "system:authenticated".to_owned()];
    let digest =
        Digest { user: "alice", groups: &groups, verb: "get", path: "/version", ..Digest::default() };
    // ceil(600 / 246) seats.
    let flow = cluster.server.flow.as_ref().unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(flow.enter(&digest, 1, Duration::from_secs(1)).await.unwrap());
    }
    let refused = send(&alice, "GET", "/version", &[], "").await;
    assert_eq!((refused.code, refused.headers["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(refused.json()["reason"], "TooManyRequests");
    assert_eq!(cluster.get("/version").await.code, 200, "others are not held up");
    drop(held);
    assert_eq!(send(&alice, "GET", "/version", &[], "").await.code, 200);
    let metrics = cluster.get("/metrics").await.text;
    assert!(metrics.contains(
        "rejected_requests_total{flow_schema=\"alice\",priority_level=\"narrow\",reason=\"concurrency-limit\"} 1"
    ));
    assert!(
        cluster.get("/debug/api_priority_and_fairness/dump_priority_levels").await.text.contains("narrow, ")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn suggested_objects_are_there_and_a_schema_without_a_level_dangles() {
    let cluster = Cluster::start().await;
    let schemas = cluster.get(&format!("{API}/flowschemas")).await.json();
    assert_eq!(schemas["items"].as_array().unwrap().len(), 13);
    let schema = json!({"metadata": {"name": "lost"}, "spec": {
        "priorityLevelConfiguration": {"name": "nowhere"}, "matchingPrecedence": 50,
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "x"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    cluster.post(&format!("{API}/flowschemas"), &schema).await;
    for _ in 0..200 {
        let lost = cluster.get(&format!("{API}/flowschemas/lost")).await.json();
        let condition = &lost["status"]["conditions"][0];
        if condition["type"] == "Dangling" {
            assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("NotFound")));
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no condition appeared");
}
