//! Volumes of a pod.

use std::collections::BTreeMap;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::env::{validate_resource_ref, validate_volume_field_ref};
use crate::shared::access::{at, has, int, list, text};
use crate::shared::quantities;
use crate::shared::rules::{invalid_each, one_of_given, required};

const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The volumes without errors by name, and every error.
pub fn validate_volumes<'a>(spec: &'a Value, path: &Path) -> (BTreeMap<&'a str, &'a Value>, Vec<FieldError>) {
    let mut errors = Vec::new();
    let mut good = BTreeMap::new();
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(volume, &["name"]);
        let mut found = validate_source(volume, name, &path);
        if name.is_empty() {
            found.push(FieldError::required(&path.child("name"), ""));
        } else {
            found.extend(invalid_each(&path.child("name"), name, names::is_dns1123_label(name)));
        }
        if good.contains_key(name) {
            found.push(FieldError::duplicate(&path.child("name"), name));
        }
        if found.is_empty() {
            good.insert(name, volume);
        }
        errors.extend(found);
    }
    (good, errors)
}

fn validate_source(volume: &Value, name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut count = 0;
    for (key, source) in volume.as_object().into_iter().flatten() {
        if key == "name" || source.is_null() {
            continue;
        }
        count += 1;
        let path = path.child(key);
        if count > 1 {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
            continue;
        }
        errors.extend(validate_one(key, source, name, &path));
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    errors
}

fn validate_one(key: &str, source: &Value, volume_name: &str, path: &Path) -> Vec<FieldError> {
    match key {
        "emptyDir" => match at(source, &["sizeLimit"]) {
            Value::Null => Vec::new(),
            limit => quantities::not_negative(limit, &path.child("sizeLimit")),
        },
        "hostPath" => validate_host_path(source, path),
        "secret" => {
            let mut errors = required(source, "secretName", path);
            errors.extend(validate_mode(source, "defaultMode", path));
            errors.extend(validate_items(source, path));
            errors
        }
        "configMap" => {
            let mut errors = required(source, "name", path);
            errors.extend(validate_mode(source, "defaultMode", path));
            errors.extend(validate_items(source, path));
            errors
        }
        "downwardAPI" => {
            let mut errors = validate_mode(source, "defaultMode", path);
            errors.extend(validate_downward_items(source, &path.child("items")));
            errors
        }
        "projected" => validate_projected(source, path),
        "persistentVolumeClaim" => required(source, "claimName", path),
        "nfs" => {
            let mut errors = required(source, "server", path);
            errors.extend(required(source, "path", path));
            if !text(source, &["path"]).is_empty() && !text(source, &["path"]).starts_with('/') {
                let detail = "must be an absolute path";
                errors.push(FieldError::invalid(&path.child("path"), text(source, &["path"]), detail));
            }
            errors
        }
        "csi" => required(source, "driver", path),
        "image" => {
            let mut errors = required(source, "reference", path);
            errors.extend(one_of_given(source, "pullPolicy", &["Always", "IfNotPresent", "Never"], path));
            errors
        }
        "ephemeral" => validate_ephemeral(source, volume_name, path),
        "gitRepo" => {
            let mut errors = required(source, "repository", path);
            errors.extend(local_path(text(source, &["directory"]), &path.child("directory")));
            errors
        }
        "iscsi" => ["targetPortal", "iqn"].iter().flat_map(|key| required(source, key, path)).collect(),
        "gcePersistentDisk" => required(source, "pdName", path),
        "awsElasticBlockStore" => required(source, "volumeID", path),
        _ => Vec::new(),
    }
}

fn validate_host_path(source: &Value, path: &Path) -> Vec<FieldError> {
    let host = text(source, &["path"]);
    if host.is_empty() {
        return vec![FieldError::required(&path.child("path"), "")];
    }
    let mut errors = no_backsteps(host, &path.child("path"));
    let kinds =
        ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    let kind = text(source, &["type"]);
    if !kinds.contains(&kind) {
        let mut allowed = kinds[1..].to_vec();
        allowed.sort_unstable();
        errors.push(FieldError::not_supported(&path.child("type"), kind, &allowed));
    }
    errors
}

fn validate_mode(holder: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    match int(holder, &[key]) {
        Some(mode) if !(0..=0o777).contains(&mode) => {
            vec![FieldError::invalid(&path.child(key), mode, MODE_RANGE)]
        }
        _ => Vec::new(),
    }
}

/// Every error of the items that pick keys of a Secret or ConfigMap.
fn validate_items(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, item) in list(source, &["items"]).iter().enumerate() {
        let path = path.child("items").index(index);
        errors.extend(required(item, "key", &path));
        errors.extend(required(item, "path", &path));
        errors.extend(local_path(text(item, &["path"]), &path.child("path")));
        errors.extend(validate_mode(item, "mode", &path));
    }
    errors
}

