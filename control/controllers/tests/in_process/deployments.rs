//! Deployments: rollouts, rollbacks, endpoints; deletion by each propagation policy.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, DEPLOYMENTS, PODS, SETS, condition, count, deployment, missing};

fn rolled_out(revision: i64) -> impl Fn(&Value) -> bool {
    let revision = revision.to_string();
    move |d| {
        d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == *revision
            && d["status"]["observedGeneration"] == d["metadata"]["generation"]
            && d["status"]["updatedReplicas"] == 3
            && d["status"]["replicas"] == 3
            && d["status"]["availableReplicas"] == 3
            && condition(d, "Progressing")["reason"] == "NewReplicaSetAvailable"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_rolls_back_and_serves() {
    let cluster = Cluster::start().await;
    let _kubelet = cluster.kubelet();
    let web = format!("{DEPLOYMENTS}/web");
    cluster.create(DEPLOYMENTS, deployment("one")).await;
    cluster
        .create(
            "/api/v1/namespaces/default/services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                   "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}}),
        )
        .await;
    let first = cluster.until("the first rollout", &web, rolled_out(1)).await;
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert_eq!(condition(&first, "Available")["status"], "True");
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=web";
    let ready = |list: &Value| {
        let endpoints = list["items"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        count(list) == 1 && endpoints.iter().filter(|e| e["conditions"]["ready"] == true).count() == 3
    };
    let list = cluster.until("three endpoints", slices, ready).await;
    assert_eq!(list["items"][0]["ports"][0]["port"], 8080);
    let legacy = "/api/v1/namespaces/default/endpoints/web";
    cluster
        .until("three addresses", legacy, |e| {
            e["subsets"][0]["addresses"].as_array().map(Vec::len) == Some(3)
        })
        .await;

    let image = |name: &str| {
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name,
        "ports": [{"name": "http", "containerPort": 8080}]}]}}}})
    };
    cluster.send(Method::PATCH, &web, image("two")).await;
    let second = cluster.until("the second rollout", &web, rolled_out(2)).await;
    assert_eq!(second["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    let sets = cluster.until("two sets", SETS, |l| count(l) == 2).await;
    let sizes: Vec<_> =
        sets["items"].as_array().unwrap().iter().map(|s| s["spec"]["replicas"].clone()).collect();
    assert!(sizes.contains(&json!(0)) && sizes.contains(&json!(3)), "{sizes:?}");

    cluster.send(Method::PATCH, &web, image("one")).await;
    let third = cluster.until("the rollback", &web, rolled_out(3)).await;
    assert_eq!(third["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    assert_eq!(count(&cluster.get(SETS).await), 2);
    cluster.until("three endpoints again", slices, ready).await;
    let events = cluster.get("/api/v1/namespaces/default/events").await;
    let said = |reason: &str, start: &str| {
        let all = events["items"].as_array().unwrap().iter();
        all.filter(|e| e["reason"] == reason).any(|e| e["message"].as_str().unwrap().starts_with(start))
    };
    assert!(said("ScalingReplicaSet", "Scaled up replica set web-"), "{events:#}");
    assert!(said("SuccessfulCreate", "Created pod: web-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_cascades_as_asked() {
    let cluster = Cluster::start().await;
    let _kubelet = cluster.kubelet();
    let web = format!("{DEPLOYMENTS}/web");
    for policy in ["Background", "Foreground"] {
        cluster.create(DEPLOYMENTS, deployment("one")).await;
        cluster.until("the rollout", &web, rolled_out(1)).await;
        cluster.delete(&web, policy).await;
        cluster.until("the deployment gone", &web, missing).await;
        if policy == "Foreground" {
            assert_eq!((count(&cluster.get(SETS).await), count(&cluster.get(PODS).await)), (0, 0));
        }
        cluster.until("the sets gone", SETS, |l| count(l) == 0).await;
        cluster.until("the pods gone", PODS, |l| count(l) == 0).await;
    }
    cluster.create(DEPLOYMENTS, deployment("one")).await;
    cluster.until("the rollout", &web, rolled_out(1)).await;
    cluster.delete(&web, "Orphan").await;
    cluster.until("the deployment gone", &web, missing).await;
    let free = |l: &Value| {
        count(l) == 1 && l["items"][0]["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)
    };
    cluster.until("the set free", SETS, free).await;
    assert_eq!(count(&cluster.get(PODS).await), 3);
    // A new Deployment of the same selector adopts the orphan.
    cluster.create(DEPLOYMENTS, deployment("one")).await;
    cluster.until("adoption", &web, rolled_out(1)).await;
    let held =
        |l: &Value| count(l) == 1 && l["items"][0]["metadata"]["ownerReferences"][0]["kind"] == "Deployment";
    cluster.until("the set held again", SETS, held).await;
    assert_eq!((count(&cluster.get(SETS).await), count(&cluster.get(PODS).await)), (1, 3));
}
