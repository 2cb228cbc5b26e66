use serde_json::{Value, json};

use super::harness::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_need_an_account_and_get_its_token() {
    let cluster = Cluster::start().await;
    let refused = cluster.post(PODS, &pod("p")).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "pods \"p\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found"
    );
    cluster.account("default").await;
    let made = cluster.post(PODS, &pod("p")).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let spec = &made.json()["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    assert!(spec["volumes"][0]["name"].as_str().unwrap().starts_with("kube-api-access-"));
    assert_eq!(
        spec["containers"][0]["volumeMounts"][0]["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(made.json()["status"]["phase"], "Pending");
    let mut critical = pod("q");
    critical["spec"]["priorityClassName"] = json!("system-node-critical");
    assert_eq!(cluster.post(PODS, &critical).await.json()["spec"]["priority"], 2_000_001_000);
    critical["metadata"]["name"] = json!("r");
    critical["spec"]["priorityClassName"] = json!("none");
    assert_eq!(cluster.post(PODS, &critical).await.code, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    assert_eq!(cluster.post(PODS, &pod("p")).await.code, 201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let bound = cluster.post(&format!("{PODS}/p/binding"), &binding).await;
    assert_eq!(bound.code, 201, "{}", bound.text);
    let now = cluster.get(&format!("{PODS}/p")).await.json();
    assert_eq!(now["spec"]["nodeName"], "n1");
    assert_eq!(
        now["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["type"] == "PodScheduled" && c["status"] == "True")
            .count(),
        1
    );
    let again = cluster.post(&format!("{PODS}/p/binding"), &binding).await;
    assert_eq!(again.code, 409);
    assert!(again.message().contains("pod p is already assigned to node \"n1\""), "{}", again.text);
    let on_node = cluster.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.json();
    assert_eq!(on_node["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_end_gracefully_once_scheduled() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    for name in ["free", "bound"] {
        assert_eq!(cluster.post(PODS, &pod(name)).await.code, 201);
    }
    let binding = json!({"kind": "Binding", "metadata": {"name": "bound"}, "target": {"name": "n1"}});
    assert_eq!(cluster.post(&format!("{PODS}/bound/binding"), &binding).await.code, 201);
    assert_eq!(cluster.send("DELETE", &format!("{PODS}/free"), &[], "").await.code, 200);
    assert_eq!(cluster.get(&format!("{PODS}/free")).await.code, 404);
    let path = format!("{PODS}/bound");
    let marked = cluster.send("DELETE", &path, &[], "").await.json();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let force = json!({"gracePeriodSeconds": 0}).to_string();
    assert_eq!(cluster.send("DELETE", &path, &[("content-type", "application/json")], force).await.code, 200);
    assert_eq!(cluster.get(&path).await.code, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_spec_are_written_apart() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    assert_eq!(cluster.post(PODS, &pod("p")).await.code, 201);
    let path = format!("{PODS}/p");
    let both =
        json!({"status": {"phase": "Running", "podIP": "10.244.0.7"}, "spec": {"activeDeadlineSeconds": 5}});
    let strategic = "application/strategic-merge-patch+json";
    let status = cluster.patch(&format!("{path}/status"), strategic, &both).await;
    assert_eq!(status.code, 200, "{}", status.text);
    assert_eq!(status.json()["status"]["phase"], "Running");
    assert!(status.json()["spec"].get("activeDeadlineSeconds").is_none());
    let main = cluster
        .patch(&path, strategic, &json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"a": "b"}}}))
        .await
        .json();
    assert_eq!(
        (main["status"]["phase"].as_str(), main["metadata"]["labels"]["a"].as_str()),
        (Some("Running"), Some("b"))
    );
    let image = json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}});
    assert_eq!(
        cluster.patch(&path, strategic, &image).await.json()["spec"]["containers"][0]["image"],
        "nginx:2"
    );
    let command = json!({"spec": {"containers": [{"name": "c", "command": ["x"]}]}});
    let refused = cluster.patch(&path, strategic, &command).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_pods_name_their_fields() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    let mut wrong = pod("p");
    wrong["spec"]["containers"][0]["image"] = json!("");
    let refused = cluster.post(PODS, &wrong).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert_eq!(refused.json()["details"]["causes"][0]["field"], "spec.containers[0].image");
    assert_eq!(refused.json()["details"]["kind"], "Pod");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_respect_budgets() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    let mut labelled = pod("p");
    labelled["metadata"]["labels"] = json!({"app": "a"});
    assert_eq!(cluster.post(PODS, &labelled).await.code, 201);
    let running = json!({"status": {"phase": "Running"}});
    assert_eq!(
        cluster.patch(&format!("{PODS}/p/status"), "application/merge-patch+json", &running).await.code,
        200
    );
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    let made = cluster.post(budgets, &budget).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    let counted =
        cluster.patch(&format!("{budgets}/b/status"), "application/merge-patch+json", &status).await;
    assert_eq!(counted.code, 200, "{}", counted.text);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let refused = cluster.post(&format!("{PODS}/p/eviction"), &eviction).await;
    assert_eq!((refused.code, refused.headers.contains_key("retry-after")), (429, true), "{}", refused.text);
    assert_eq!(cluster.send("DELETE", &format!("{budgets}/b"), &[], "").await.code, 200);
    assert_eq!(cluster.post(&format!("{PODS}/p/eviction"), &eviction).await.code, 201);
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemeral_containers_are_added_and_stay() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    let mut pod = cluster.post(PODS, &pod("p")).await.json();
    let path = format!("{PODS}/p/ephemeralcontainers");
    let put = async |pod: &Value| {
        cluster.send("PUT", &path, &[("content-type", "application/json")], pod.to_string()).await
    };
    pod["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "busybox"}]);
    pod["spec"]["nodeName"] = json!("elsewhere");
    let added = put(&pod).await;
    assert_eq!(added.code, 200, "{}", added.text);
    let mut pod = added.json();
    assert_eq!(pod["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File");
    assert!(pod["spec"]["nodeName"].is_null(), "only the list is taken");
    pod["spec"]["ephemeralContainers"][0]["tty"] = json!(true);
    let changed = put(&pod).await;
    assert_eq!(changed.code, 422, "{}", changed.text);
    assert!(changed.message().contains("existing ephemeral containers \"d\" may not be changed\n"));
    pod["spec"]["ephemeralContainers"] = json!([]);
    let removed = put(&pod).await;
    assert_eq!(removed.code, 422, "{}", removed.text);
    assert!(removed.message().contains("existing ephemeral containers \"d\" may not be removed\n"));
}
