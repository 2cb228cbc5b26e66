//! Defaults, and the nulls that stand where a default or nothing should.

use serde_json::Value;

use super::{BadMetadata, coerce, prune};
use crate::schema::{Additional, Schema};

/// Sets what is missing, or null where null may not be. Idempotent.
pub fn apply_defaults(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                if map.get(name).is_none_or(|value| is_stray_null(value, property)) {
                    map.insert(name.clone(), default.clone());
                }
            }
            let other = schema.additional.as_ref().and_then(Additional::schema);
            for (name, value) in map {
                if let Some(property) = schema.properties.get(name) {
                    apply_defaults(value, property);
                } else if let Some(schema) = other {
                    element(value, schema);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                items.iter_mut().for_each(|item| element(item, schema));
            }
        }
        _ => {}
    }
}

fn element(value: &mut Value, schema: &Schema) {
    if is_stray_null(value, schema) {
        *value = schema.default.clone().unwrap_or_default();
    }
    apply_defaults(value, schema);
}

fn is_stray_null(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

/// Drops nulls of fields that may not be null and have no default; those with one become it.
pub fn drop_nulls(value: &mut Value, schema: &Schema) {
    walk_nulls(value, Some(schema));
}

fn walk_nulls(value: &mut Value, schema: Option<&Schema>) {
    match value {
        Value::Object(map) => map.retain(|name, value| {
            let schema = schema.and_then(|schema| schema.property(name));
            if schema.is_some_and(|schema| is_stray_null(value, schema) && schema.default.is_none()) {
                return false;
            }
            walk_nulls(value, schema);
            true
        }),
        Value::Array(items) => {
            let schema = schema.and_then(|schema| schema.items.as_deref());
            items.iter_mut().for_each(|item| walk_nulls(item, schema));
        }
        _ => {}
    }
}

/// Prunes the defaults themselves: old definitions may have unknown fields in theirs.
pub fn prune_defaults(schema: &mut Schema) {
    schema.change(&mut |schema| {
        let Some(mut default) = schema.default.take() else { return };
        prune(&mut default, schema);
        // Dropping never fails.
        let _ = coerce(&mut default, schema, BadMetadata::Drop);
        schema.default = Some(default);
    });
}
