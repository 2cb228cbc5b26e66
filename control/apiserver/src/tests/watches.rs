use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use super::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"x": label}}})
}

/// The first `count` frames of a watch.
async fn frames(cluster: &Cluster, query: &str, count: usize) -> Vec<Value> {
    let client = cluster.admin().await;
    let request = Request::get(format!("{MAPS}?watch=1&timeoutSeconds=5&{query}")).body(Vec::new()).unwrap();
    let lines = client.request_stream(request).await.unwrap().lines();
    let collected =
        lines.take(count).map_ok(|line| serde_json::from_str::<Value>(&line).unwrap()).try_collect();
    tokio::time::timeout(Duration::from_secs(10), collected).await.unwrap().unwrap()
}

fn short(frame: &Value) -> String {
    format!(
        "{} {}",
        frame["type"].as_str().unwrap(),
        frame["object"]["metadata"]["name"].as_str().unwrap_or("-")
    )
}

async fn version(cluster: &Cluster) -> String {
    cluster.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_list_and_watch() {
    let cluster = Cluster::start().await;
    let from = version(&cluster).await;
    for n in 0..20 {
        assert_eq!(cluster.post(MAPS, &map(&format!("m{n}"), "a")).await.code, 201);
    }
    let seen: Vec<String> =
        frames(&cluster, &format!("resourceVersion={from}"), 20).await.iter().map(short).collect();
    let expected: Vec<String> = (0..20).map(|n| format!("ADDED m{n}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selection_turns_changes_into_additions_and_deletions() {
    let cluster = Cluster::start().await;
    let from = version(&cluster).await;
    assert_eq!(cluster.post(MAPS, &map("m", "out")).await.code, 201);
    for label in ["in", "in2", "out"] {
        let patch = json!({"metadata": {"labels": {"x": label}}});
        assert_eq!(
            cluster.patch(&format!("{MAPS}/m"), "application/merge-patch+json", &patch).await.code,
            200
        );
    }
    let query = format!("resourceVersion={from}&labelSelector=x%20in%20(in,in2)");
    let seen = frames(&cluster, &query.replace(' ', "%20"), 3).await;
    let kinds: Vec<String> = seen.iter().map(short).collect();
    assert_eq!(kinds, ["ADDED m", "MODIFIED m", "DELETED m"]);
    assert_eq!(seen[2]["object"]["metadata"]["labels"]["x"], "in2");
    let now = cluster.get(&format!("{MAPS}/m")).await.json()["metadata"]["resourceVersion"].clone();
    assert_eq!(seen[2]["object"]["metadata"]["resourceVersion"], now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn initial_events_end_in_a_marked_bookmark() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        assert_eq!(cluster.post(MAPS, &map(name, "x")).await.code, 201);
    }
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let seen = frames(&cluster, query, 3).await;
    assert_eq!(seen.iter().map(short).collect::<Vec<_>>(), ["ADDED a", "ADDED b", "BOOKMARK -"]);
    let bookmark = &seen[2]["object"];
    assert_eq!(bookmark["kind"], "ConfigMap");
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let refused = cluster.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert_eq!(
        frames(&cluster, "resourceVersion=0", 2).await.iter().map(short).collect::<Vec<_>>(),
        ["ADDED a", "ADDED b"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_compacted_history_expires() {
    let cluster = Cluster::start().await;
    let old = cluster.post(MAPS, &map("a", "x")).await.json()["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(cluster.post(MAPS, &map("b", "x")).await.code, 201);
    // A server that starts afresh has an empty log and takes the events from the store's history.
    let config = cluster.server.config.clone();
    let second = crate::ApiServer::build(config, std::sync::Arc::clone(&cluster.store)).await.unwrap();
    let client = second.local_client(xebec_identity::User::system_master("test"));
    let seen = watch_local(&client, &old, 1).await;
    assert_eq!(short(&seen[0]), "ADDED b");
    let head = cluster.store.head().await.unwrap();
    cluster.store.compact(head).await.unwrap();
    let third = crate::ApiServer::build(cluster.server.config.clone(), std::sync::Arc::clone(&cluster.store))
        .await
        .unwrap();
    let client = third.local_client(xebec_identity::User::system_master("test"));
    let seen = watch_local(&client, &old, 1).await;
    assert_eq!((seen[0]["type"].as_str(), seen[0]["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
    assert_eq!(seen[0]["object"]["reason"], "Expired");
    second.shutdown();
    third.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_writes_in_the_store_do_not_stop_reads() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.post(MAPS, &map("a", "x")).await.code, 201);
    let foreign = bytes::Bytes::from_static(b"x");
    cluster.store.put("/somebody/else", foreign, xebec_store::Expect::Any).await.unwrap();
    let started = std::time::Instant::now();
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.code, 200);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

async fn watch_local(client: &kube::Client, from: &str, count: usize) -> Vec<Value> {
    let uri = format!("{MAPS}?watch=1&timeoutSeconds=5&resourceVersion={from}");
    let lines = client.request_stream(Request::get(uri).body(Vec::new()).unwrap()).await.unwrap().lines();
    lines
        .take(count)
        .map_ok(|line| serde_json::from_str::<Value>(&line).unwrap())
        .try_collect()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflectors_follow_under_load() {
    let cluster = Cluster::start().await;
    let client = cluster.server.local_client(xebec_identity::User::system_master("test"));
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let watch = watcher(maps.clone(), watcher::Config::default()).applied_objects();
    let followed = tokio::spawn(async move {
        let mut seen = std::collections::HashSet::new();
        let mut watch = std::pin::pin!(watch);
        while seen.len() < 100 {
            let object = watch.next().await.unwrap().unwrap();
            seen.insert(object.metadata.name.unwrap());
        }
        seen.len()
    });
    let writers = (0..4).map(|w| {
        let maps = maps.clone();
        async move {
            for n in 0..25 {
                let value = serde_json::from_value(map(&format!("w{w}-{n}"), "x")).unwrap();
                maps.create(&PostParams::default(), &value).await.unwrap();
            }
        }
    });
    futures::future::join_all(writers).await;
    let seen = tokio::time::timeout(Duration::from_secs(20), followed).await.unwrap().unwrap();
    assert_eq!(seen, 100);
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 100);
}
