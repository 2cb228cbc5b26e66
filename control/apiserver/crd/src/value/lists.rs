//! Lists that are sets or maps: no element twice.
//!
//! Authority: apiextensions-apiserver, pkg/apiserver/schema/listtype.

use std::collections::HashMap;

use serde_json::{Map, Value};
use xebec_api::field::{FieldError, Path};

use super::MAX_ERRORS;
use crate::schema::Schema;

/// The errors of every list in a value, in the value's order.
pub fn list_errors(value: &Value, schema: &Schema, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, schema, path, &mut errors);
    errors
}

fn walk(value: &Value, schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    if errors.len() >= MAX_ERRORS {
        return;
    }
    match value {
        Value::Array(items) => {
            match schema.ext.list_type.as_deref() {
                Some("set") => repeats(items.iter().map(Value::to_string)).into_iter().for_each(|at| {
                    errors.push(FieldError::duplicate(&path.index(at), &items[at]));
                }),
                Some("map") => map_errors(items, schema, path, errors),
                _ => {}
            }
            if let Some(schema) = schema.items.as_deref() {
                let inner = |(at, item)| walk(item, schema, &path.index(at), errors);
                items.iter().enumerate().for_each(inner);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(schema) = schema.additional.as_ref().and_then(|other| other.schema()) {
                    walk(value, schema, &path.key(name), errors);
                }
                if let Some(schema) = schema.properties.get(name) {
                    walk(value, schema, &path.child(name), errors);
                }
            }
        }
        _ => {}
    }
}

fn map_errors(items: &[Value], schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    if let Some(at) = items.iter().position(|item| !item.is_null() && !item.is_object()) {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(&path.index(at), &items[at], detail));
        return;
    }
    // What is not there does not count: an element without a key equals another without it.
    let keys = |item: &Value| -> Map<String, Value> {
        let given = |key: &String| Some((key.clone(), item.get(key)?.clone()));
        schema.ext.list_map_keys.iter().filter_map(given).collect()
    };
    for at in repeats(items.iter().map(|item| Value::Object(keys(item)).to_string())) {
        errors.push(FieldError::duplicate(&path.index(at), keys(&items[at])));
    }
}

/// The places where a text stands for the second time.
fn repeats(texts: impl Iterator<Item = String>) -> Vec<usize> {
    let mut times: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (at, text) in texts.enumerate() {
        let times = times.entry(text).or_default();
        *times += 1;
        if *times == 2 {
            found.push(at);
        }
    }
    found
}
