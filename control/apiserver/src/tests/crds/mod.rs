//! Definitions, and the resources they make, over TLS.

mod kubectl;
mod lifecycle;
mod objects;
mod scale;
mod versions;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Answer, Cluster};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MERGE: &str = "application/merge-patch+json";

/// CronTabs of the group `g.example.com`, stored in v1.
fn crontabs() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.g.example.com"},
        "spec": {
            "group": "g.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}]}],
        },
    })
}

fn schema() -> Value {
    json!({"type": "object", "description": "A tab of crons.", "properties": {
        "spec": {"type": "object", "required": ["cronSpec"],
            "x-kubernetes-validations": [{"rule": "self.replicas >= oldSelf.replicas", "message": "replicas only grow"}],
            "properties": {
                "cronSpec": {"type": "string", "pattern": "^[*0-9/ ]+$", "description": "When to run."},
                "replicas": {"type": "integer", "minimum": 0, "default": 1},
                "color": {"type": "string"},
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {
                        "name": {"type": "string"}, "port": {"type": "integer"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        "status": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "selector": {"type": "string"}}}}})
}

fn path(version: &str, rest: &str) -> String {
    format!("/apis/g.example.com/{version}/namespaces/default/crontabs{rest}")
}

fn tab(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "g.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec})
}

fn condition(crd: &Value, kind: &str) -> Value {
    let all = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|condition| condition["type"] == kind).unwrap_or(Value::Null)
}

/// Asks again until the answer is what is waited for.
async fn until(cluster: &Cluster, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = cluster.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {}", answer.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Creates a definition and waits until it is established.
async fn define(cluster: &Cluster, crd: &Value) -> Value {
    let made = cluster.post(CRDS, crd).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let one = format!("{CRDS}/{}", crd["metadata"]["name"].as_str().unwrap());
    let established = |answer: &Answer| condition(&answer.json(), "Established")["status"] == "True";
    until(cluster, &one, established).await.json()
}

/// Creates an object and insists.
async fn made(cluster: &Cluster, path: &str, value: &Value) -> Value {
    let answer = cluster.post(path, value).await;
    assert_eq!(answer.code, 201, "{path}: {}", answer.text);
    answer.json()
}

fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning").iter();
    all.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
}
