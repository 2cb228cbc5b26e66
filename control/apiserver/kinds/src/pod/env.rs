//! Environment variables and the references they and volumes take values from.

use std::collections::BTreeMap;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::volumes::local_path;
use crate::shared::access::{at, has, list, text};
use crate::shared::quantities::parse;
use crate::shared::rules::{invalid_each, required};

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// Fields the downward API knows somewhere, so that a known one is "unsupported here" and not "unconvertible".
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Every error of a container's `env`.
pub fn validate_env(container: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, variable) in list(container, &["env"]).iter().enumerate() {
        let path = path.index(index);
        match text(variable, &["name"]) {
            "" => errors.push(FieldError::required(&path.child("name"), "")),
            name => errors.extend(invalid_each(&path.child("name"), name, names::is_env_var_name(name))),
        }
        errors.extend(validate_value_from(variable, volumes, &path.child("valueFrom")));
    }
    errors
}

fn validate_value_from(variable: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let source = at(variable, &["valueFrom"]);
    if source.is_null() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let mut sources = 0;
    for key in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let found = at(source, &[key]);
        if found.is_null() {
            continue;
        }
        sources += 1;
        let path = path.child(key);
        errors.extend(match key {
            "fieldRef" => validate_field_ref(found, ENV_FIELDS, &path),
            "resourceFieldRef" => validate_resource_ref(found, false, &path),
            "fileKeyRef" => validate_file_ref(found, volumes, &path),
            _ => validate_key_ref(found, &path),
        });
    }
    if sources == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::invalid(path, "", detail));
    } else if !text(variable, &["value"]).is_empty() {
        errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if sources > 1 {
        errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
    }
    errors
}

/// A key in a file of an `emptyDir` (KEP-3721).
fn validate_file_ref(reference: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match text(reference, &["key"]) {
        "" => errors.push(FieldError::required(&path.child("key"), "")),
        key => errors.extend(invalid_each(&path.child("key"), key, names::is_env_var_name(key))),
    }
    let volume = text(reference, &["volumeName"]);
    let volume_path = path.child("volumeName");
    if volume.is_empty() {
        errors.push(FieldError::required(&volume_path, ""));
    } else {
        errors.extend(invalid_each(&volume_path, volume, names::is_dns1123_label(volume)));
        match volumes.get(volume) {
            None => errors.push(FieldError::not_found(&volume_path, volume)),
            Some(found) if !has(found, &["emptyDir"]) => {
                let detail = "referenced volume must be of type emptyDir";
                errors.push(FieldError::invalid(&volume_path, volume, detail));
            }
            Some(_) => {}
        }
    }
    match text(reference, &["path"]) {
        "" => errors.push(FieldError::required(&path.child("path"), "")),
        file => errors.extend(local_path(file, &path.child("path"))),
    }
    errors
}

fn validate_key_ref(reference: &Value, path: &Path) -> Vec<FieldError> {
    let name = text(reference, &["name"]);
    let mut errors = invalid_each(&path.child("name"), name, names::is_dns1123_subdomain(name));
    match text(reference, &["key"]) {
        "" => errors.push(FieldError::required(&path.child("key"), "")),
        key => errors.extend(invalid_each(&path.child("key"), key, names::is_config_map_key(key))),
    }
    errors
}

/// Every error of a field reference used in a volume.
pub fn validate_volume_field_ref(reference: &Value, path: &Path) -> Vec<FieldError> {
    validate_field_ref(reference, VOLUME_FIELDS, path)
}

fn validate_field_ref(reference: &Value, allowed: &[&str], path: &Path) -> Vec<FieldError> {
    for key in ["apiVersion", "fieldPath"] {
        let errors = required(reference, key, path);
        if !errors.is_empty() {
            return errors;
        }
    }
    let field = text(reference, &["fieldPath"]);
    let field_path = path.child("fieldPath");
    if let Some((base, key)) = field.strip_suffix("']").and_then(|rest| rest.split_once("['")) {
        return match base {
            "metadata.annotations" => invalid_each(path, key, names::is_qualified_name(&key.to_lowercase())),
            "metadata.labels" => invalid_each(path, key, names::is_qualified_name(key)),
            _ => vec![FieldError::invalid(path, base, "does not support subscript")],
        };
    }
    if !KNOWN_FIELDS.contains(&field) {
        let detail = format!("error converting fieldPath: field label not supported: {field}");
        return vec![FieldError::invalid(&field_path, field, detail)];
    }
    if !allowed.contains(&field) {
        return vec![FieldError::not_supported(&field_path, field, allowed)];
    }
    Vec::new()
}

