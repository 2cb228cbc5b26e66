//! Where a PersistentVolume's data is.
//!
//! Authority: upstream's ValidatePersistentVolumeSpec and validatePvNodeAffinity.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::pod::volume_sources;
use crate::pod::volumes::no_backsteps;
use crate::shared::access::{at, has, text};
use crate::shared::formats::driver_name;
use crate::shared::rules::{invalid_each, required};

/// Every error of the volume's one source.
pub fn validate(obj: &Value, sources: &[(&String, &Value)], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, (key, source)) in sources.iter().enumerate() {
        if index > 0 {
            errors.push(FieldError::forbidden(&path.child(key), "may not specify more than 1 volume type"));
            continue;
        }
        let shown = if *key == "gcePersistentDisk" { "persistentDisk" } else { key.as_str() };
        errors.extend(validate_one(key, source, &path.child(shown)));
        if *key == "local" && !has(obj, &["spec", "nodeAffinity"]) {
            let detail = "Local volume requires node affinity";
            errors.push(FieldError::required(&path.child("nodeAffinity"), detail));
        }
    }
    if sources.is_empty() {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    let root = text(obj, &["spec", "hostPath", "path"]).split('/').all(|part| matches!(part, "" | "."));
    let recycled = text(obj, &["spec", "persistentVolumeReclaimPolicy"]) == "Recycle";
    if has(obj, &["spec", "hostPath"]) && root && recycled {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    errors
}

fn validate_one(key: &str, source: &Value, path: &Path) -> Vec<FieldError> {
    match key {
        "local" => match text(source, &["path"]) {
            "" => vec![FieldError::required(&path.child("path"), "")],
            target => no_backsteps(target, &path.child("path")),
        },
        "csi" => {
            let mut errors = driver_name(text(source, &["driver"]), &path.child("driver"));
            errors.extend(required(source, "volumeHandle", path));
            for key in [
                "controllerPublishSecretRef",
                "controllerExpandSecretRef",
                "nodePublishSecretRef",
                "nodeExpandSecretRef",
            ] {
                if has(source, &[key]) {
                    errors.extend(secret_reference(at(source, &[key]), &path.child(key)));
                }
            }
            errors
        }
        _ => volume_sources::validate(key, source, path),
    }
}

fn secret_reference(reference: &Value, path: &Path) -> Vec<FieldError> {
    type Rule = crate::shared::rules::TextRule;
    let rules: [(&str, Rule); 2] =
        [("name", names::is_dns1123_subdomain), ("namespace", names::is_dns1123_label)];
    let mut errors = Vec::new();
    for (key, rule) in rules {
        match text(reference, &[key]) {
            "" => errors.push(FieldError::required(&path.child(key), "")),
            value => errors.extend(invalid_each(&path.child(key), value, rule(value))),
        }
    }
    errors
}

/// Every error of a volume's attributes class, which only CSI drivers know.
pub fn validate_attributes(spec: &Value, path: &Path) -> Vec<FieldError> {
    let Some(class) = at(spec, &["volumeAttributesClassName"]).as_str() else { return Vec::new() };
    let class_path = path.child("volumeAttributesClassName");
    let mut errors = Vec::new();
    if class.is_empty() {
        errors.push(FieldError::required(&class_path, "an empty string is disallowed"));
    } else {
        errors.extend(invalid_each(&class_path, class, names::is_dns1123_subdomain(class)));
    }
    if !has(spec, &["csi"]) {
        let detail = "has to be specified when using volumeAttributesClassName";
        errors.push(FieldError::required(&path.child("csi"), detail));
    }
    errors
}

/// Labels upstream renamed: old, new.
const RENAMED: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// The error of a volume moved to other nodes; an old label's new name moves nothing.
pub fn same_affinity(new: &Value, old: &Value) -> Option<FieldError> {
    let detail = "field is immutable, except for updating from beta label to GA";
    (!same(new, old)).then(|| FieldError::invalid(&Path::new("nodeAffinity"), new, detail))
}

fn same(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            let kept = |key: &str, value: &Value| b.get(key).is_some_and(|was| same_at(key, value, was));
            a.len() == b.len() && a.iter().all(|(key, value)| kept(key, value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => new == old,
    }
}

fn same_at(key: &str, new: &Value, old: &Value) -> bool {
    let renamed = || RENAMED.iter().any(|(before, after)| old == before && new == after);
    same(new, old) || (key == "key" && renamed())
}
