//! What can be done to the objects of one version.

use serde_json::{Value, json};

use super::{CRDS, Cluster, MERGE, crontabs, define, made, path, tab, until, warnings};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_written_pruned_defaulted_and_checked() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let sent = tab("a", &json!({"cronSpec": "* *", "bogus": 1, "free": {"any": [1]}}));
    let answer = cluster.post(&path("v1", ""), &sent).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let a = answer.json();
    assert_eq!(a["spec"], json!({"cronSpec": "* *", "replicas": 1, "free": {"any": [1]}}));
    assert_eq!(a["metadata"]["generation"], 1);
    let strict = cluster.post(&path("v1", "?fieldValidation=Strict"), &sent).await;
    assert_eq!(strict.code, 400, "{}", strict.text);
    assert!(strict.message().contains("unknown field \"spec.bogus\""), "{}", strict.text);
    let warned =
        cluster.post(&path("v1", "?fieldValidation=Warn&dryRun=All"), &tab("w", &sent["spec"])).await;
    assert!(warnings(&warned)[0].contains("unknown field"), "{:?}", warnings(&warned));
    let wrong = cluster.post(&path("v1", ""), &tab("b", &json!({"cronSpec": "?!", "replicas": -1}))).await;
    assert_eq!(wrong.code, 422, "{}", wrong.text);
    assert!(wrong.message().contains("spec.replicas"), "{}", wrong.text);
    assert!(wrong.message().contains("spec.cronSpec"), "{}", wrong.text);

    let grown = cluster.patch(&path("v1", "/a"), MERGE, &json!({"spec": {"replicas": 3}})).await.json();
    assert_eq!((&grown["spec"]["replicas"], &grown["metadata"]["generation"]), (&json!(3), &json!(2)));
    let shrunk = cluster.patch(&path("v1", "/a"), MERGE, &json!({"spec": {"replicas": 2}})).await;
    assert_eq!(shrunk.code, 422, "{}", shrunk.text);
    assert!(shrunk.message().contains("replicas only grow"), "{}", shrunk.text);
    let operations = json!([{"op": "add", "path": "/spec/color", "value": "red"}]);
    let patched = cluster.patch(&path("v1", "/a"), "application/json-patch+json", &operations).await;
    assert_eq!(patched.json()["spec"]["color"], "red", "{}", patched.text);
    let strategic = "application/strategic-merge-patch+json";
    let refused = cluster.patch(&path("v1", "/a"), strategic, &json!({"spec": {}})).await;
    assert_eq!(refused.code, 415, "{}", refused.text);
    assert!(refused.message().ends_with("application/merge-patch+json, application/apply-patch+yaml"));

    let status = cluster
        .patch(
            &path("v1", "/a/status"),
            MERGE,
            &json!({"status": {"replicas": 2, "selector": "a=b"}, "spec": {"color": "no"}}),
        )
        .await
        .json();
    assert_eq!((&status["status"]["replicas"], &status["spec"]["color"]), (&json!(2), &json!("red")));
    let scale = cluster.get(&path("v1", "/a/scale")).await.json();
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]),
        (&json!(3), &json!({"replicas": 2, "selector": "a=b"}))
    );
    let scaled = cluster.patch(&path("v1", "/a/scale"), MERGE, &json!({"spec": {"replicas": 7}})).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 7, "{}", scaled.text);
    let replaced = cluster
        .send("PUT", &path("v1", "/a"), &[JSON], tab("a", &json!({"cronSpec": "*"})).to_string())
        .await;
    assert_eq!(replaced.code, 422, "a PUT names its version: {}", replaced.text);
    let gone = cluster.send("DELETE", &path("v1", "/a"), &[], "").await;
    assert_eq!((gone.code, gone.json()["status"].as_str()), (200, Some("Success")), "{}", gone.text);
    assert_eq!(cluster.get(&path("v1", "/a")).await.code, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_watches_tables_and_fields() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let watched = tokio::spawn({
        let client = cluster.admin().await;
        let path = path("v1", "?watch=1&timeoutSeconds=3&fieldSelector=spec.color%3Dred");
        async move { super::super::harness::send(&client, "GET", &path, &[], "").await }
    });
    made(&cluster, &path("v1", ""), &tab("a", &json!({"cronSpec": "1", "color": "red"}))).await;
    made(&cluster, &path("v1", ""), &tab("b", &json!({"cronSpec": "2", "color": "blue"}))).await;
    let list = cluster.get(&path("v1", "")).await.json();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("CronTabList"), 2));
    let red = cluster.get(&path("v1", "?fieldSelector=spec.color%3Dred")).await.json();
    assert_eq!(
        (red["items"].as_array().unwrap().len(), &red["items"][0]["metadata"]["name"]),
        (1, &json!("a"))
    );
    let unknown = cluster.get(&path("v1", "?fieldSelector=spec.size%3Dred")).await;
    assert_eq!(unknown.code, 400, "{}", unknown.text);
    cluster.patch(&path("v1", "/a"), MERGE, &json!({"spec": {"color": "blue"}})).await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = cluster.send("GET", &path("v1", ""), &table, "").await.json();
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["Name", "Spec", "Replicas"]);
    assert_eq!(table["rows"][1]["cells"], json!(["b", "2", 1]));
    let both = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    assert_eq!(cluster.send("GET", &path("v1", "/a"), &both, "").await.json()["kind"], "CronTab");
    let only = [("accept", "application/vnd.kubernetes.protobuf")];
    assert_eq!(cluster.send("GET", &path("v1", "/a"), &only, "").await.code, 406);
    let body = [("content-type", "application/vnd.kubernetes.protobuf")];
    assert_eq!(cluster.send("POST", &path("v1", ""), &body, "x").await.code, 415);
    let events = watched.await.unwrap().text;
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> =
        events.iter().map(|e| (e["type"].as_str().unwrap(), &e["object"]["metadata"]["name"])).collect();
    assert_eq!(seen, [("ADDED", &json!("a")), ("DELETED", &json!("a"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_merges_lists_by_their_keys_and_names_conflicts() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let apply = async |manager: &str, spec: &Value| {
        let path = path("v1", &format!("/a?fieldManager={manager}"));
        cluster.patch(&path, "application/apply-patch+yaml", &tab("a", spec)).await
    };
    let one = apply("one", &json!({"cronSpec": "1", "ports": [{"name": "x", "port": 1}]})).await;
    assert_eq!(one.code, 201, "{}", one.text);
    let two = apply("two", &json!({"cronSpec": "1", "ports": [{"name": "y", "port": 2}]})).await;
    assert_eq!(two.code, 200, "{}", two.text);
    let ports: Vec<_> =
        two.json()["spec"]["ports"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert!(ports.contains(&json!("x")) && ports.contains(&json!("y")), "{ports:?}");
    let conflict = apply("three", &json!({"cronSpec": "1", "ports": [{"name": "x", "port": 5}]})).await;
    assert_eq!(conflict.code, 409, "{}", conflict.text);
    assert!(conflict.message().contains(".spec.ports[name=\"x\"].port"), "{}", conflict.text);
    let kept = apply("one", &json!({"cronSpec": "1"})).await.json();
    assert_eq!(kept["spec"]["ports"], json!([{"name": "y", "port": 2}]), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_schema_is_used_at_once_and_watches_begin_again() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    made(&cluster, &path("v1", ""), &tab("a", &json!({"cronSpec": "1"}))).await;
    let one = format!("{CRDS}/crontabs.g.example.com");
    let level = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/level",
        "value": {"type": "string", "default": "low"}}]);
    let changed = cluster.patch(&one, "application/json-patch+json", &level).await;
    assert_eq!(changed.code, 200, "{}", changed.text);
    let a = until(&cluster, &path("v1", "/a"), |answer| answer.json()["spec"]["level"] == "low").await.json();
    assert_eq!(a["metadata"]["generation"], 1);
    let document = cluster.get("/openapi/v3/apis/g.example.com/v1").await;
    let spec = &document.json()["components"]["schemas"]["com.example.g.v1.CronTab"]["properties"]["spec"];
    assert_eq!(spec["properties"]["level"]["default"], "low");
    assert!(document.headers.contains_key("etag"));
}
