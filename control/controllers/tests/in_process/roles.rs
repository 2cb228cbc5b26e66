//! ClusterRoles are aggregated; bootstrap tokens sign and expire.

use serde_json::{Value, json};

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_put_together_and_tokens_sign_and_go() {
    use base64::Engine as _;
    let cluster = Cluster::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let rule = json!({"apiGroups": ["acme.com"], "resources": ["boats"], "verbs": ["get"]});
    cluster
        .create(
            roles,
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": [rule],
                "metadata": {"name": "boats", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}}),
        )
        .await;
    let sees_boats = |value: &Value| value["rules"].as_array().is_some_and(|rules| rules.contains(&rule));
    for name in ["view", "edit", "admin"] {
        cluster.until("the new rule", &format!("{roles}/{name}"), sees_boats).await;
    }
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let token = |id: &str, end: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": format!("bootstrap-token-{id}")}, "data": {
                "token-id": encode(id), "token-secret": encode("0123456789abcdef"), "expiration": encode(end),
                "usage-bootstrap-signing": encode("true")}})
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    cluster.create(secrets, token("abc123", "2999-01-01T00:00:00Z")).await;
    cluster.create(secrets, token("old000", "2020-01-01T00:00:00Z")).await;
    let info = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "C"}});
    cluster.create("/api/v1/namespaces/kube-public/configmaps", info).await;
    let gone = |value: &Value| value["code"] == 404;
    cluster.until("the end of a token", &format!("{secrets}/bootstrap-token-old000"), gone).await;
    let signed = |value: &Value| value["data"]["jws-kubeconfig-abc123"].is_string();
    let info = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    let info = cluster.until("the signature", info, signed).await;
    assert_eq!(info["data"].as_object().unwrap().len(), 2);
}
