//! Namespaces get and lose what belongs to them; nodes get ranges and taints.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, count, deployment, missing, named};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_and_nodes_are_looked_after() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}),
        )
        .await;
    cluster.until("its account", "/api/v1/namespaces/n/serviceaccounts/default", named).await;
    let ca = cluster.until("its CA", "/api/v1/namespaces/n/configmaps/kube-root-ca.crt", named).await;
    assert_eq!(ca["data"]["ca.crt"], "PEM");
    cluster
        .create(
            "/api/v1/namespaces/n/configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}),
        )
        .await;
    let mut set = deployment("one");
    set["kind"] = json!("ReplicaSet");
    cluster.create("/apis/apps/v1/namespaces/n/replicasets", set).await;
    cluster.until("its pods", "/api/v1/namespaces/n/pods", |l| count(l) == 3).await;
    cluster.delete("/api/v1/namespaces/n", "Background").await;
    cluster.until("the namespace gone", "/api/v1/namespaces/n", missing).await;
    assert_eq!(count(&cluster.get("/api/v1/pods").await), 0);

    for name in ["a", "b"] {
        cluster
            .create("/api/v1/nodes", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
            .await;
    }
    let with_range = |n: &Value| n["spec"]["podCIDR"].is_string();
    let a = cluster.until("a range", "/api/v1/nodes/a", with_range).await;
    let b = cluster.until("a range", "/api/v1/nodes/b", with_range).await;
    assert_ne!(a["spec"]["podCIDR"], b["spec"]["podCIDR"]);
    assert_eq!(a["spec"]["podCIDRs"], json!([a["spec"]["podCIDR"]]));
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}});
    cluster.send(Method::PATCH, "/api/v1/nodes/a/status", ready).await;
    let clean = |n: &Value| n["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
    cluster.until("no taints", "/api/v1/nodes/a", clean).await;
    let tainted = |n: &Value| n["spec"]["taints"].as_array().is_some_and(|t| t.len() >= 2);
    cluster.until("taints", "/api/v1/nodes/b", tainted).await;
}
