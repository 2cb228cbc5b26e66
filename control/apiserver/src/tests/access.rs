use serde_json::{Value, json};

use super::harness::{Cluster, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_nothing_but_health() {
    let cluster = Cluster::start().await;
    let bob = cluster.client("bob", "").await;
    let refused = send(&bob, "GET", "/api/v1/namespaces/default/pods", &[], "").await;
    assert_eq!(
        (refused.code, refused.json()["reason"].as_str().unwrap().to_owned()),
        (403, "Forbidden".to_owned())
    );
    assert_eq!(
        refused.message(),
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    for path in ["/healthz", "/livez", "/readyz?verbose", "/version"] {
        assert_eq!(send(&bob, "GET", path, &[], "").await.code, 200, "{path}");
    }
    let token = [("authorization", "Bearer not.a.token")];
    let anonymous = cluster.server.config.anonymous_auth;
    assert!(anonymous);
    let bad = send(&cluster.client("eve", "").await, "GET", "/api", &token, "").await;
    assert_eq!(bad.code, 200, "a verified certificate goes before the token: {}", bad.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impersonation_needs_the_right_and_takes_effect() {
    let cluster = Cluster::start().await;
    let as_bob = [("impersonate-user", "bob")];
    let refused = cluster.send("GET", "/api/v1/nodes", &as_bob, "").await;
    assert_eq!(
        refused.message(),
        "nodes is forbidden: User \"bob\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
    );
    let eve = cluster.client("eve", "").await;
    let refused = send(&eve, "GET", "/api/v1/nodes", &as_bob, "").await;
    assert!(
        refused.message().contains("User \"eve\" cannot impersonate resource \"users\""),
        "{}",
        refused.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_not_escalated() {
    let cluster = Cluster::start().await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "writer"},
        "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]}]});
    assert_eq!(cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.code, 201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "writer"}, "subjects": [{"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "writer", "apiGroup": "rbac.authorization.k8s.io"}});
    let bound = cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    assert_eq!(bound.code, 201, "{}", bound.text);
    let bob = cluster.client("bob", "").await;
    let grab = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "all"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let refused = send(&bob, "POST", path, &[("content-type", "application/json")], grab.to_string()).await;
    assert_eq!(refused.code, 403);
    assert!(
        refused.message().contains("is attempting to grant RBAC permissions not currently held"),
        "{}",
        refused.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_touch_their_own() {
    let cluster = Cluster::start().await;
    let node = cluster.client("system:node:n1", "system:nodes").await;
    let json_type = [("content-type", "application/json")];
    let own = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}).to_string();
    let made = send(&node, "POST", "/api/v1/nodes", &json_type, own).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.json()["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    let other = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}).to_string();
    let refused = send(&node, "POST", "/api/v1/nodes", &json_type, other).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_answer() {
    let cluster = Cluster::start().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let answer = cluster.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
    assert_eq!((answer.code, &answer.json()["status"]["allowed"]), (201, &json!(false)));
    let nobody = json!({"spec": {}});
    let refused = cluster.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &nobody).await;
    assert_eq!(refused.code, 422);
    let causes = refused.json()["details"]["causes"].clone();
    let fields: Vec<&Value> = causes.as_array().unwrap().iter().map(|cause| &cause["field"]).collect();
    assert_eq!(fields, ["spec.resourceAttributes", "spec.user"]);
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let ask = |namespace: &str| json!({"spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": namespace}}});
    assert_eq!(cluster.post(local, &ask("default")).await.json()["metadata"]["namespace"], "default");
    let refused = cluster.post(local, &ask("other")).await;
    assert_eq!(refused.code, 422);
    assert!(refused.text.contains("must match metadata.namespace"), "{}", refused.text);
    let own = json!({"spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}});
    let answer = cluster.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &own).await;
    assert_eq!(answer.json()["status"]["allowed"], true, "{}", answer.text);
    let who = cluster.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await;
    assert_eq!(who.json()["status"]["userInfo"]["username"], "kubernetes-admin");
    let table =
        [("content-type", "application/json"), ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let refused =
        cluster.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &table, "{}").await;
    assert_eq!(refused.code, 406);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_made_and_recognised() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer = cluster.post(path, &json!({"spec": {"expirationSeconds": 600}})).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let token = answer.json()["status"]["token"].as_str().unwrap().to_owned();
    let review = json!({"spec": {"token": token}});
    let status =
        cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json()["status"].clone();
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    let gone = cluster.send("DELETE", "/api/v1/namespaces/default/serviceaccounts/default", &[], "").await;
    assert_eq!(gone.code, 200);
    let status =
        cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json()["status"].clone();
    assert_ne!(status["authenticated"], true, "a token dies with its account: {status}");
    assert_eq!(cluster.post(path, &json!({"spec": {}})).await.code, 404);
}
