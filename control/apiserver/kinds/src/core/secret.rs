//! Secrets: bytes under keys, typed, optionally immutable; `stringData` is merged into `data`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::config_map::{MAX_BYTES, decoded_len, validate_immutable};
use crate::shared::access::{at, default_text, drop_nulls, entries, has, remove, set, text};
use crate::shared::meta;
use crate::shared::rules::{immutable, invalid_each};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("", "Secret", "secrets");
const COLUMNS: &[Column] = &[
    NAME,
    column("Type", "string", "Used to facilitate programmatic handling of secret data."),
    column("Data", "string", "The number of keys."),
    AGE,
];

/// The strategy of Secrets.
pub struct Secret;

impl Strategy for Secret {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        let texts: Vec<(String, String)> = entries(obj, &["stringData"])
            .map(|(key, value)| (key.clone(), STANDARD.encode(value.as_str().unwrap_or_default())))
            .collect();
        for (key, value) in texts {
            set(obj, &["data", &key], Value::String(value));
        }
        remove(obj, &["stringData"]);
        default_text(obj, &["type"], "Opaque");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let data = Path::new("data");
        let mut size = 0;
        for (key, value) in entries(obj, &["data"]) {
            errors.extend(invalid_each(&data.key(key), key, names::is_config_map_key(key)));
            size += decoded_len(value);
        }
        if size > MAX_BYTES {
            errors.push(FieldError::too_long(&data, MAX_BYTES));
        }
        errors.extend(validate_type(obj, &data));
        errors
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        let kind = text(old, &["type"]).to_owned();
        if !kind.is_empty() && text(obj, &["type"]).is_empty() {
            set(obj, &["type"], Value::String(kind));
        }
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(immutable(at(obj, &["type"]), at(old, &["type"]), &Path::new("type")));
        errors.extend(validate_immutable(obj, old, &["data"]));
        errors.extend(self.validate(obj));
        errors
    }

    fn selectable_field_names(&self) -> &[&str] {
        &["type"]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let keys = entries(obj, &["data"]).count();
        vec![name(obj), json!(text(obj, &["type"])), json!(keys), age(obj, now)]
    }
}

const REDACTED: &str = "<secret contents redacted>";

/// What a Secret of a known type must hold.
fn validate_type(obj: &Value, data: &Path) -> Vec<FieldError> {
    let missing = |key: &str| !has(obj, &["data", key]);
    let need = |keys: &[&str]| -> Vec<FieldError> {
        let absent = keys.iter().filter(|key| missing(key));
        absent.map(|key| FieldError::required(&data.key(key), "")).collect()
    };
    match text(obj, &["type"]) {
        "kubernetes.io/service-account-token" => {
            const KEY: &str = "kubernetes.io/service-account.name";
            if meta::annotation(obj, KEY).unwrap_or_default().is_empty() {
                return vec![FieldError::required(&Path::new("metadata").child("annotations").key(KEY), "")];
            }
            Vec::new()
        }
        "kubernetes.io/dockercfg" => validate_json(obj, ".dockercfg", data),
        "kubernetes.io/dockerconfigjson" => validate_json(obj, ".dockerconfigjson", data),
        "kubernetes.io/basic-auth" if missing("username") && missing("password") => {
            need(&["username", "password"])
        }
        "kubernetes.io/ssh-auth" if text(obj, &["data", "ssh-privatekey"]).is_empty() => {
            vec![FieldError::required(&data.key("ssh-privatekey"), "")]
        }
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
        _ => Vec::new(),
    }
}

fn validate_json(obj: &Value, key: &str, data: &Path) -> Vec<FieldError> {
    let path = data.key(key);
    let Some(encoded) = at(obj, &["data", key]).as_str() else {
        return vec![FieldError::required(&path, "")];
    };
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let found = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return Vec::new(),
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(error) => {
            let detail = if error.is_eof() { "unexpected end of JSON input" } else { "is not valid JSON" };
            return vec![FieldError::invalid(&path, REDACTED, detail)];
        }
    };
    let detail = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
    vec![FieldError::invalid(&path, REDACTED, detail)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    #[test]
    fn string_data_becomes_data() {
        let (secret, errors) =
            create(&Secret, json!({"data": {"a": "eA=="}, "stringData": {"a": "y", "b": "z"}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(secret["data"], json!({"a": "eQ==", "b": "eg=="}));
        assert_eq!(secret.get("stringData"), None);
        assert_eq!(Secret.row(&secret, now())[1..3], [json!("Opaque"), json!(2)]);
        assert_eq!(Secret.selectable_fields(&secret), [("type".to_owned(), "Opaque".to_owned())]);
    }

    #[test]
    fn types_need_their_keys() {
        let errors = |kind: &str| create(&Secret, json!({"type": kind})).1;
        assert_eq!(
            errors("kubernetes.io/tls"),
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"]
        );
        assert_eq!(
            errors("kubernetes.io/service-account-token"),
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]
        );
        assert_eq!(errors("kubernetes.io/dockercfg"), ["data[.dockercfg]: Required value"]);
    }

    #[test]
    fn the_type_is_immutable() {
        let (old, _) = create(&Secret, json!({}));
        let mut new = old.clone();
        new["type"] = json!("x/y");
        assert_eq!(update(&Secret, new, &old).1, ["type: Invalid value: \"x/y\": field is immutable"]);
    }
}
