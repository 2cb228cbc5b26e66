//! Versions upstream has left behind, served when `--runtime-config` says so.

use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::harness::{Answer, Cluster};
use crate::resources::RuntimeConfig;

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

async fn start(pairs: &[&str]) -> Cluster {
    let enabled = RuntimeConfig::parse(pairs.iter().copied()).unwrap();
    Cluster::start_with(|config| config.runtime_config = enabled).await
}

fn budgets(version: &str) -> String {
    format!("/apis/policy/{version}/namespaces/default/poddisruptionbudgets")
}

fn budget(version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("policy/{version}"), "kind": "PodDisruptionBudget",
        "metadata": {"name": name}, "spec": spec})
}

fn warnings(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_tells_of_them_by_default() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get(&budgets("v1beta1")).await.code, 404);
    assert_eq!(cluster.get("/apis/policy/v1beta1").await.code, 404);
    let group = cluster.get("/apis/policy").await.json();
    assert_eq!(group["versions"], json!([{"groupVersion": "policy/v1", "version": "v1"}]));
    assert_eq!(cluster.get("/openapi/v3/apis/policy/v1beta1").await.code, 404);
    assert!(!cluster.get("/openapi/v2").await.text.contains("v1beta1.PodDisruptionBudget"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_and_openapi_tell_of_what_is_on() {
    let cluster = start(&["api/beta=true", "batch/v1beta1=false", "autoscaling/v1=false"]).await;
    let group = cluster.get("/apis/policy").await.json();
    assert_eq!(
        (&group["versions"][1]["groupVersion"], &group["preferredVersion"]["version"]),
        (&json!("policy/v1beta1"), &json!("v1"))
    );
    let list = cluster.get("/apis/policy/v1beta1").await.json();
    let named: Vec<&Value> = list["resources"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(named, ["poddisruptionbudgets", "poddisruptionbudgets/status"]);
    let stored = cluster.get("/apis/policy/v1").await.json();
    assert_eq!(list["resources"][0]["storageVersionHash"], stored["resources"][0]["storageVersionHash"]);
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = cluster.send("GET", "/apis", &[("accept", accept)], "").await.json();
    let versions = |name: &str| {
        let groups = aggregated["items"].as_array().unwrap();
        let group = groups.iter().find(|group| group["metadata"]["name"] == name).unwrap();
        let versions = group["versions"].as_array().unwrap().iter();
        versions.map(|one| one["version"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(versions("discovery.k8s.io"), ["v1", "v1beta1"]);
    assert_eq!((versions("batch"), versions("autoscaling")), (vec!["v1".to_owned()], vec!["v2".to_owned()]));
    let index = cluster.get("/openapi/v3").await.json();
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("apis/policy/v1beta1") && !paths.contains_key("apis/autoscaling/v1"));
    let document = cluster.get(paths["apis/policy/v1beta1"]["serverRelativeURL"].as_str().unwrap()).await;
    assert_eq!(document.headers["cache-control"], "public, immutable");
    let v2 = cluster.get("/openapi/v2").await.json();
    let definitions = &v2["definitions"];
    let topology = &definitions["io.k8s.api.discovery.v1beta1.Endpoint"]["properties"]["topology"];
    assert_eq!(topology["additionalProperties"], json!({"type": "string"}));
    assert!(definitions.get("io.k8s.api.batch.v1beta1.CronJob").is_none());
    assert!(v2["paths"].get(budgets("v1beta1").replace("default", "{namespace}")).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_selector_keeps_its_meaning_in_both_versions() {
    let cluster = start(&["policy/v1beta1"]).await;
    let spec = json!({"minAvailable": 1, "selector": {}});
    let made = cluster.post(&budgets("v1beta1"), &budget("v1beta1", "none", &spec)).await;
    assert_eq!((made.code, &made.json()["spec"]["selector"]), (201, &json!({})), "{}", made.text);
    let none = cluster.get(&format!("{}/none", budgets("v1"))).await;
    assert_eq!(
        none.json()["spec"]["selector"],
        json!({"matchExpressions": [
            {"key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match", "operator": "Exists"}]})
    );
    assert!(warnings(&none).is_empty());
    assert_eq!(
        warnings(&made),
        [
            "299 - \"policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+; use policy/v1 \
          PodDisruptionBudget\""
        ]
    );
    let metrics = cluster.get("/metrics").await.text;
    let asked: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("apiserver_requested_deprecated_apis{")).collect();
    assert_eq!(
        asked,
        ["apiserver_requested_deprecated_apis{group=\"policy\",removed_release=\"1.25\",\
          resource=\"poddisruptionbudgets\",subresource=\"\",version=\"v1beta1\"} 1"]
    );
    assert_eq!(cluster.post(&budgets("v1"), &budget("v1", "all", &spec)).await.code, 201);
    let all = cluster.get(&format!("{}/all", budgets("v1beta1"))).await.json();
    assert_eq!(all["apiVersion"], "policy/v1beta1");
    assert_eq!(all["spec"]["selector"]["matchExpressions"][0]["operator"], "DoesNotExist");
    let stored = cluster.store.list("/registry/policy/poddisruptionbudgets/").await.unwrap().0;
    for entry in &stored {
        let value: Value = serde_json::from_slice(&entry.value).unwrap();
        assert_eq!(value["apiVersion"], "policy/v1", "{}", entry.key);
    }
    assert_eq!(stored.len(), 2);
    let observed = json!({"status": {"disruptionsAllowed": 0, "observedGeneration": 1}});
    for name in ["none", "all"] {
        let status = format!("{}/{name}/status", budgets("v1beta1"));
        let patched = cluster.patch(&status, MERGE, &observed).await;
        assert_eq!((patched.code, &patched.json()["status"]["observedGeneration"]), (200, &json!(1)));
        assert_eq!(patched.json()["apiVersion"], "policy/v1beta1");
    }
    // The pods of the namespace fall under the one made as v1 and not under the one made as v1beta1.
    cluster.account("default").await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(cluster.post(pods, &pod).await.code, 201);
    let running = json!({"status": {"phase": "Running"}});
    assert_eq!(cluster.patch(&format!("{pods}/p/status"), MERGE, &running).await.code, 200);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let evictions = format!("{pods}/p/eviction");
    let refused = cluster.post(&evictions, &eviction).await;
    assert_eq!(refused.code, 429, "{}", refused.text);
    assert!(refused.text.contains("all") && !refused.text.contains("none"), "{}", refused.text);
    assert_eq!(cluster.send("DELETE", &format!("{}/all", budgets("v1beta1")), &[], "").await.code, 200);
    assert_eq!(cluster.post(&evictions, &eviction).await.code, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_watches_speak_the_version_they_are_asked_in() {
    let cluster = start(&["api/all=true"]).await;
    let path =
        |version: &str| format!("/apis/discovery.k8s.io/{version}/namespaces/kube-public/endpointslices");
    let zone = "topology.kubernetes.io/zone";
    let endpoint = json!({"addresses": ["10.0.0.1"], "topology": {"kubernetes.io/hostname": "n", zone: "z"}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "metadata": {"name": "s"},
        "addressType": "IPv4", "endpoints": [endpoint], "ports": [{"port": 80}]});
    let made = cluster.post(&path("v1beta1"), &slice).await;
    assert_eq!((made.code, &made.json()["endpoints"][0]), (201, &endpoint), "{}", made.text);
    assert_eq!(made.json()["ports"][0]["protocol"], "TCP", "defaults go through the conversion");
    let list = cluster.get(&path("v1")).await.json();
    assert_eq!(
        list["items"][0]["endpoints"][0],
        json!({"addresses": ["10.0.0.1"], "zone": "z", "deprecatedTopology": {"kubernetes.io/hostname": "n"}})
    );
    let old = cluster.get(&path("v1beta1")).await.json();
    assert_eq!(
        (&old["apiVersion"], &old["items"][0]["endpoints"][0]),
        (&json!("discovery.k8s.io/v1beta1"), &endpoint)
    );
    let client = cluster.admin().await;
    for version in ["v1", "v1beta1"] {
        let from = format!("{}?watch=1&timeoutSeconds=5&resourceVersion=0", path(version));
        let request = http::Request::get(from).body(Vec::new()).unwrap();
        let frames = client.request_stream(request).await.unwrap().lines().take(1).try_collect();
        let frames: Vec<String> =
            tokio::time::timeout(Duration::from_secs(10), frames).await.unwrap().unwrap();
        let frame: Value = serde_json::from_str(&frames[0]).unwrap();
        assert_eq!(frame["object"]["apiVersion"], format!("discovery.k8s.io/{version}"));
        assert_eq!(frame["object"]["endpoints"][0].get("topology").is_some(), version == "v1beta1");
    }
    let wrong = json!({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "metadata": {"name": "w"},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "zone": "z"}]});
    let refused = cluster.post(&format!("{}?fieldValidation=Strict", path("v1beta1")), &wrong).await;
    assert_eq!(refused.code, 400);
    assert!(refused.message().contains("unknown field \"endpoints[0].zone\""), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_and_protobuf_speak_it_too() {
    let cluster = start(&["batch/v1beta1=true", "policy/v1beta1=true"]).await;
    let spec = json!({"minAvailable": 1, "selector": {}});
    let path = format!("{}/a", budgets("v1beta1"));
    let applied =
        cluster.patch(&format!("{path}?fieldManager=old"), APPLY, &budget("v1beta1", "a", &spec)).await;
    assert_eq!(applied.code, 201, "{}", applied.text);
    let entry = &applied.json()["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["apiVersion"], &entry["fieldsV1"]["f:spec"]["f:selector"]),
        (&json!("policy/v1beta1"), &json!({}))
    );
    let other = budget("v1", "a", &json!({"minAvailable": 2}));
    let conflict = cluster.patch(&format!("{}/a?fieldManager=new", budgets("v1")), APPLY, &other).await;
    assert_eq!(
        (conflict.code, conflict.message().as_str()),
        (409, "Apply failed with 1 conflict: conflict with \"old\": .spec.minAvailable")
    );
    let template = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}}});
    let job = json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": {"name": "j"},
        "spec": {"schedule": "* * * * *", "jobTemplate": template}});
    let jobs = |version: &str| format!("/apis/batch/{version}/namespaces/default/cronjobs");
    let headers = [("content-type", PROTOBUF), ("accept", "application/json")];
    let body = xebec_api::protobuf::encode(&job).unwrap();
    let made = cluster.send("POST", &jobs("v1beta1"), &headers, body).await;
    assert_eq!(
        (made.code, &made.json()["spec"]["concurrencyPolicy"]),
        (201, &json!("Allow")),
        "{}",
        made.text
    );
    let client = cluster.admin().await;
    let request = http::Request::get(format!("{}/j", jobs("v1beta1"))).header("accept", PROTOBUF);
    let response = client.send(request.body(kube::client::Body::empty()).unwrap()).await.unwrap();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let decoded = xebec_api::protobuf::decode(&bytes).unwrap();
    assert_eq!(
        (&decoded["apiVersion"], &decoded["spec"]["schedule"]),
        (&json!("batch/v1beta1"), &json!("* * * * *"))
    );
    assert_eq!(cluster.get(&format!("{}/j", jobs("v1"))).await.json()["apiVersion"], "batch/v1");
    let mut bad = job;
    bad["metadata"]["name"] = json!("bad");
    bad["spec"]["schedule"] = json!("never");
    let refused = cluster.post(&jobs("v1beta1"), &bad).await;
    assert_eq!(refused.code, 422);
    assert!(refused.message().contains("spec.schedule: Invalid value: \"never\""), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_turned_off_is_gone_for_clients_only() {
    let cluster = start(&["rbac.authorization.k8s.io/v1=false", "batch/v1/jobs=false"]).await;
    assert_eq!(cluster.get("/apis/rbac.authorization.k8s.io/v1/clusterroles").await.code, 404);
    assert_eq!(cluster.get("/apis/batch/v1/namespaces/default/jobs").await.code, 404);
    assert_eq!(cluster.get("/apis/batch/v1/namespaces/default/cronjobs").await.code, 200);
    let batch = cluster.get("/openapi/v3/apis/batch/v1").await.json();
    assert!(batch["paths"].get("/apis/batch/v1/cronjobs").is_some());
    assert!(batch["paths"].get("/apis/batch/v1/jobs").is_none());
    // Roles are still there for the authorizer.
    let roles = cluster.store.list("/registry/rbac.authorization.k8s.io/clusterroles/").await.unwrap().0;
    assert!(roles.len() > 50, "{}", roles.len());
}
