//! OpenAPI documents: v3, one per group and version (what `kubectl explain`, `apply` and `diff` read), and
//! [`v2`], one for everything (what kubectl reads where it has to validate by itself).
//!
//! Enters: nothing but the resource table and k8s-openapi's types. Leaves: an index and JSON documents, built
//! once when first asked for. Called by the API server's discovery.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use xebec_api::resource::Resource;

pub mod custom;
mod kinds;
mod markers;
mod paths;
mod schemas;
pub mod v2;

/// The version of the API the documents describe.
const VERSION: &str = "v1.36.0";

struct Document {
    body: Bytes,
    hash: String,
}

/// Documents by path: `api/v1`, `apis/apps/v1`.
static DOCUMENTS: LazyLock<BTreeMap<String, Document>> = LazyLock::new(|| {
    let mut grouped: BTreeMap<(&str, &str), Vec<&'static Resource>> = BTreeMap::new();
    for resource in xebec_api::resource::defaults() {
        grouped.entry((resource.group, resource.version)).or_default().push(resource);
    }
    grouped
        .into_iter()
        .map(|((group, version), resources)| {
            let body = serde_json::to_vec(&build(group, version, &resources)).unwrap_or_default();
            let hash = hash_of(&body);
            (document_path(group, version), Document { body: Bytes::from(body), hash })
        })
        .collect()
});

/// The name of a content: 32 hexadecimal digits.
fn hash_of(body: &[u8]) -> String {
    Sha256::digest(body).iter().take(16).map(|byte| format!("{byte:02X}")).collect()
}

fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn build(group: &str, version: &str, resources: &[&Resource]) -> Value {
    let schemas = schemas::of(group, version, resources);
    let mut all = Map::new();
    for resource in resources {
        all.extend(paths::of(resource, &schemas));
    }
    frame(all, schemas)
}

/// A whole document.
fn frame(paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "BearerToken": {"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}
            }
        }
    })
}

/// The index `/openapi/v3` answers: each document's address with a hash of its content, so that clients may
/// cache a document for ever.
pub fn v3_index() -> Value {
    let paths: Map<String, Value> = DOCUMENTS
        .iter()
        .map(|(path, document)| {
            (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", document.hash)}))
        })
        .collect();
    json!({ "paths": paths })
}

/// The JSON document of a group and version, named `apps/v1`, `apis/apps/v1`, `v1` or `api/v1`.
pub fn v3_document(group_version: &str) -> Option<Bytes> {
    let name = group_version.trim_matches('/');
    let found = DOCUMENTS.get(name).or_else(|| DOCUMENTS.get(&format!("apis/{name}")));
    found.or_else(|| DOCUMENTS.get(&format!("api/{name}"))).map(|document| document.body.clone())
}

/// The hash that names a document's content, for its ETag.
pub fn v3_hash(group_version: &str) -> Option<&'static str> {
    let name = group_version.trim_matches('/');
    DOCUMENTS.get(name).map(|document| document.hash.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> Value {
        serde_json::from_slice(&v3_document(name).expect("a document")).expect("JSON")
    }

    #[test]
    fn every_default_resource_is_described() {
        for resource in xebec_api::resource::defaults() {
            let document = document(&document_path(resource.group, resource.version));
            let schemas = document["components"]["schemas"].as_object().expect("schemas");
            let described = schemas.values().any(|schema| {
                schema["x-kubernetes-group-version-kind"][0]
                    == json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
            });
            assert!(described, "{}/{} {}", resource.group, resource.version, resource.kind);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, schemas: &Map<String, Value>) {
            match value {
                Value::Object(map) => {
                    if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                        let name = target.strip_prefix("#/components/schemas/").expect("a local reference");
                        assert!(schemas.contains_key(name), "{name} is missing");
                        assert_eq!(map.len(), 1, "a reference stands alone: {map:?}");
                    }
                    map.values().for_each(|value| check(value, schemas));
                }
                Value::Array(items) => items.iter().for_each(|value| check(value, schemas)),
                _ => {}
            }
        }
        for (path, document) in DOCUMENTS.iter() {
            let document: Value = serde_json::from_slice(&document.body).expect("JSON");
            let schemas = document["components"]["schemas"].as_object().unwrap_or_else(|| panic!("{path}"));
            check(&document, schemas);
        }
    }

    #[test]
    fn explain_and_apply_find_what_they_need() {
        let core = document("api/v1");
        assert_eq!(document("v1"), core);
        let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "", "version": "v1", "kind": "Pod"})
        );
        let parameters: Vec<&str> = patch["parameters"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|p| p["name"].as_str())
            .collect();
        assert!(parameters.contains(&"fieldValidation") && parameters.contains(&"dryRun"), "{parameters:?}");
        assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
        let spec = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"];
        assert_eq!(spec["containers"]["x-kubernetes-patch-strategy"], "merge");
        assert_eq!(spec["containers"]["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(spec["containers"]["x-kubernetes-list-type"], "map");
        assert_eq!(spec["containers"]["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(core["components"]["schemas"]["io.k8s.api.core.v1.Pod"].get("required"), None);
        let affinity = &spec["affinity"];
        assert!(affinity["description"].is_string());
        assert_eq!(affinity["allOf"], json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.Affinity"}]));
        let scale = &document("apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
        assert_eq!(scale["get"]["x-kubernetes-group-version-kind"]["kind"], "Scale");
    }

    #[test]
    fn the_index_names_contents() {
        let index = v3_index();
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a text");
        assert_eq!(
            url,
            format!("/openapi/v3/apis/apps/v1?hash={}", v3_hash("apis/apps/v1").expect("a hash"))
        );
        assert!(v3_document("apis/nothing/v1").is_none());
    }
}
