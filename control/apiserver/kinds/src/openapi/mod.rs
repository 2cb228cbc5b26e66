//! OpenAPI documents: v3, one per group and version (what `kubectl explain`, `apply` and `diff` read), and
//! [`v2`], one for everything (what kubectl reads where it has to validate by itself).
//!
//! Enters: rows of the resource table, and k8s-openapi's types. Leaves: an index and JSON documents, built
//! once when first asked for. Called by the API server's discovery.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use xebec_api::resource::{self, Resource};

pub mod custom;
mod kinds;
mod markers;
mod older;
mod paths;
mod schemas;
pub mod v2;

/// The version of the API the documents describe.
const VERSION: &str = "v1.36.0";

struct Document {
    body: Bytes,
    hash: String,
}

/// The documents of a set of built-in resources, each made when first asked for.
///
/// Making them takes a while: keep the first call of each method off threads that must not block.
pub struct Documents {
    rows: Vec<&'static Resource>,
    v3: OnceLock<BTreeMap<String, Document>>,
    json: OnceLock<v2::Form>,
    protobuf: OnceLock<v2::Form>,
}

static DEFAULTS: LazyLock<Arc<Documents>> =
    LazyLock::new(|| Arc::new(Documents::over(resource::defaults().collect())));

impl Documents {
    fn over(rows: Vec<&'static Resource>) -> Self {
        Self { rows, v3: OnceLock::new(), json: OnceLock::new(), protobuf: OnceLock::new() }
    }

    /// Of these rows; those of the resources served by default are made once for the whole process.
    #[must_use]
    pub fn of(rows: &[&'static Resource]) -> Arc<Self> {
        if rows == DEFAULTS.rows { Self::defaults() } else { Arc::new(Self::over(rows.to_vec())) }
    }

    /// Of the resources served by default.
    #[must_use]
    pub fn defaults() -> Arc<Self> {
        Arc::clone(&DEFAULTS)
    }

    /// The v3 documents by path: `api/v1`, `apis/apps/v1`.
    fn v3(&self) -> &BTreeMap<String, Document> {
        self.v3.get_or_init(|| {
            let mut grouped: BTreeMap<(&str, &str), Vec<&'static Resource>> = BTreeMap::new();
            for row in &self.rows {
                grouped.entry((row.group, row.version)).or_default().push(row);
            }
            let made = grouped.into_iter().map(|((group, version), resources)| {
                let body = serde_json::to_vec(&build(group, version, &resources)).unwrap_or_default();
                let hash = hash_of(&body);
                (document_path(group, version), Document { body: Bytes::from(body), hash })
            });
            made.collect()
        })
    }

    /// The index `/openapi/v3` answers: each document's address with a hash of its content, so that clients may
    /// cache a document for ever.
    #[must_use]
    pub fn v3_index(&self) -> Value {
        let entry = |path: &String, document: &Document| json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", document.hash)});
        let paths: Map<String, Value> =
            self.v3().iter().map(|(path, document)| (path.clone(), entry(path, document))).collect();
        json!({ "paths": paths })
    }

    /// The document at a path such as `apis/apps/v1` with the hash that names its content.
    #[must_use]
    pub fn v3_document(&self, path: &str) -> Option<(Bytes, &str)> {
        let document = self.v3().get(path.trim_matches('/'))?;
        Some((document.body.clone(), &document.hash))
    }

    /// The v2 document as JSON.
    #[must_use]
    pub fn v2_json(&self) -> &v2::Form {
        self.json.get_or_init(|| v2::json(&self.v2()))
    }

    /// The v2 document as the message `openapi.v2.Document` of gnostic's OpenAPIv2.proto.
    #[must_use]
    pub fn v2_protobuf(&self) -> &v2::Form {
        self.protobuf.get_or_init(|| v2::protobuf(&self.v2()))
    }

    fn v2(&self) -> Value {
        v2::document(self.v3().values().map(|document| &document.body))
    }
}

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

/// The v3 document of everything that can be served of a group and version, whether it is or not.
pub fn v3_document(group: &str, version: &str) -> Option<Value> {
    if let Some((body, _)) = DEFAULTS.v3_document(&document_path(group, version)) {
        return serde_json::from_slice(&body).ok();
    }
    let rows: Vec<&Resource> =
        resource::servable().filter(|row| (row.group, row.version) == (group, version)).collect();
    (!rows.is_empty()).then(|| build(group, version, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str) -> Value {
        let (body, _) = DEFAULTS.v3_document(path).expect("a document");
        serde_json::from_slice(&body).expect("JSON")
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
        for row in resource::servable() {
            let document = v3_document(row.group, row.version).expect("a document");
            let schemas = document["components"]["schemas"].as_object().expect("schemas");
            check(&document, schemas);
        }
    }

    #[test]
    fn explain_and_apply_find_what_they_need() {
        let core = document("api/v1");
        assert_eq!(v3_document("", "v1"), Some(core.clone()));
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
        let index = DEFAULTS.v3_index();
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a text");
        assert_eq!(
            url,
            format!(
                "/openapi/v3/apis/apps/v1?hash={}",
                DEFAULTS.v3_document("apis/apps/v1").expect("a document").1
            )
        );
        assert!(DEFAULTS.v3_document("apis/nothing/v1").is_none());
        assert!(index["paths"].get("apis/policy/v1beta1").is_none());
        assert_eq!(v3_document("nothing", "v1"), None);
    }
}
