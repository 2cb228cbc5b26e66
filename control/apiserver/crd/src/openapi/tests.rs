//! Published documents.

use serde_json::{Map, Value, json};

use super::{Published, schema_name, v2, v3};
use crate::definition::Definition;
use crate::served;

fn definition() -> Definition {
    Definition::read(&json!({"metadata": {"name": "tabs.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "tabs", "kind": "Tab"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
                "selectableFields": [{"jsonPath": ".spec.n"}],
                "schema": {"openAPIV3Schema": {"type": "object", "description": "A tab.", "required": ["spec"], "properties": {
                    "spec": {"type": "object", "required": ["n", "null"], "properties": {
                        "n": {"type": "integer", "minimum": 1.0, "default": 1, "description": "How many."},
                        "null": {"type": "string", "nullable": true},
                        "port": {"x-kubernetes-int-or-string": true},
                        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
                        "one": {"type": "object", "oneOf": [{"required": ["a"]}], "properties": {"a": {"type": "string"}}},
                        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                            "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}},
                        "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}}}}}}]},
        "status": {"acceptedNames": {"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "Tabs"}}}))
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

const NAME: &str = "com.example.stable.v1.Tab";

#[test]
fn v3_describes_kind_list_and_paths() {
    let definition = definition();
    let resource = served::resource(&definition, "v1", false, &leak).unwrap();
    let document = v3(&[Published { definition: &definition, resource: &resource }]);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(schema_name("stable.example.com", "v1", "Tab"), NAME);
    let tab = &schemas[NAME];
    assert_eq!(
        tab["x-kubernetes-group-version-kind"],
        json!([{"group": "stable.example.com", "version": "v1", "kind": "Tab"}])
    );
    assert_eq!(tab["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.n"}]));
    assert_eq!(tab["description"], "A tab.");
    let spec = &tab["properties"]["spec"]["properties"];
    assert_eq!(spec["n"], json!({"type": "integer", "minimum": 1, "default": 1, "description": "How many."}));
    assert_eq!(
        spec["port"],
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})
    );
    assert_eq!(spec["list"]["x-kubernetes-list-map-keys"], json!(["a"]));
    assert_eq!(spec["pod"]["required"], json!(["kind", "apiVersion"]));
    assert!(spec["pod"]["properties"]["metadata"].is_object());
    assert!(tab["properties"]["metadata"]["allOf"].is_array());
    assert_eq!(schemas["com.example.stable.v1.Tabs"]["description"], "Tabs is a list of Tab");
    let item = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/tabs/{name}"];
    let patches: Vec<&String> = item["patch"]["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert_eq!(
        patches,
        ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"]
    );
    let all = &document["paths"]["/apis/stable.example.com/v1/tabs"]["get"];
    assert_eq!(
        all["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/com.example.stable.v1.Tabs"
    );
    assert!(
        document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/tabs/{name}/scale"].is_object()
    );
    every_reference_leads_somewhere(&document, schemas);
}

fn every_reference_leads_somewhere(value: &Value, schemas: &Map<String, Value>) {
    match value {
        Value::Object(map) => {
            if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                let name = target.strip_prefix("#/components/schemas/").unwrap();
                assert!(schemas.contains_key(name), "{name} is missing");
            }
            map.values().for_each(|value| every_reference_leads_somewhere(value, schemas));
        }
        Value::Array(items) => items.iter().for_each(|value| every_reference_leads_somewhere(value, schemas)),
        _ => {}
    }
}

#[test]
fn v2_leaves_out_what_it_cannot_say() {
    let definition = definition();
    let resource = served::resource(&definition, "v1", false, &leak).unwrap();
    let addition = v2(&Published { definition: &definition, resource: &resource });
    let tab = &addition.definitions[NAME];
    let spec = &tab["properties"]["spec"];
    assert_eq!(spec["required"], json!(["n"]));
    assert_eq!(spec["properties"]["null"], json!({}));
    assert_eq!(spec["properties"]["port"], json!({"x-kubernetes-int-or-string": true}));
    assert_eq!(spec["properties"]["any"], json!({"x-kubernetes-preserve-unknown-fields": true}));
    assert_eq!(spec["properties"]["one"].get("oneOf"), None);
    assert_eq!(
        tab["properties"]["metadata"]["$ref"],
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    let built_in = xebec_kinds::openapi::Documents::defaults();
    let (json, protobuf) = xebec_kinds::openapi::v2::with(&built_in, &[addition]);
    let whole: Value = serde_json::from_slice(&json.body).unwrap();
    assert!(
        whole["definitions"][NAME].is_object() && whole["definitions"]["io.k8s.api.core.v1.Pod"].is_object()
    );
    assert!(
        whole["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/tabs"]["post"]["parameters"]
            .is_array()
    );
    assert_ne!(json.hash, built_in.v2_json().hash);
    assert!(protobuf.body.len() > 1000);
}

#[test]
fn a_schema_that_is_not_structural_is_not_published() {
    let mut definition = definition();
    definition.versions[0].schema = None;
    let resource = served::resource(&definition, "v1", false, &leak).unwrap();
    let document = v3(&[Published { definition: &definition, resource: &resource }]);
    let tab = &document["components"]["schemas"][NAME];
    assert_eq!((&tab["type"], tab.get("properties")), (&json!("object"), None));
}
