use serde_json::{Value, json};

use super::harness::{Answer, Cluster};

const PATH: &str = "/apis/apps/v1/namespaces/default/deployments/web";

fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "1"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]}}}});
    if let Some(replicas) = replicas {
        value["spec"]["replicas"] = json!(replicas);
    }
    value
}

async fn apply(cluster: &Cluster, manager: &str, more: &str, value: &Value) -> Answer {
    cluster
        .patch(&format!("{PATH}?fieldManager={manager}{more}"), "application/apply-patch+yaml", value)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_merges_conflicts_and_prunes() {
    let cluster = Cluster::start().await;
    let made = apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let managed = made.json()["metadata"]["managedFields"].clone();
    assert_eq!(
        (managed[0]["manager"].as_str(), managed[0]["operation"].as_str()),
        (Some("one"), Some("Apply"))
    );
    assert_eq!(managed[0]["fieldsV1"]["f:spec"]["f:replicas"], json!({}));
    assert_eq!(managed.as_array().unwrap().len(), 1, "defaults belong to nobody: {managed}");

    let same = apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await;
    assert_eq!(same.json()["metadata"]["resourceVersion"], made.json()["metadata"]["resourceVersion"]);

    let conflict = apply(&cluster, "two", "", &deployment(Some(5), "nginx:1")).await;
    assert_eq!(conflict.code, 409, "{}", conflict.text);
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"one\" using apps/v1: .spec.replicas"
    );
    assert_eq!(conflict.json()["details"]["causes"][0]["reason"], "FieldManagerConflict");

    let forced = apply(&cluster, "two", "&force=true", &deployment(Some(5), "nginx:1")).await;
    assert_eq!((forced.code, &forced.json()["spec"]["replicas"]), (200, &json!(5)));

    let mut without_label = deployment(None, "nginx:1");
    without_label["metadata"] = json!({"name": "web"});
    let released = apply(&cluster, "one", "", &without_label).await.json();
    assert_eq!(released["spec"]["replicas"], 5, "the other manager's field stays");
    assert_eq!(released["metadata"]["labels"]["a"], "1", "two owns the label too");
    let released = apply(&cluster, "two", "", &without_label).await.json();
    assert!(released["metadata"].get("labels").is_none(), "nobody owns it any more: {released}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_own_what_they_change() {
    let cluster = Cluster::start().await;
    assert_eq!(apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await.code, 201);
    let patch = json!({"spec": {"replicas": 4}});
    let patched = cluster
        .patch(&format!("{PATH}?fieldManager=scaler"), "application/merge-patch+json", &patch)
        .await
        .json();
    let managed = patched["metadata"]["managedFields"].as_array().unwrap().clone();
    let scaler = managed.iter().find(|m| m["manager"] == "scaler").unwrap();
    assert_eq!(scaler["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let conflict = apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await;
    assert_eq!(conflict.code, 409);
    assert!(conflict.message().contains("conflict with \"scaler\""), "{}", conflict.text);
    let missing = cluster.patch(PATH, "application/apply-patch+yaml", &deployment(None, "nginx:1")).await;
    assert_eq!(missing.code, 422);
}
