//! Volume mounts and devices of a container.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::volumes::local_path;
use crate::shared::access::{at, has, list, text};
use crate::shared::rules::{one_of_given, required};

/// Every error of a container's volume mounts and devices against the pod's volumes.
pub fn validate_mounts(container: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut mounted = BTreeSet::new();
    for (index, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        let path = path.child("volumeMounts").index(index);
        match text(mount, &["name"]) {
            "" => errors.push(FieldError::required(&path.child("name"), "")),
            name if !volumes.contains_key(name) => {
                errors.push(FieldError::not_found(&path.child("name"), name));
            }
            _ => {}
        }
        let target = text(mount, &["mountPath"]);
        if target.is_empty() {
            errors.push(FieldError::required(&path.child("mountPath"), ""));
        } else if !mounted.insert(target) {
            errors.push(FieldError::invalid(&path.child("mountPath"), target, "must be unique"));
        }
        let sub_path = text(mount, &["subPath"]);
        errors.extend(local_path(sub_path, &path.child("subPath")));
        let expression = text(mount, &["subPathExpr"]);
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.push(FieldError::invalid(&path.child("subPathExpr"), expression, detail));
            }
            errors.extend(local_path(expression, &path.child("subPathExpr")));
        }
        if has(mount, &["mountPropagation"]) {
            let kinds = ["Bidirectional", "HostToContainer", "None"];
            errors.extend(one_of_given(mount, "mountPropagation", &kinds, &path));
            let privileged = at(container, &["securityContext", "privileged"]).as_bool().unwrap_or(false);
            if text(mount, &["mountPropagation"]) == "Bidirectional" && !privileged {
                let detail = "Bidirectional mount propagation is available only to privileged containers";
                errors.push(FieldError::forbidden(&path.child("mountPropagation"), detail));
            }
        }
    }
    for (index, device) in list(container, &["volumeDevices"]).iter().enumerate() {
        let path = path.child("volumeDevices").index(index);
        let name = text(device, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if let Some(volume) = volumes.get(name) {
            if !has(volume, &["persistentVolumeClaim"]) && !has(volume, &["ephemeral"]) {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(&path.child("name"), name, detail));
            }
        } else {
            errors.push(FieldError::not_found(&path.child("name"), name));
        }
        errors.extend(required(device, "devicePath", &path));
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
        let (volumes, _) = validate_volumes(&spec, &Path::new("v"));
        let container =
            json!({"volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a"}, {}]});
        assert_eq!(
            messages(&validate_mounts(&container, &volumes, &Path::new("c"))),
            [
                "c.volumeMounts[1].name: Not found: \"b\"",
                "c.volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
                "c.volumeMounts[2].name: Required value",
                "c.volumeMounts[2].mountPath: Required value",
            ]
        );
    }
}