/// Every error of a reference to a container's requests or limits; a volume must name the container.
pub fn validate_resource_ref(reference: &Value, in_volume: bool, path: &Path) -> Vec<FieldError> {
    let resource = text(reference, &["resource"]);
    let mut errors = Vec::new();
    if in_volume && text(reference, &["containerName"]).is_empty() {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), ""));
    } else if !is_resource_field(resource) {
        errors.push(FieldError::not_supported(&path.child("resource"), resource, RESOURCE_FIELDS));
    }
    errors.extend(validate_divisor(resource, reference, &path.child("divisor")));
    errors
}

fn is_resource_field(name: &str) -> bool {
    RESOURCE_FIELDS.contains(&name)
        || ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| name.starts_with(prefix))
}

fn validate_divisor(resource: &str, reference: &Value, path: &Path) -> Vec<FieldError> {
    let Some(divisor) = parse(at(reference, &["divisor"])).filter(|divisor| !divisor.is_zero()) else {
        return Vec::new();
    };
    let divisor = divisor.to_string();
    const SIZES: &[&str] =
        &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let sizes = SIZES.join(", ");
    let detail = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" if !["1m", "1"].contains(&divisor.as_str()) => {
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
        }
        "memory" if !SIZES.contains(&divisor.as_str()) => {
            format!("only divisor's values {sizes} are supported with the memory resource")
        }
        "ephemeral-storage" if !SIZES.contains(&divisor.as_str()) => {
            format!("only divisor's values {sizes} are supported with the local ephemeral storage resource")
        }
        name if name.starts_with("hugepages-") && !SIZES.contains(&divisor.as_str()) => {
            format!("only divisor's values {sizes} are supported with the hugepages resource")
        }
        _ => return Vec::new(),
    };
    vec![FieldError::invalid(path, resource, detail)]
}

/// Every error of a container's `envFrom`.
pub fn validate_env_from(container: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, source) in list(container, &["envFrom"]).iter().enumerate() {
        let item = path.index(index);
        let prefix = text(source, &["prefix"]);
        if !prefix.is_empty() {
            errors.extend(invalid_each(&item.child("prefix"), prefix, names::is_env_var_name(prefix)));
        }
        let found: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|key| has(source, &[key])).collect();
        for key in &found {
            let name_path = item.child(key).child("name");
            match text(source, &[key, "name"]) {
                "" => errors.push(FieldError::required(&name_path, "")),
                name => errors.extend(invalid_each(&name_path, name, names::is_dns1123_subdomain(name))),
            }
        }
        match found.len() {
            0 => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(path, "", detail));
            }
            1 => {}
            _ => {
                let detail = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(path, "", detail));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    fn env(variable: Value) -> Vec<String> {
        messages(&validate_env(&json!({"env": [variable]}), &BTreeMap::new(), &Path::new("env")))
    }

    #[test]
    fn values_come_from_one_place() {
        assert_eq!(env(json!({"name": "A", "value": "1"})), Vec::<String>::new());
        assert_eq!(env(json!({"value": "1"})), ["env[0].name: Required value"]);
        assert_eq!(
            env(json!({"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})),
            ["env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"]
        );
        assert_eq!(
            env(json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "s"}}})),
            ["env[0].valueFrom.configMapKeyRef.key: Required value"]
        );
    }

    #[test]
    fn field_paths_are_the_downward_apis() {
        let field = |path: &str| {
            env(json!({"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}))
        };
        assert_eq!(field("status.podIP"), Vec::<String>::new());
        assert_eq!(field("metadata.labels['a/b']"), Vec::<String>::new());
        assert_eq!(
            field("spec.restartPolicy"),
            [
                "env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"spec.restartPolicy\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\""
            ]
        );
        assert_eq!(
            field("spec.other"),
            [
                "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.other\": error converting fieldPath: field label not supported: spec.other"
            ]
        );
    }

    #[test]
    fn sources_need_a_reference() {
        let container = json!({"envFrom": [{}]});
        assert_eq!(
            messages(&validate_env_from(&container, &Path::new("envFrom"))),
            ["envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"]
        );
    }
}
