//! Volume mounts and devices of a container.
//!
//! Authority: upstream's ValidateVolumeMounts and ValidateVolumeDevices, with the paths they report: what is
//! wrong inside a mount's paths and propagation carries no index.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::volumes::descending_path;
use crate::shared::access::{at, flag, has, list, text};
use crate::shared::rules::one_of_given;

/// Every error of a container's volume mounts against the pod's volumes.
pub fn validate_mounts(container: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut mounted = BTreeSet::new();
    let devices = list(container, &["volumeDevices"]);
    for (index, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        let item = path.index(index);
        let (name, target) = (text(mount, &["name"]), text(mount, &["mountPath"]));
        if name.is_empty() {
            errors.push(FieldError::required(&item.child("name"), ""));
        }
        if !volumes.contains_key(name) {
            errors.push(FieldError::not_found(&item.child("name"), name));
        }
        if target.is_empty() {
            errors.push(FieldError::required(&item.child("mountPath"), ""));
        }
        if !mounted.insert(target) {
            errors.push(FieldError::invalid(&item.child("mountPath"), target, "must be unique"));
        }
        if devices.iter().any(|device| text(device, &["name"]) == name) {
            let detail = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(&item.child("name"), name, detail));
        }
        if devices.iter().any(|device| text(device, &["devicePath"]) == target) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&item.child("mountPath"), target, detail));
        }
        errors.extend(validate_sub_paths(mount, path, &item));
        errors.extend(validate_propagation(mount, container, path));
        errors.extend(validate_read_only(mount, path));
    }
    errors
}

fn validate_sub_paths(mount: &Value, path: &Path, item: &Path) -> Vec<FieldError> {
    let (sub_path, expression) = (text(mount, &["subPath"]), text(mount, &["subPathExpr"]));
    let mut errors = descending_path(sub_path, &path.child("subPath"));
    if !expression.is_empty() && !sub_path.is_empty() {
        let detail = "subPathExpr and subPath are mutually exclusive";
        errors.push(FieldError::invalid(&item.child("subPathExpr"), expression, detail));
    }
    errors.extend(descending_path(expression, &path.child("subPathExpr")));
    errors
}

fn validate_propagation(mount: &Value, container: &Value, path: &Path) -> Vec<FieldError> {
    if !has(mount, &["mountPropagation"]) {
        return Vec::new();
    }
    let kinds = ["Bidirectional", "HostToContainer", "None"];
    let mut errors = one_of_given(mount, "mountPropagation", &kinds, path);
    let privileged = flag(container, &["securityContext", "privileged"]);
    if text(mount, &["mountPropagation"]) == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&path.child("mountPropagation"), detail));
    }
    errors
}

fn validate_read_only(mount: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let field = path.child("recursiveReadOnly");
    match text(mount, &["recursiveReadOnly"]) {
        "Enabled" | "IfPossible" => {
            if !flag(mount, &["readOnly"]) {
                errors.push(FieldError::forbidden(&field, "may only be specified when readOnly is true"));
            }
            if !matches!(text(mount, &["mountPropagation"]), "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(&field, detail));
            }
        }
        _ if has(mount, &["recursiveReadOnly"]) => {
            let kinds = ["Disabled", "Enabled", "IfPossible"];
            errors.extend(one_of_given(mount, "recursiveReadOnly", &kinds, path));
        }
        _ => {}
    }
    errors
}

/// Every error of a container's block devices against the pod's volumes.
pub fn validate_devices(container: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (mut paths, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mounts = list(container, &["volumeMounts"]);
    for (index, device) in list(container, &["volumeDevices"]).iter().enumerate() {
        let item = path.index(index);
        let (name, target) = (text(device, &["name"]), text(device, &["devicePath"]));
        if name.is_empty() {
            errors.push(FieldError::required(&item.child("name"), ""));
        } else if !names.insert(name) {
            errors.push(FieldError::invalid(&item.child("name"), name, "must be unique"));
        }
        match volumes.get(name) {
            None => errors.push(FieldError::not_found(&item.child("name"), name)),
            Some(volume)
                if at(volume, &["persistentVolumeClaim"]).is_null() && !has(volume, &["ephemeral"]) =>
            {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(&item.child("name"), name, detail));
            }
            Some(_) => {}
        }
        if target.is_empty() {
            errors.push(FieldError::required(&item.child("devicePath"), ""));
        }
        let mut wrong = |key: &str, value: &str, detail: &str| {
            errors.push(FieldError::invalid(&item.child(key), value, detail));
        };
        if paths.contains(target) {
            wrong("devicePath", target, "must be unique");
        }
        if target.split('/').any(|part| part == "..") {
            wrong("devicePath", target, "can not contain backsteps ('..')");
        } else {
            paths.insert(target);
        }
        if mounts.iter().any(|mount| text(mount, &["name"]) == name) {
            wrong("name", name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| text(mount, &["mountPath"]) == target) {
            wrong("devicePath", target, "must not already exist as a path in volumeMounts");
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::volumes::validate_volumes;
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    #[test]
    fn mounts_name_volumes() {
        let spec = json!({"volumes": [{"name": "a", "emptyDir": {}}]});
        let (volumes, _) = validate_volumes(&spec, None, &Path::new("v"));
        let container =
            json!({"volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a"}, {}]});
        assert_eq!(
            messages(&validate_mounts(&container, &volumes, &Path::new("c.volumeMounts"))),
            [
                "c.volumeMounts[1].name: Not found: \"b\"",
                "c.volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
                "c.volumeMounts[2].name: Required value",
                "c.volumeMounts[2].name: Not found: \"\"",
                "c.volumeMounts[2].mountPath: Required value",
            ]
        );
    }
}
