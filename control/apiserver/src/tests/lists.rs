use serde_json::{Value, json};

use super::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn with_maps(count: usize) -> Cluster {
    let cluster = Cluster::start().await;
    for n in 0..count {
        let value = json!({"kind": "ConfigMap", "metadata": {"name": format!("m{n}"), "labels": {"odd": (n % 2).to_string()}}});
        assert_eq!(cluster.post(MAPS, &value).await.code, 201);
    }
    cluster
}

fn names(list: &Value) -> Vec<String> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_selectors() {
    let cluster = with_maps(5).await;
    let first = cluster.get(&format!("{MAPS}?limit=2")).await.json();
    assert_eq!(names(&first), ["m0", "m1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&second), ["m2", "m3"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = cluster.get(&format!("{MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&third), ["m4"]);
    assert!(third["metadata"].get("continue").is_none());
    assert_eq!(names(&cluster.get(&format!("{MAPS}?labelSelector=odd%3D1")).await.json()), ["m1", "m3"]);
    assert_eq!(names(&cluster.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dm4")).await.json()), ["m4"]);
    let unknown = cluster.get(&format!("{MAPS}?fieldSelector=data.x%3D1")).await;
    assert_eq!(unknown.code, 400);
    assert_eq!(cluster.get(&format!("{MAPS}?continue=zzz")).await.code, 400);
    assert_eq!(cluster.get(&format!("{MAPS}?labelSelector=a%3D%3D%3Db%26")).await.code, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_are_deleted_by_selector() {
    let cluster = with_maps(4).await;
    let deleted = cluster.send("DELETE", &format!("{MAPS}?labelSelector=odd%3D0"), &[], "").await;
    assert_eq!(deleted.code, 200, "{}", deleted.text);
    assert_eq!(names(&cluster.get(MAPS).await.json()), ["m1", "m3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_honoured() {
    let cluster = with_maps(1).await;
    let version = cluster.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let exact = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    assert_eq!(cluster.get(&exact).await.code, 200);
    assert_eq!(
        cluster.post(MAPS, &json!({"kind": "ConfigMap", "metadata": {"name": "new"}})).await.code,
        201
    );
    assert_eq!(names(&cluster.get(&exact).await.json()), ["m0"], "the past as it was");
    let now = cluster.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    cluster.store.compact(now.parse().unwrap()).await.unwrap();
    let gone = cluster.get(&exact).await;
    assert_eq!((gone.code, gone.json()["reason"].as_str().unwrap().to_owned()), (410, "Expired".to_owned()));
    let ahead = cluster.get(&format!("{MAPS}?resourceVersion=999999")).await;
    assert_eq!(ahead.code, 504, "{}", ahead.text);
    assert!(ahead.message().contains("Too large resource version: 999999"), "{}", ahead.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fit_together_until_history_is_compacted() {
    let cluster = with_maps(6).await;
    let first = cluster.get(&format!("{MAPS}?limit=2")).await.json();
    let (version, token) =
        (&first["metadata"]["resourceVersion"], first["metadata"]["continue"].as_str().unwrap());
    cluster.send("DELETE", &format!("{MAPS}/m3"), &[], "").await;
    cluster.post(MAPS, &json!({"kind": "ConfigMap", "metadata": {"name": "m2a"}})).await;
    let second = cluster.get(&format!("{MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&second), ["m2", "m3"], "as of the first page");
    assert_eq!(
        (&second["metadata"]["resourceVersion"], &second["metadata"]["remainingItemCount"]),
        (version, &json!(2))
    );
    let odd = cluster.get(&format!("{MAPS}?limit=2&continue={token}&labelSelector=odd%3D1")).await.json();
    assert_eq!(names(&odd), ["m3", "m5"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let now = cluster.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    cluster.store.compact(now.parse().unwrap()).await.unwrap();
    let expired = cluster.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!((expired.code, &expired.json()["reason"]), (410, &json!("Expired")), "{}", expired.text);
    let resumed = expired.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = cluster.get(&format!("{MAPS}?limit=2&continue={resumed}")).await.json();
    assert_eq!(names(&rest), ["m4", "m5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_metadata() {
    let cluster = with_maps(2).await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let table = cluster.send("GET", MAPS, &accept, "").await.json();
    assert_eq!(
        (table["kind"].as_str(), table["apiVersion"].as_str()),
        (Some("Table"), Some("meta.k8s.io/v1"))
    );
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Data", "Age"]);
    assert_eq!(table["rows"][1]["cells"][0], "m1");
    assert_eq!(table["rows"][1]["object"]["kind"], "PartialObjectMetadata");
    assert!(table["metadata"]["resourceVersion"].is_string());
    let accept = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let partial = cluster.send("GET", MAPS, &accept, "").await.json();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0]["metadata"]["name"], "m0");
    assert_eq!(cluster.send("GET", MAPS, &[("accept", "text/html")], "").await.code, 406);
    let yaml = cluster.send("GET", &format!("{MAPS}/m0"), &[("accept", "application/yaml")], "").await;
    assert!(yaml.text.contains("kind: ConfigMap"), "{}", yaml.text);
}
