//! A few types: Deployments in three group-versions, and the kinds tests use as parameters.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use xebec_api::status::ApiError;

use crate::{Decoding, Kind, MergeError, Resource, Types};

/// The rows: group, version, plural, kind, namespaced.
const ROWS: [(&str, &str, &str, &str, bool); 8] = [
    ("apps", "v1", "deployments", "Deployment", true),
    ("apps", "v1beta1", "deployments", "Deployment", true),
    ("extensions", "v1beta1", "deployments", "Deployment", true),
    ("", "v1", "pods", "Pod", true),
    ("", "v1", "configmaps", "ConfigMap", true),
    ("", "v1", "namespaces", "Namespace", false),
    ("rules.example.com", "v1", "replicalimits", "ReplicaLimit", false),
    (
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        false,
    ),
];

pub(crate) struct TestTypes;

#[async_trait]
impl Types for TestTypes {
    fn equivalents(&self, resource: &Resource, _: &str) -> Vec<Resource> {
        let same = ROWS.iter().filter(|row| row.2 == resource.resource);
        same.map(|row| Resource::new(row.0, row.1, row.2)).collect()
    }

    fn kind_for(&self, resource: &Resource, subresource: &str) -> Option<Kind> {
        if subresource == "scale" {
            return Some(Kind::new("autoscaling", "v1", "Scale"));
        }
        let of = |row: &&(&str, &str, &str, &str, bool)| Resource::new(row.0, row.1, row.2) == *resource;
        ROWS.iter().find(of).map(|row| Kind::new(row.0, row.1, row.3))
    }

    fn resource_for(&self, kind: &Kind) -> Option<(Resource, bool)> {
        let of = |row: &&(&str, &str, &str, &str, bool)| Kind::new(row.0, row.1, row.3) == *kind;
        ROWS.iter().find(of).map(|row| (Resource::new(row.0, row.1, row.2), row.4))
    }

    async fn convert(&self, object: &Value, to: &Kind) -> Result<Value, ApiError> {
        let mut object = object.clone();
        object["apiVersion"] = json!(to.api_version());
        Ok(object)
    }

    /// Knows no field called `bogus`; defaults `spec.paused`.
    fn decode(&self, kind: &Kind, mut object: Value, decoding: Decoding) -> Result<Value, String> {
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(object) };
        if spec.remove("bogus").is_some() && decoding == Decoding::Strict {
            return Err("strict decoding error: unknown field \"spec.bogus\"".to_owned());
        }
        if spec.get("replicas").is_some_and(|replicas| !replicas.is_i64()) {
            return Err("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32".to_owned());
        }
        if kind.kind == "Deployment" {
            spec.entry("paused").or_insert(json!(false));
        }
        Ok(object)
    }

    /// Maps are merged, lists of named things by name; `spec.selector` is atomic.
    fn merge(&self, kind: &Kind, live: &Value, patch: &Value) -> Result<Value, MergeError> {
        if kind.kind == "Namespace" {
            return Err(MergeError::UnknownKind);
        }
        if !patch["spec"]["selector"].is_null() {
            let why =
                "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector";
            return Err(MergeError::Refused(why.to_owned()));
        }
        Ok(merged(live, patch))
    }

    fn schema(&self, kind: &Kind) -> Option<Arc<Value>> {
        (kind.kind == "Deployment").then(|| {
            Arc::new(json!({"type": "object", "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"},
                "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
                "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
            }}))
        })
    }
}

fn merged(live: &Value, patch: &Value) -> Value {
    match (live, patch) {
        (Value::Object(live), Value::Object(patch)) => {
            let mut result: Map<String, Value> = live.clone();
            for (name, wanted) in patch {
                let present = live.get(name).unwrap_or(&Value::Null);
                result.insert(name.clone(), merged(present, wanted));
            }
            Value::Object(result)
        }
        (Value::Array(live), Value::Array(patch)) if patch.iter().all(|item| item["name"].is_string()) => {
            let mut result = live.clone();
            for wanted in patch {
                match result.iter_mut().find(|item| item["name"] == wanted["name"]) {
                    Some(item) => *item = merged(item, wanted),
                    None => result.push(wanted.clone()),
                }
            }
            Value::Array(result)
        }
        _ => patch.clone(),
    }
}
