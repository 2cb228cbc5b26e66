//! Resource quotas are counted; storage in use stays.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, named};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_are_counted_and_storage_in_use_stays() {
    let cluster = Cluster::start().await;
    let space = "/api/v1/namespaces/default";
    cluster.until("the CA", &format!("{space}/configmaps/kube-root-ca.crt"), named).await;
    let hard =
        json!({"pods": "2", "configmaps": "5", "count/replicasets.apps": "3", "persistentvolumeclaims": "1"});
    let quota = json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    cluster.create(&format!("{space}/resourcequotas"), quota).await;
    let at = format!("{space}/resourcequotas/q");
    let used = |name: &'static str, amount: &'static str| {
        move |quota: &Value| quota["status"]["used"][name] == amount
    };
    let counted = cluster.until("a first count", &at, used("configmaps", "1")).await;
    assert_eq!(counted["status"]["hard"], hard);
    assert_eq!(counted["status"]["used"]["count/replicasets.apps"], "0");

    let pod = |name: &str, spec: Value| {
        let mut pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "x"}]}});
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    let pods = format!("{space}/pods");
    cluster.create(&pods, pod("a", json!({}))).await;
    let claim = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = format!("{space}/persistentvolumeclaims");
    cluster.create(&claims, claim.clone()).await;
    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}});
    cluster.create("/api/v1/nodes", node).await;
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    cluster.create(&pods, pod("b", json!({"nodeName": "n", "volumes": volumes}))).await;
    let refused = cluster.send(Method::POST, &pods, pod("d", json!({}))).await;
    assert_eq!(
        refused["message"],
        "pods \"d\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
    );
    let refused = cluster.send(Method::POST, &claims, claim).await;
    assert_eq!(refused["code"], 403, "{refused}");

    // What leaves is taken off; a claim that a pod uses stays until the pod has gone.
    cluster.delete(&format!("{claims}/c"), "Background").await;
    cluster.delete(&format!("{pods}/a"), "Background").await;
    cluster.until("one pod less", &at, used("pods", "1")).await;
    let kept = cluster.get(&format!("{claims}/c")).await;
    assert_eq!(kept["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert!(!kept["metadata"]["deletionTimestamp"].is_null());
    let now = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    cluster.send(Method::DELETE, &format!("{pods}/b"), now).await;
    cluster.until("the claim gone", &format!("{claims}/c"), |answer| answer["code"] == 404).await;
    cluster.until("no claim counted", &at, used("persistentvolumeclaims", "0")).await;
    cluster.until("no pod counted", &at, used("pods", "0")).await;

    // Objects without a typed reflector are counted too.
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}});
    cluster.create(&format!("{space}/secrets"), secret).await;
    let wider = json!({"spec": {"hard": {"count/secrets": "4"}}});
    cluster.send(Method::PATCH, &at, wider).await;
    cluster.until("the secret counted", &at, used("count/secrets", "1")).await;
    cluster.delete(&format!("{space}/secrets/s"), "Background").await;
    cluster.until("the secret gone", &at, used("count/secrets", "0")).await;
}
