//! Volumes of a pod.
//!
//! Authority: upstream's ValidateVolumes and validateVolumeSource, with the paths they report.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::env::{validate_resource_ref, validate_volume_field_ref};
use super::{projected, volume_sources};
use crate::shared::access::{at, has, int, list, text};
use crate::shared::labels::validate_labels;
use crate::shared::meta::validate_annotations;
use crate::shared::quantities::parse;
use crate::shared::rules::{invalid_each, one_of, required};

const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The sources in upstream's order, each with the name its errors are filed under where that differs, and the
/// name used when it is one source too many where that differs again.
const SOURCES: &[(&str, &str, &str)] = &[
    ("emptyDir", "emptyDir", "emptyDir"),
    ("hostPath", "hostPath", "hostPath"),
    ("gitRepo", "gitRepo", "gitRepo"),
    ("gcePersistentDisk", "persistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret", "secret"),
    ("nfs", "nfs", "nfs"),
    ("iscsi", "iscsi", "iscsi"),
    ("glusterfs", "glusterfs", "glusterfs"),
    ("flocker", "flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd", "rbd"),
    ("cinder", "cinder", "cinder"),
    ("cephfs", "cephfs", "cephFS"),
    ("quobyte", "quobyte", "quobyte"),
    ("downwardAPI", "downwardAPI", "downwarAPI"),
    ("fc", "fc", "fc"),
    ("flexVolume", "flexVolume", "flexVolume"),
    ("configMap", "configMap", "configMap"),
    ("azureFile", "azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk", "azureDisk"),
    ("storageos", "storageos", "storageos"),
    ("projected", "projected", "projected"),
    ("scaleIO", "scaleIO", "scaleIO"),
    ("csi", "csi", "csi"),
    ("ephemeral", "ephemeral", "ephemeral"),
    ("image", "image", "image"),
];

/// The volumes without errors by name, and every error. `pod` is the pod's name, `None` in a template.
pub fn validate_volumes<'a>(
    spec: &'a Value,
    pod: Option<&str>,
    path: &Path,
) -> (BTreeMap<&'a str, &'a Value>, Vec<FieldError>) {
    let mut errors = Vec::new();
    let mut good = BTreeMap::new();
    let made = claims_made(spec, pod);
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(volume, &["name"]);
        let mut found = validate_source(volume, name, pod, &path);
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
        let claim = text(volume, &["persistentVolumeClaim", "claimName"]);
        if made.contains(claim) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid(&path, claim, detail));
        }
    }
    (good, errors)
}

/// The names of the claims made for the pod's ephemeral volumes.
fn claims_made(spec: &Value, pod: Option<&str>) -> BTreeSet<String> {
    let Some(pod) = pod.filter(|name| !name.is_empty()) else { return BTreeSet::new() };
    let own = list(spec, &["volumes"]).iter().filter(|volume| has(volume, &["ephemeral"]));
    own.map(|volume| format!("{pod}-{}", text(volume, &["name"]))).collect()
}

fn validate_source(volume: &Value, name: &str, pod: Option<&str>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut count = 0;
    for (key, shown, extra) in SOURCES {
        let source = at(volume, &[key]);
        if source.is_null() {
            continue;
        }
        count += 1;
        if count > 1 {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(&path.child(extra), detail));
        } else {
            errors.extend(validate_one(key, source, pod.is_some(), &path.child(shown)));
        }
        match (*key, pod) {
            ("iscsi", _) => errors.extend(volume_sources::portal_too_long(source, name, path)),
            ("ephemeral", Some(pod)) if count == 1 && !pod.is_empty() && !name.is_empty() => {
                let claim = format!("{pod}-{name}");
                errors.extend(names::is_dns1123_subdomain(&claim).into_iter().map(|message| {
                    let detail = format!("PVC name {claim:?}: {message}");
                    FieldError::invalid(&path.child("name"), name, detail)
                }));
            }
            _ => {}
        }
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    errors
}

