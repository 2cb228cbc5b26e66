//! Metadata that is metadata: the object's own and that of embedded resources.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::schema::{Finding, check_message};
use xebec_api::types::{self, Message};

use super::{BadMetadata, ShapeError, go_type};
use crate::schema::Schema;

static OBJECT_META: LazyLock<Option<&'static Message>> =
    LazyLock::new(|| types::by_name("k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta"));

/// Checks and cleans the object's own metadata; the paths of unknown fields.
pub fn of_object(value: &mut Value, bad: BadMetadata) -> Result<Vec<String>, ShapeError> {
    clean(value, "metadata", bad).map_err(ShapeError::Malformed)
}

/// Checks and cleans `metadata` of a resource; the error is the decoder's.
fn clean(resource: &mut Value, path: &str, bad: BadMetadata) -> Result<Vec<String>, String> {
    let Some(metadata) = resource.get("metadata") else { return Ok(Vec::new()) };
    if metadata.is_null() {
        // Go decodes null into an empty structure.
        resource["metadata"] = json!({});
        return Ok(Vec::new());
    }
    if bad == BadMetadata::Drop && !metadata.is_object() {
        return Err(format!("invalid metadata: expected object, got {}", go_type(metadata)));
    }
    let findings = check(metadata);
    if let Some(fatal) = findings.iter().find(|finding| finding.is_fatal()) {
        if bad == BadMetadata::Refuse {
            return Err(fatal.to_string());
        }
        if let Some(map) = resource["metadata"].as_object_mut() {
            map.retain(|name, value| !check(&single(name, value)).iter().any(Finding::is_fatal));
        }
    }
    let unknown = |finding: &Finding| match finding {
        Finding::Unknown { path: field } => Some(format!("{path}.{field}")),
        _ => None,
    };
    let unknown = findings.iter().filter_map(unknown).collect();
    forget_unknown(resource);
    Ok(unknown)
}

fn check(metadata: &Value) -> Vec<Finding> {
    OBJECT_META.map(|message| check_message(message, metadata)).unwrap_or_default()
}

fn single(name: &str, value: &Value) -> Value {
    let mut map = Map::new();
    map.insert(name.to_owned(), value.clone());
    Value::Object(map)
}

/// Any built-in kind's metadata is pruned alike.
fn forget_unknown(resource: &mut Value) {
    let mut carrier = json!({"metadata": resource["metadata"].take()});
    xebec_api::schema::prune_unknown("v1", "ConfigMap", &mut carrier);
    resource["metadata"] = carrier["metadata"].take();
    if let Some(map) = resource["metadata"].as_object_mut() {
        map.retain(|_, value| match value {
            Value::Object(map) => !map.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::String(text) => !text.is_empty(),
            _ => true,
        });
    }
}

/// Checks and cleans the type and metadata of every embedded resource; the sorted paths of unknown fields.
pub fn coerce(value: &mut Value, schema: &Schema, bad: BadMetadata) -> Result<Vec<String>, ShapeError> {
    let mut unknown = Vec::new();
    walk(value, schema, &Path::root(), bad, &mut unknown)?;
    unknown.sort();
    Ok(unknown)
}

fn walk(
    value: &mut Value,
    schema: &Schema,
    path: &Path,
    bad: BadMetadata,
    unknown: &mut Vec<String>,
) -> Result<(), ShapeError> {
    if schema.ext.embedded && value.is_object() {
        embedded(value, path, bad, unknown)?;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(schema) = schema.properties.get(name) {
                    walk(value, schema, &path.child(name), bad, unknown)?;
                } else if let Some(schema) = schema.property(name) {
                    walk(value, schema, &path.key(name), bad, unknown)?;
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return Ok(()) };
            for (at, item) in items.iter_mut().enumerate() {
                walk(item, schema, &path.index(at), bad, unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn embedded(
    value: &mut Value,
    path: &Path,
    bad: BadMetadata,
    unknown: &mut Vec<String>,
) -> Result<(), ShapeError> {
    for name in ["apiVersion", "kind"] {
        let Some(field) = value.get(name).filter(|field| !field.is_string()) else { continue };
        if bad == BadMetadata::Refuse {
            let error = FieldError::invalid(&path.child(name), field, "must be a string");
            return Err(ShapeError::Embedded(error.to_string()));
        }
        if let Some(map) = value.as_object_mut() {
            map.remove(name);
        }
    }
    let before = value.get("metadata").cloned();
    let path = path.child("metadata");
    match clean(value, path.as_str(), bad) {
        Ok(found) => unknown.extend(found),
        // In a stored object what cannot be read stays as it is.
        Err(_) if bad == BadMetadata::Drop => {}
        Err(message) => {
            let error = FieldError::invalid(&path, before, message);
            return Err(ShapeError::Embedded(error.to_string()));
        }
    }
    Ok(())
}
