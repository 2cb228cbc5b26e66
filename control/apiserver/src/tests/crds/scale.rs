//! The scale subresource at a path of the definition's own: who owns the replicas.

use serde_json::{Value, json};

use super::{Cluster, MERGE, crontabs, define, path, tab};

const APPLY: &str = "application/apply-patch+yaml";

/// Two served versions that keep their replicas at `.spec.workers.count`.
fn definition() -> Value {
    let mut crd = crontabs();
    let version = &mut crd["spec"]["versions"][0];
    version["subresources"]["scale"]["specReplicasPath"] = json!(".spec.workers.count");
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["workers"] =
        json!({"type": "object", "properties": {"count": {"type": "integer"}}});
    let mut v2 = version.clone();
    v2["name"] = json!("v2");
    v2["storage"] = json!(false);
    crd["spec"]["versions"].as_array_mut().unwrap().push(v2);
    crd
}

async fn owner(cluster: &Cluster, name: &str) -> Option<Value> {
    let object = cluster.get(&path("v1", "/a")).await.json();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut entry = entries.into_iter().find(|entry| entry["manager"] == name)?;
    entry.as_object_mut().unwrap().remove("time");
    Some(entry)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_owned_where_the_definition_keeps_them() {
    let cluster = Cluster::start().await;
    define(&cluster, &definition()).await;
    let made =
        cluster.patch(&path("v1", "/a?fieldManager=one"), APPLY, &tab("a", &json!({"cronSpec": "1"}))).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let scale = |who: &str| path("v1", &format!("/a/scale?fieldManager={who}"));
    let scaled = cluster.patch(&scale("scaler"), MERGE, &json!({"spec": {"replicas": 3}})).await;
    assert_eq!(scaled.code, 200, "{}", scaled.text);
    let fields = json!({"f:spec": {"f:workers": {"f:count": {}}}});
    let entry = |manager: &str, operation: &str, version: &str| {
        json!({"manager": manager, "operation": operation, "subresource": "scale", "fieldsType": "FieldsV1",
            "apiVersion": format!("g.example.com/{version}"), "fieldsV1": fields})
    };
    assert_eq!(owner(&cluster, "scaler").await, Some(entry("scaler", "Update", "v1")));

    let wanted = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 5}});
    let conflict = cluster.patch(&scale("applier"), APPLY, &wanted).await;
    assert_eq!(
        (conflict.code, conflict.message().as_str()),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using autoscaling/v1: .spec.replicas"
        )
    );
    let applied = cluster.patch(&format!("{}&force=true", scale("applier")), APPLY, &wanted).await;
    assert_eq!((applied.code, &applied.json()["spec"]["replicas"]), (200, &json!(5)), "{}", applied.text);
    assert_eq!(owner(&cluster, "applier").await, Some(entry("applier", "Apply", "v1")));
    assert_eq!(owner(&cluster, "scaler").await, None, "the replicas were all it had");

    let other = path("v2", "/a/scale?fieldManager=other");
    let scaled = cluster.patch(&other, MERGE, &json!({"spec": {"replicas": 6}})).await;
    assert_eq!(scaled.code, 200, "{}", scaled.text);
    assert_eq!(owner(&cluster, "other").await, Some(entry("other", "Update", "v2")));
    assert_eq!(owner(&cluster, "applier").await, None, "taken in another version");
    assert!(owner(&cluster, "one").await.is_some());
}