fn validate_one(key: &str, source: &Value, in_pod: bool, path: &Path) -> Vec<FieldError> {
    match key {
        "emptyDir" => match parse(at(source, &["sizeLimit"])) {
            Some(limit) if limit.sign() < 0 => {
                let detail = "SizeLimit field must be a valid resource quantity";
                vec![FieldError::forbidden(&path.child("sizeLimit"), detail)]
            }
            _ => Vec::new(),
        },
        "secret" | "configMap" => {
            let name = if key == "secret" { "secretName" } else { "name" };
            let mut errors = required(source, name, path);
            errors.extend(validate_mode(source, "defaultMode", path));
            errors.extend(validate_items(source, path));
            errors
        }
        "downwardAPI" => {
            let mut errors = validate_mode(source, "defaultMode", path);
            errors.extend(validate_downward_items(source, path));
            errors
        }
        "projected" => {
            let mut errors = validate_mode(source, "defaultMode", path);
            errors.extend(projected::validate(source, path));
            errors
        }
        "persistentVolumeClaim" => required(source, "claimName", path),
        "gitRepo" => {
            let mut errors = required(source, "repository", path);
            errors.extend(descending_path(text(source, &["directory"]), &path.child("directory")));
            errors
        }
        "image" => {
            // A template may leave the reference to whatever fills it in.
            let mut errors = if in_pod { required(source, "reference", path) } else { Vec::new() };
            errors.extend(one_of(source, "pullPolicy", &["Always", "IfNotPresent", "Never"], path));
            errors
        }
        "ephemeral" => validate_ephemeral(source, path),
        _ => volume_sources::validate(key, source, path),
    }
}

/// The error of a file mode outside 0..=0777.
pub fn validate_mode(holder: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    match int(holder, &[key]) {
        Some(mode) if !(0..=0o777).contains(&mode) => {
            vec![FieldError::invalid(&path.child(key), mode, MODE_RANGE)]
        }
        _ => Vec::new(),
    }
}

/// Every error of the items that pick keys of a Secret or ConfigMap.
pub fn validate_items(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, item) in list(source, &["items"]).iter().enumerate() {
        errors.extend(validate_item(item, &path.child("items").index(index)));
    }
    errors
}

/// Every error of one item that picks a key of a Secret or ConfigMap.
pub fn validate_item(item: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = required(item, "key", path);
    errors.extend(required(item, "path", path));
    errors.extend(local_path(text(item, &["path"]), &path.child("path")));
    errors.extend(validate_mode(item, "mode", path));
    errors
}

fn validate_downward_items(source: &Value, path: &Path) -> Vec<FieldError> {
    list(source, &["items"]).iter().flat_map(|item| validate_downward_item(item, path)).collect()
}

/// Every error of one file of the downward API, filed under its source without an index.
pub fn validate_downward_item(item: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = required(item, "path", path);
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
        errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
    }
    errors.extend(validate_mode(item, "mode", path));
    errors
}

fn validate_ephemeral(source: &Value, path: &Path) -> Vec<FieldError> {
    let template = at(source, &["volumeClaimTemplate"]);
    let path = path.child("volumeClaimTemplate");
    if template.is_null() {
        return vec![FieldError::required(&path, "")];
    }
    let metadata = path.child("metadata");
    let annotations = at(template, &["metadata", "annotations"]);
    let mut errors = validate_annotations(annotations, &metadata.child("annotations"));
    errors.extend(validate_labels(at(template, &["metadata", "labels"]), &metadata.child("labels")));
    for (key, value) in at(template, &["metadata"]).as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "annotations" | "labels") && !value.is_null() {
            errors.push(FieldError::forbidden(&metadata.child(key), "cannot be set"));
        }
    }
    errors.extend(crate::storage::claim::validate_spec(at(template, &["spec"]), &path.child("spec")));
    errors
}

/// The errors of a path that must stay inside the volume and leave names with two dots to the kubelet.
pub fn local_path(target: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = descending_path(target, path);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.push(FieldError::invalid(path, target, "must not start with '..'"));
    }
    errors
}

/// The errors of a path that must stay inside the volume.
pub fn descending_path(target: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if target.starts_with('/') {
        errors.push(FieldError::invalid(path, target, "must be a relative path"));
    }
    errors.extend(no_backsteps(target, path));
    errors
}

/// The error of a path with a `..` in it.
pub fn no_backsteps(target: &str, path: &Path) -> Vec<FieldError> {
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
        messages(&validate_volumes(&json!({"volumes": volumes}), Some("p"), &Path::new("v")).1)
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
