//! Validation of embedded resources: a type, and metadata that would be valid on its own.

use serde_json::{Map, Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;
use xebec_kinds::{Facts, NameRule};

use crate::schema::Schema;

/// The errors of every embedded resource in a value.
pub fn embedded_errors(value: &Value, schema: &Schema, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, schema, path, &mut errors);
    errors
}

fn walk(value: &Value, schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if schema.ext.embedded {
                resource(map, path, errors);
            }
            for (name, value) in map {
                if let Some(schema) = schema.properties.get(name) {
                    walk(value, schema, &path.child(name), errors);
                } else if let Some(schema) = schema.property(name) {
                    walk(value, schema, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return };
            for (at, item) in items.iter().enumerate() {
                walk(item, schema, &path.index(at), errors);
            }
        }
        _ => {}
    }
}

fn resource(map: &Map<String, Value>, path: &Path, errors: &mut Vec<FieldError>) {
    for (name, check) in [("apiVersion", version as fn(&str) -> Option<String>), ("kind", kind)] {
        let path = path.child(name);
        match map.get(name) {
            None => errors.push(FieldError::required(&path, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(&path, "", "must not be empty"));
            }
            Some(Value::String(text)) => {
                errors.extend(check(text).map(|detail| FieldError::invalid(&path, text, detail)));
            }
            Some(other) => errors.push(FieldError::invalid(&path, other, "must be a string")),
        }
    }
    if let Some(metadata) = map.get("metadata").filter(|metadata| metadata.is_object()) {
        errors.extend(metadata_errors(metadata, &path.child("metadata")));
    }
}

fn version(text: &str) -> Option<String> {
    (text.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {text}"))
}

fn kind(text: &str) -> Option<String> {
    let messages = names::is_dns1035_label(&text.to_lowercase());
    let joined = messages.join(",");
    (!messages.is_empty()).then(|| format!("may have mixed case, but should otherwise match: {joined}"))
}

fn metadata_errors(metadata: &Value, path: &Path) -> Vec<FieldError> {
    let mut facts = Facts::cluster("", "", "").with_name(NameRule::PathSegment);
    facts.namespaced = metadata["namespace"].as_str().is_some_and(|namespace| !namespace.is_empty());
    let mut resource = json!({"metadata": metadata});
    if metadata["name"].as_str().unwrap_or_default().is_empty() {
        // The name may come later; everything else is checked now.
        resource["metadata"]["name"] = json!("fakename");
    }
    xebec_kinds::shared::meta::validate(&facts, &resource, path)
}
