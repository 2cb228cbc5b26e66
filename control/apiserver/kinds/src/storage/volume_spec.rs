//! What a volume's spec must say, in a PersistentVolume or in place in a VolumeAttachment.
//!
//! Authority: upstream's ValidatePersistentVolumeSpec.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::claim::validate_modes;
use super::volume_source;
use crate::pod::scheduling::validate_node_selector;
use crate::shared::access::{at, entries, has, text, texts};
use crate::shared::quantities::parse;
use crate::shared::rules::{invalid_each, one_of_given};

/// Whose spec it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder<'a> {
    /// A PersistentVolume of this name.
    Volume(&'a str),
    /// A VolumeAttachment, which takes a pod's own (migrated) CSI volume.
    Attachment,
}

const INLINE: &str = "in the context of inline volumes";

/// Every error of a spec.
pub(super) fn validate(spec: &Value, holder: Holder<'_>, path: &Path) -> Vec<FieldError> {
    let inline = holder == Holder::Attachment;
    let refuse =
        |key: &str| FieldError::forbidden(&path.child(key), format!("may not be specified {INLINE}"));
    let mut errors = Vec::new();
    if inline {
        if has(spec, &["claimRef"]) {
            errors.push(refuse("claimRef"));
        }
        if entries(spec, &["capacity"]).next().is_some() {
            errors.push(refuse("capacity"));
        }
        if !has(spec, &["csi"]) {
            errors.push(FieldError::required(&path.child("csi"), format!("has to be specified {INLINE}")));
        }
    }
    let modes = texts(spec, &["accessModes"]);
    if modes.is_empty() {
        errors.push(FieldError::required(&path.child("accessModes"), ""));
    }
    errors.extend(validate_modes(&modes, &path.child("accessModes")));
    if !inline {
        errors.extend(validate_capacity(at(spec, &["capacity"]), &path.child("capacity")));
    }
    let (policy, policies) = ("persistentVolumeReclaimPolicy", ["Delete", "Recycle", "Retain"]);
    match text(spec, &[policy]) {
        "" => {}
        found if inline && found != "Retain" => {
            errors.push(FieldError::forbidden(&path.child(policy), format!("may only be Retain {INLINE}")));
        }
        _ => errors.extend(one_of_given(spec, policy, &policies, path)),
    }
    if has(spec, &["nodeAffinity"]) {
        if inline {
            errors.push(refuse("nodeAffinity"));
        } else {
            errors.extend(validate_affinity(at(spec, &["nodeAffinity"]), &path.child("nodeAffinity")));
        }
    }
    let name = if let Holder::Volume(name) = holder { name } else { "" };
    errors.extend(volume_source::validate(spec, name, path));
    let class = text(spec, &["storageClassName"]);
    if inline && !class.is_empty() {
        errors.push(refuse("storageClassName"));
    } else if !class.is_empty() {
        let messages = names::is_dns1123_subdomain(class);
        errors.extend(invalid_each(&path.child("storageClassName"), class, messages));
    }
    if has(spec, &["volumeMode"]) {
        errors.extend(validate_mode(spec, inline, path));
    }
    if !inline {
        errors.extend(volume_source::validate_attributes(spec, path));
    }
    errors
}

fn validate_capacity(capacity: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let count = entries(capacity, &[]).count();
    if count == 0 {
        errors.push(FieldError::required(path, ""));
    }
    if !has(capacity, &["storage"]) || count > 1 {
        errors.push(FieldError::not_supported(path, capacity, &["storage"]));
    }
    for (key, amount) in entries(capacity, &[]) {
        let (path, quantity) = (path.key(key), parse(amount));
        if let Some(value) = quantity.map(|quantity| quantity.value()).filter(|value| *value < 0) {
            errors.push(FieldError::invalid(&path, value, "must be a valid resource quantity"));
        }
        if quantity.is_none_or(|quantity| quantity.sign() <= 0) {
            errors.push(FieldError::invalid(&path, amount, "must be greater than zero"));
        }
    }
    errors
}

fn validate_affinity(affinity: &Value, path: &Path) -> Vec<FieldError> {
    let path = path.child("required");
    if has(affinity, &["required"]) {
        validate_node_selector(at(affinity, &["required"]), &path)
    } else {
        vec![FieldError::required(&path, "must specify required node constraints")]
    }
}

fn validate_mode(spec: &Value, inline: bool, path: &Path) -> Vec<FieldError> {
    if !inline {
        return one_of_given(spec, "volumeMode", &["Block", "Filesystem"], path);
    }
    if text(spec, &["volumeMode"]) == "Filesystem" {
        return Vec::new();
    }
    let detail = format!("may not specify volumeMode other than Filesystem {INLINE}");
    vec![FieldError::forbidden(&path.child("volumeMode"), detail)]
}
