//! The `x-kubernetes-*` markers that say how lists and maps merge.
//!
//! Authority: control/api/data (strategic-merge.json, merge-schema.json).

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::shared::access::{at, list, text};

static STRATEGIC: LazyLock<Value> =
    LazyLock::new(|| parse(include_str!("../../../../api/data/strategic-merge.json")));
static MERGE: LazyLock<Value> =
    LazyLock::new(|| parse(include_str!("../../../../api/data/merge-schema.json")));

fn parse(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or_default()
}

/// Adds the markers known for a type to its schema.
pub fn add(type_name: &str, schema: &mut Value) {
    let strategic = at(&STRATEGIC, &["types", type_name]);
    let merge = at(&MERGE, &["types", type_name]);
    if text(merge, &["structRel"]) == "atomic"
        && let Some(schema) = schema.as_object_mut()
    {
        schema.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (field, property) in properties {
        let Some(property) = property.as_object_mut() else { continue };
        add_strategic(at(strategic, &[field]), property);
        add_merge(at(merge, &["fields", field]), property);
    }
}

fn add_strategic(fact: &Value, property: &mut Map<String, Value>) {
    let strategies: Vec<&str> = list(fact, &["s"]).iter().filter_map(Value::as_str).collect();
    if !strategies.is_empty() {
        property.insert("x-kubernetes-patch-strategy".to_owned(), json!(strategies.join(",")));
    }
    let key = text(fact, &["k"]);
    if !key.is_empty() {
        property.insert("x-kubernetes-patch-merge-key".to_owned(), json!(key));
    }
}

fn add_merge(fact: &Value, property: &mut Map<String, Value>) {
    let atomic = text(fact, &["rel"]) == "atomic";
    match text(fact, &["k"]) {
        "list" if atomic => {
            property.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
        }
        "list" => {
            let keys = list(fact, &["keys"]);
            let kind = if keys.is_empty() { "set" } else { "map" };
            property.insert("x-kubernetes-list-type".to_owned(), json!(kind));
            if !keys.is_empty() {
                property.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
            }
        }
        _ if atomic => {
            property.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
        }
        _ => {}
    }
}
