use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_client_round_trip() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin().await, "default");
    let created =
        maps.create(&PostParams::default(), &serde_json::from_value(map("a")).unwrap()).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    let patch = Patch::Merge(json!({"data": {"b": "2"}}));
    let patched = maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.as_ref().unwrap().len(), 2);
    assert_ne!(patched.metadata.resource_version, created.metadata.resource_version);
    let mut stale = created.clone();
    stale.data.as_mut().unwrap().insert("c".into(), "3".into());
    let error = maps.replace("a", &PostParams::default(), &stale).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes \
         to the latest version and try again"
    );
    assert!(maps.get_opt("a").await.unwrap().is_some());
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_made_and_taken() {
    let cluster = Cluster::start().await;
    let made = cluster
        .post(MAPS, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}}))
        .await;
    assert_eq!(made.code, 201, "{}", made.text);
    let name = made.json()["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");
    assert_eq!(cluster.post(MAPS, &map("a")).await.code, 201);
    let again = cluster.post(MAPS, &map("a")).await;
    assert_eq!((again.code, again.message().as_str()), (409, "configmaps \"a\" already exists"));
    assert_eq!(again.json()["reason"], "AlreadyExists");
    let missing = cluster.get(&format!("{MAPS}/none")).await;
    assert_eq!((missing.code, missing.message().as_str()), (404, "configmaps \"none\" not found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_runs_change_nothing() {
    let cluster = Cluster::start().await;
    let tried = cluster.post(&format!("{MAPS}?dryRun=All"), &map("a")).await;
    assert_eq!(tried.code, 201, "{}", tried.text);
    assert!(tried.json()["metadata"]["uid"].is_string());
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.code, 404);
    assert_eq!(cluster.post(MAPS, &map("a")).await.code, 201);
    let patch = json!({"data": {"a": "2"}});
    let patched =
        cluster.patch(&format!("{MAPS}/a?dryRun=All"), "application/merge-patch+json", &patch).await;
    assert_eq!(patched.json()["data"]["a"], "2");
    let deleted = cluster.send("DELETE", &format!("{MAPS}/a?dryRun=All"), &[], "").await;
    assert_eq!(deleted.code, 200);
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.json()["data"]["a"], "1");
    assert_eq!(cluster.post(&format!("{MAPS}?dryRun=Some"), &map("b")).await.code, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finalizers_hold_and_let_go() {
    let cluster = Cluster::start().await;
    let mut held = map("a");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(cluster.post(MAPS, &held).await.code, 201);
    let path = format!("{MAPS}/a");
    let marked = cluster.send("DELETE", &path, &[], "").await;
    assert!(marked.json()["metadata"]["deletionTimestamp"].is_string(), "{}", marked.text);
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let refused = cluster.patch(&path, "application/merge-patch+json", &more).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused.message().contains("no new finalizers can be added if the object is being deleted"),
        "{}",
        refused.text
    );
    let freed = cluster
        .patch(&path, "application/merge-patch+json", &json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(freed.code, 200, "{}", freed.text);
    assert_eq!(cluster.get(&path).await.code, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preconditions_and_propagation() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.post(MAPS, &map("a")).await.code, 201);
    let path = format!("{MAPS}/a");
    let json_type = [("content-type", "application/json")];
    let wrong = json!({"preconditions": {"uid": "other"}}).to_string();
    let refused = cluster.send("DELETE", &path, &json_type, wrong).await;
    assert_eq!(refused.code, 409);
    assert!(
        refused.message().contains("the UID in the precondition (other) does not match"),
        "{}",
        refused.text
    );
    let foreground = json!({"propagationPolicy": "Foreground"}).to_string();
    let marked = cluster.send("DELETE", &path, &json_type, foreground).await.json();
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_patches_all_count() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.post(MAPS, &map("a")).await.code, 201);
    let client = cluster.admin().await;
    let writers = (0..12).map(|n| {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        async move {
            let patch = Patch::Merge(json!({"data": {format!("k{n}"): "v"}}));
            maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    assert_eq!(maps.get("a").await.unwrap().data.unwrap().len(), 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_fields_are_named() {
    let cluster = Cluster::start().await;
    let mut wrong = map("a");
    wrong["dataa"] = json!({});
    let strict = cluster.post(&format!("{MAPS}?fieldValidation=Strict"), &wrong).await;
    assert_eq!(strict.code, 400);
    assert!(strict.message().contains("strict decoding error: unknown field \"dataa\""), "{}", strict.text);
    let warned = cluster.post(MAPS, &wrong).await;
    assert_eq!(warned.code, 201);
    let warning = warned.headers["warning"].to_str().unwrap().to_owned();
    assert!(warning.contains("unknown field \\\"dataa\\\""), "{warning}");
    assert!(warned.json().get("dataa").is_none());
    let mistyped = json!({"kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"a": 1}});
    assert_eq!(cluster.post(MAPS, &mistyped).await.code, 400);
    assert_eq!(cluster.send("POST", MAPS, &[("content-type", "application/json")], "{oops").await.code, 400);
    assert_eq!(cluster.send("POST", MAPS, &[("content-type", "text/csv")], "a,b").await.code, 415);
    let yaml = "kind: ConfigMap\nmetadata:\n  name: yy\ndata:\n  a: '1'\n";
    let made = cluster.send("POST", MAPS, &[("content-type", "application/yaml")], yaml).await;
    assert_eq!(made.code, 201, "{}", made.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_come_and_go() {
    let cluster = Cluster::start().await;
    let client = cluster.admin().await;
    let namespaces: Api<Namespace> = Api::all(client);
    let names: Vec<String> = namespaces
        .list(&Default::default())
        .await
        .unwrap()
        .into_iter()
        .filter_map(|n| n.metadata.name)
        .collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let nowhere = cluster.post("/api/v1/namespaces/none/configmaps", &map("a")).await;
    assert_eq!((nowhere.code, nowhere.message().as_str()), (404, "namespaces \"none\" not found"));
    let kept = cluster.send("DELETE", "/api/v1/namespaces/default", &[], "").await;
    assert_eq!(kept.code, 403, "{}", kept.text);
    let made =
        cluster.post("/api/v1/namespaces", &json!({"kind": "Namespace", "metadata": {"name": "n"}})).await;
    assert_eq!(made.json()["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made.json()["status"]["phase"], "Active");
    let going = cluster.send("DELETE", "/api/v1/namespaces/n", &[], "").await.json();
    assert_eq!(going["status"]["phase"], "Terminating");
    let refused = cluster.post("/api/v1/namespaces/n/configmaps", &map("a")).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated"
    );
    let finalized = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n"}, "spec": {}});
    let headers = [("content-type", "application/json")];
    let gone = cluster.send("PUT", "/api/v1/namespaces/n/finalize", &headers, finalized.to_string()).await;
    assert_eq!(gone.code, 200, "{}", gone.text);
    assert_eq!(cluster.get("/api/v1/namespaces/n").await.code, 404);
}