fn validate_downward_items(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for item in list(source, &["items"]) {
        errors.extend(required(item, "path", path));
        errors.extend(local_path(text(item, &["path"]), &path.child("path")));
        let (field, resource) = (at(item, &["fieldRef"]), at(item, &["resourceFieldRef"]));
        if field.is_object() {
            errors.extend(validate_volume_field_ref(field, &path.child("fieldRef")));
            if resource.is_object() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", detail));
            }
        } else if resource.is_object() {
            errors.extend(validate_resource_ref(resource, true, &path.child("resourceFieldRef")));
        } else {
            let detail = "one of fieldRef and resourceFieldRef is required";
            errors.push(FieldError::required(&path.child("fieldRef"), detail));
        }
        errors.extend(validate_mode(item, "mode", path));
    }
    errors
}

fn validate_projected(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_mode(source, "defaultMode", path);
    for (index, projection) in list(source, &["sources"]).iter().enumerate() {
        let path = path.child("sources").index(index);
        let mut count = 0;
        for key in ["secret", "downwardAPI", "configMap", "serviceAccountToken", "clusterTrustBundle"] {
            let found = at(projection, &[key]);
            if found.is_null() {
                continue;
            }
            count += 1;
            let path = path.child(key);
            if count > 1 {
                errors
                    .push(FieldError::forbidden(&path, "may not specify more than 1 volume type per source"));
                continue;
            }
            match key {
                "secret" | "configMap" => {
                    errors.extend(required(found, "name", &path));
                    errors.extend(validate_items(found, &path));
                }
                "downwardAPI" => errors.extend(validate_downward_items(found, &path.child("items"))),
                "serviceAccountToken" => errors.extend(validate_token(found, &path)),
                _ => {
                    errors.extend(required(found, "path", &path));
                    errors.extend(local_path(text(found, &["path"]), &path.child("path")));
                }
            }
        }
        if count == 0 && !has(projection, &["podCertificate"]) {
            errors.push(FieldError::required(&path, "must specify a volume type"));
        }
    }
    errors
}

fn validate_token(token: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let seconds = int(token, &["expirationSeconds"]).unwrap_or(3600);
    let expiration = path.child("expirationSeconds");
    if seconds < 600 {
        errors.push(FieldError::invalid(
            &expiration,
            seconds,
            "may not specify a duration less than 10 minutes",
        ));
    }
    if seconds > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.push(FieldError::invalid(&expiration, seconds, detail));
    }
    errors.extend(required(token, "path", path));
    errors.extend(local_path(text(token, &["path"]), &path.child("path")));
    errors
}

fn validate_ephemeral(source: &Value, volume_name: &str, path: &Path) -> Vec<FieldError> {
    let template = at(source, &["volumeClaimTemplate"]);
    let path = path.child("volumeClaimTemplate");
    if template.is_null() {
        return vec![FieldError::required(&path, "")];
    }
    let mut errors = invalid_each(&path, volume_name, names::is_dns1123_subdomain(volume_name));
    errors.extend(crate::storage::claim::validate_spec(at(template, &["spec"]), &path.child("spec")));
    errors
}

/// The errors of a path that must stay inside the volume.
pub fn local_path(target: &str, path: &Path) -> Vec<FieldError> {
    if target.starts_with('/') {
        return vec![FieldError::invalid(path, target, "must be a relative path")];
    }
    if target.starts_with("..") && !target.starts_with("../") && target != ".." {
        return vec![FieldError::invalid(path, target, "must not start with '..'")];
    }
    no_backsteps(target, path)
}

fn no_backsteps(target: &str, path: &Path) -> Vec<FieldError> {
    if target.split('/').any(|part| part == "..") {
        vec![FieldError::invalid(path, target, "must not contain '..'")]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    fn check(volumes: Value) -> Vec<String> {
        messages(&validate_volumes(&json!({"volumes": volumes}), &Path::new("v")).1)
    }

    #[test]
    fn a_volume_has_a_name_and_one_source() {
        assert_eq!(check(json!([{"name": "a", "emptyDir": {}}])), Vec::<String>::new());
        assert_eq!(check(json!([{"emptyDir": {}}])), ["v[0].name: Required value"]);
        assert_eq!(check(json!([{"name": "a"}])), ["v[0]: Required value: must specify a volume type"]);
        assert_eq!(
            check(json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}])),
            ["v[0].hostPath: Forbidden: may not specify more than 1 volume type"]
        );
        assert_eq!(
            check(json!([{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}])),
            ["v[1].name: Duplicate value: \"a\""]
        );
    }

    #[test]
    fn sources_are_checked() {
        let cases = [
            (json!({"secret": {}}), "v[0].secret.secretName: Required value"),
            (json!({"configMap": {}}), "v[0].configMap.name: Required value"),
            (json!({"hostPath": {"path": ""}}), "v[0].hostPath.path: Required value"),
            (
                json!({"hostPath": {"path": "/a/../b", "type": ""}}),
                "v[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            ),
            (
                json!({"secret": {"secretName": "s", "items": [{"key": "k", "path": "/abs"}]}}),
                "v[0].secret.items[0].path: Invalid value: \"/abs\": must be a relative path",
            ),
            (
                json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}),
                "v[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
            ),
            (json!({"persistentVolumeClaim": {}}), "v[0].persistentVolumeClaim.claimName: Required value"),
        ];
        for (mut volume, want) in cases {
            volume["name"] = json!("a");
            assert_eq!(check(json!([volume])), [want]);
        }
    }
}
