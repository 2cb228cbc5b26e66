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
use crate::shared::meta;
use crate::shared::rules::{invalid_each, required};

/// The sources in the order they are looked at: the field, and its name where it is one source too many.
const SOURCES: [(&str, &str); 22] = [
    ("hostPath", "hostPath"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("nfs", "nfs"),
    ("rbd", "rbd"),
    ("quobyte", "quobyte"),
    ("cephfs", "cephFS"),
    ("iscsi", "iscsi"),
    ("cinder", "cinder"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("scaleIO", "scaleIO"),
    ("local", "local"),
    ("storageos", "storageos"),
    ("csi", "csi"),
];

/// The sources of a spec; one, if it is valid.
pub fn all(spec: &Value) -> Vec<(&'static str, &Value)> {
    let sources = SOURCES.iter().map(|(key, _)| (*key, at(spec, &[key])));
    sources.filter(|(_, source)| !source.is_null()).collect()
}

/// Every error of the one source of the volume of this name.
pub fn validate(spec: &Value, name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut known = false;
    for (key, shown) in SOURCES.iter().filter(|(key, _)| has(spec, &[key])) {
        // Upstream has never refused a flex volume beside another.
        if known && *key != "flexVolume" {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(&path.child(shown), detail));
            continue;
        }
        known = true;
        let shown = if *key == "gcePersistentDisk" { "persistentDisk" } else { key };
        errors.extend(validate_one(key, at(spec, &[key]), name, &path.child(shown)));
        if *key == "local" && !has(spec, &["nodeAffinity"]) {
            let detail = "Local volume requires node affinity";
            errors.push(FieldError::required(&path.child("nodeAffinity"), detail));
        }
    }
    if !known {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    let host = text(spec, &["hostPath", "path"]);
    let root = host.starts_with('/') && host.split('/').all(|part| matches!(part, "" | "." | ".."));
    if root && text(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    errors
}

fn validate_one(key: &str, source: &Value, name: &str, path: &Path) -> Vec<FieldError> {
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
        "iscsi" => iscsi(source, name, path),
        _ => {
            let mut errors = volume_sources::validate(key, source, path);
            errors.extend(beyond_pods(key, source, path));
            errors
        }
    }
}

/// What a PersistentVolume's source says besides what a pod's says: a volume has no namespace to look in.
fn beyond_pods(key: &str, source: &Value, path: &Path) -> Vec<FieldError> {
    let given = |key: &str| at(source, &[key]).as_str();
    match key {
        "cinder" | "storageos" if has(source, &["secretRef"]) => {
            required(at(source, &["secretRef"]), "namespace", &path.child("secretRef"))
        }
        "azureFile" if given("secretNamespace") == Some("") => {
            vec![FieldError::required(&path.child("secretNamespace"), "")]
        }
        "glusterfs" => match given("endpointsNamespace") {
            None => Vec::new(),
            Some("") => {
                let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                vec![FieldError::invalid(&path.child("endpointsNamespace"), "", detail)]
            }
            Some(namespace) => {
                let messages = names::is_dns1123_label(namespace);
                invalid_each(&path.child("endpointsNamespace"), namespace, messages)
            }
        },
        _ => Vec::new(),
    }
}

fn iscsi(source: &Value, name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = volume_sources::validate("iscsi", source, path);
    // Here upstream does not say how a name has to start.
    for error in errors.iter_mut().filter(|error| error.detail.starts_with("must be valid format")) {
        "must be valid format".clone_into(&mut error.detail);
    }
    if let Some(long) = volume_sources::portal_too_long(source, name, path) {
        let portal = text(source, &["targetPortal"]);
        let first = usize::from(portal.is_empty());
        errors.insert(first, FieldError::invalid(&path.child("targetportal"), portal, long.detail));
    }
    if has(source, &["secretRef"]) {
        let initiator = path.child("initiatorname").to_string();
        let place = errors.iter().position(|error| error.field == initiator).unwrap_or(errors.len());
        let secret = required(at(source, &["secretRef"]), "name", &path.child("secretRef"));
        errors.splice(place..place, secret);
    }
    errors
}

/// Sources that no driver serves any more: what upstream says about them.
const DEPRECATED: [(&str, &str, &str); 6] = [
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// The warnings about sources that do not work.
pub fn warnings(spec: &Value, path: &Path) -> Vec<String> {
    let old = DEPRECATED.iter().filter(|(key, _, _)| has(spec, &[key]));
    old.map(|(_, shown, detail)| format!("{}: {detail}", path.child(shown))).collect()
}

/// The error of mount options in the annotation of a volume that is not mounted by the kubelet itself.
pub fn validate_mount_options(obj: &Value) -> Option<FieldError> {
    const MOUNTED: [&str; 13] = [
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "glusterfs",
        "nfs",
        "rbd",
        "quobyte",
        "iscsi",
        "cinder",
        "cephfs",
        "azureFile",
        "vsphereVolume",
        "azureDisk",
        "photonPersistentDisk",
    ];
    const ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";
    let mounted = MOUNTED.iter().any(|key| has(obj, &["spec", key]));
    if mounted || meta::annotation(obj, ANNOTATION).is_none() {
        return None;
    }
    let path = Path::new("metadata").child("annotations").child(ANNOTATION);
    Some(FieldError::forbidden(&path, "may not specify mount options for this volume type"))
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
