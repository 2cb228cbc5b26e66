//! ConfigMaps: text and bytes under keys, optionally immutable.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, drop_nulls, entries, flag, has};
use crate::shared::rules::{invalid_each, whole_object};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("", "ConfigMap", "configmaps");
const COLUMNS: &[Column] = &[NAME, column("Data", "string", "The number of keys."), AGE];
/// The most bytes a ConfigMap or Secret may hold.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The strategy of ConfigMaps.
pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let mut size = 0;
        for (key, value) in entries(obj, &["data"]) {
            let path = Path::new("data").key(key);
            errors.extend(invalid_each(&path, key, names::is_config_map_key(key)));
            if has(obj, &["binaryData", key]) {
                errors.push(FieldError::invalid(&path, key, "duplicate of key present in binaryData"));
            }
            size += value.as_str().map_or(0, str::len);
        }
        for (key, value) in entries(obj, &["binaryData"]) {
            let path = Path::new("binaryData").key(key);
            errors.extend(invalid_each(&path, key, names::is_config_map_key(key)));
            size += decoded_len(value);
        }
        if size > MAX_BYTES {
            errors.push(FieldError::too_long(&whole_object(), MAX_BYTES));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(validate_immutable(obj, old, &["data", "binaryData"]));
        errors.extend(self.validate(obj));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let keys = entries(obj, &["data"]).count() + entries(obj, &["binaryData"]).count();
        vec![name(obj), json!(keys), age(obj, now)]
    }
}

/// The bytes a base64 text stands for.
pub fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(text.len() / 4 * 3)
}

/// The errors of a change to an immutable ConfigMap or Secret.
pub fn validate_immutable(obj: &Value, old: &Value, data: &[&str]) -> Vec<FieldError> {
    if !flag(old, &["immutable"]) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let detail = "field is immutable when `immutable` is set";
    if !flag(obj, &["immutable"]) {
        errors.push(FieldError::forbidden(&Path::new("immutable"), detail));
    }
    for key in data {
        if at(obj, &[key]) != at(old, &[key]) {
            errors.push(FieldError::forbidden(&Path::new(key), detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    #[test]
    fn keys_are_checked_and_counted() {
        let (map, errors) = create(&ConfigMap, json!({"data": {"a": "1"}, "binaryData": {"b": "AA=="}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(ConfigMap.row(&map, now())[1], 2);
        let (_, errors) = create(&ConfigMap, json!({"data": {"a/b": "1"}}));
        assert!(
            errors[0].starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key must consist of")
        );
        assert_eq!(decoded_len(&json!("AAAA")), 3);
        assert_eq!(decoded_len(&json!("AA==")), 1);
        assert_eq!(decoded_len(&json!("=")), 0);
    }

    #[test]
    fn an_immutable_map_stays() {
        let (old, _) = create(&ConfigMap, json!({"immutable": true, "data": {"a": "1"}}));
        let mut new = old.clone();
        new["data"]["a"] = json!("2");
        new["immutable"] = json!(false);
        assert_eq!(
            update(&ConfigMap, new, &old).1,
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }
}
