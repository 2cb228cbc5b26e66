//! Definitions come, wait for their names, and go with their objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answer, CRDS, Cluster, MERGE, condition, crontabs, define, made, path, tab, until};
use crate::ApiServer;

const ONE: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/crontabs.g.example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_is_established_and_told_of() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get(&path("v1", "")).await.code, 404);
    let crd = define(&cluster, &crontabs()).await;
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "CronTabList");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(condition(&crd, "NamesAccepted")["reason"], "NoConflicts");
    let resources = cluster.get("/apis/g.example.com/v1").await.json();
    let names: Vec<&str> =
        resources["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["crontabs", "crontabs/status", "crontabs/scale"]);
    assert!(resources["resources"][0]["storageVersionHash"].is_string(), "{resources}");
    let index = cluster.get("/openapi/v3").await.json();
    assert!(index["paths"]["apis/g.example.com/v1"]["serverRelativeURL"].is_string(), "{index}");
    let v2 = cluster.get("/openapi/v2").await.json();
    assert!(v2["definitions"]["com.example.g.v1.CronTab"].is_object());
    assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let wrong = cluster.post(CRDS, &json!({"metadata": {"name": "x"}, "spec": {"group": "a"}})).await;
    assert_eq!(wrong.code, 422, "{}", wrong.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_given_once_and_freed() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let mut other = crontabs();
    other["metadata"]["name"] = json!("tabs.g.example.com");
    other["spec"]["names"] = json!({"plural": "tabs", "kind": "Tab", "shortNames": ["ct"]});
    let made = cluster.post(CRDS, &other).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let tabs = format!("{CRDS}/tabs.g.example.com");
    let refused = |answer: &Answer| condition(&answer.json(), "NamesAccepted")["status"] == "False";
    let crd = until(&cluster, &tabs, refused).await.json();
    assert_eq!(condition(&crd, "NamesAccepted")["reason"], "ShortNamesConflict", "{crd}");
    assert_eq!(cluster.get("/apis/g.example.com/v1/tabs").await.code, 404);
    cluster.send("DELETE", ONE, &[], "").await;
    let established = |answer: &Answer| condition(&answer.json(), "Established")["status"] == "True";
    until(&cluster, &tabs, established).await;
    assert_eq!(cluster.get("/apis/g.example.com/v1/tabs").await.code, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_goes_after_its_objects() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let mut held = tab("held", &json!({"cronSpec": "1"}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    made(&cluster, &path("v1", ""), &held).await;
    made(&cluster, &path("v1", ""), &tab("free", &json!({"cronSpec": "1"}))).await;
    let deleted = cluster.send("DELETE", ONE, &[], "").await;
    assert_eq!(deleted.code, 200, "{}", deleted.text);
    let crd = deleted.json();
    assert_eq!(crd["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(condition(&crd, "Terminating")["reason"], "InstanceDeletionPending");
    until(&cluster, &path("v1", "/free"), |answer| answer.code == 404).await;
    let marked = |answer: &Answer| answer.json()["metadata"]["deletionTimestamp"].is_string();
    until(&cluster, &path("v1", "/held"), marked).await;
    let create = cluster.post(&path("v1", ""), &tab("new", &json!({"cronSpec": "1"}))).await;
    assert_eq!(create.code, 405, "{}", create.text);
    assert_eq!(create.message(), "create not allowed while custom resource definition is terminating");
    let released =
        cluster.patch(&path("v1", "/held"), MERGE, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(released.code, 200, "{}", released.text);
    until(&cluster, ONE, |answer| answer.code == 404).await;
    until(&cluster, &path("v1", ""), |answer| answer.code == 404).await;
    assert_eq!(cluster.get("/apis/g.example.com").await.code, 404);
    let left = cluster.store.list("/registry/g.example.com/").await.unwrap().0;
    assert!(left.is_empty(), "{left:?}");
    // The same name again is a new resource without the old objects.
    define(&cluster, &crontabs()).await;
    assert_eq!(cluster.get(&path("v1", "")).await.json()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_serves_what_is_defined() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    made(&cluster, &path("v1", ""), &tab("a", &json!({"cronSpec": "1", "color": "red"}))).await;
    let again = ApiServer::build(cluster.server.config.clone(), Arc::clone(&cluster.store)).await.unwrap();
    let client = again.local_client(xebec_identity::User::system_master("test"));
    let request = http::Request::get(path("v1", "?fieldSelector=spec.color%3Dred")).body(Vec::new()).unwrap();
    let list: Value = client.request(request).await.unwrap();
    assert_eq!(list["items"][0]["metadata"]["name"], "a", "{list}");
    let request = http::Request::get("/apis/g.example.com/v1").body(Vec::new()).unwrap();
    let resources: Value = client.request(request).await.unwrap();
    assert_eq!(resources["resources"][0]["name"], "crontabs", "{resources}");
    again.shutdown();
}
