//! PersistentVolumes.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::claim::validate_modes;
use super::{short_access_modes, volume_source};
use crate::pod::scheduling::validate_node_selector;
use crate::shared::access::{at, default_text, default_to, drop_nulls, entries, has, remove, text, texts};
use crate::shared::quantities::{canonical_list, parse};
use crate::shared::rules::{immutable, invalid_each, one_of_given};
use crate::table::{AGE, NAME, age, column, name, wide};
use crate::{Column, Facts, Strategy, generic};

fn initial_status() -> Value {
    json!({"phase": "Pending"})
}

static FACTS: Facts =
    Facts::cluster("", "PersistentVolume", "persistentvolumes").with_initial_status(initial_status);
const COLUMNS: &[Column] = &[
    NAME,
    column("Capacity", "string", "The volume's resources."),
    column("Access Modes", "string", "All ways the volume can be mounted."),
    column("Reclaim Policy", "string", "What happens to the volume when it is released from its claim."),
    column("Status", "string", "Whether the volume is available, bound to a claim, or released."),
    column("Claim", "string", "The claim the volume is bound to."),
    column("StorageClass", "string", "StorageClass of the pv"),
    column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv"),
    column("Reason", "string", "Why the volume is in a failed state."),
    AGE,
    wide("VolumeMode", "string", "Whether it is a formatted file system or a raw block device."),
];
/// The spec's fields that are not a volume's source.
const NOT_SOURCES: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// The strategy of PersistentVolumes.
pub struct PersistentVolume;

fn sources(obj: &Value) -> Vec<(&String, &Value)> {
    entries(obj, &["spec"])
        .filter(|(key, value)| !NOT_SOURCES.contains(&key.as_str()) && !value.is_null())
        .collect()
}

impl Strategy for PersistentVolume {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["status", "phase"], "Pending");
        default_text(obj, &["spec", "persistentVolumeReclaimPolicy"], "Retain");
        default_text(obj, &["spec", "volumeMode"], "Filesystem");
        if has(obj, &["spec", "hostPath"]) {
            default_to(obj, &["spec", "hostPath", "type"], "");
        }
        canonical_list(obj, &["spec", "capacity"]);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        let modes = texts(spec, &["accessModes"]);
        if modes.is_empty() {
            errors.push(FieldError::required(&path.child("accessModes"), ""));
        }
        errors.extend(validate_modes(&modes, &path.child("accessModes")));
        let capacity = path.child("capacity");
        if entries(spec, &["capacity"]).next().is_none() {
            errors.push(FieldError::required(&capacity, ""));
        }
        if !has(spec, &["capacity", "storage"]) || entries(spec, &["capacity"]).count() > 1 {
            errors.push(FieldError::not_supported(&capacity, at(spec, &["capacity"]), &["storage"]));
        }
        for (key, amount) in entries(spec, &["capacity"]) {
            if parse(amount).is_none_or(|amount| amount.sign() <= 0) {
                errors.push(FieldError::invalid(&capacity.key(key), amount, "must be greater than zero"));
            }
        }
        let policies = ["Delete", "Recycle", "Retain"];
        errors.extend(one_of_given(spec, "persistentVolumeReclaimPolicy", &policies, &path));
        if has(spec, &["nodeAffinity"]) {
            let path = path.child("nodeAffinity").child("required");
            if has(spec, &["nodeAffinity", "required"]) {
                errors.extend(validate_node_selector(at(spec, &["nodeAffinity", "required"]), &path));
            } else {
                errors.push(FieldError::required(&path, "must specify required node constraints"));
            }
        }
        errors.extend(volume_source::validate(obj, &sources(obj), &path));
        let class = text(spec, &["storageClassName"]);
        if !class.is_empty() {
            errors.extend(invalid_each(
                &path.child("storageClassName"),
                class,
                names::is_dns1123_subdomain(class),
            ));
        }
        errors.extend(one_of_given(spec, "volumeMode", &["Block", "Filesystem"], &path));
        errors.extend(volume_source::validate_attributes(spec, &path));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        let path = Path::new("spec");
        let mut now = obj.clone();
        const EXPAND: [&str; 3] = ["spec", "csi", "controllerExpandSecretRef"];
        if has(old, &["spec", "csi"]) && !has(old, &EXPAND) {
            remove(&mut now, &EXPAND);
        }
        if sources(&now) != sources(old) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.push(FieldError::forbidden(&path.child("persistentvolumesource"), detail));
        }
        let mode = |volume| at(volume, &["spec", "volumeMode"]);
        errors.extend(immutable(mode(obj), mode(old), &Path::new("volumeMode")));
        let affinity = |volume| at(volume, &["spec", "nodeAffinity"]);
        if !affinity(old).is_null() {
            errors.extend(volume_source::same_affinity(affinity(obj), affinity(old)));
        }
        const ATTRIBUTES: [&str; 2] = ["spec", "volumeAttributesClassName"];
        if has(old, &ATTRIBUTES) && !has(obj, &ATTRIBUTES) {
            let detail = "update from non-nil value to nil is forbidden";
            errors.push(FieldError::forbidden(&path.child("volumeAttributesClassName"), detail));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let phase = if has(obj, &["metadata", "deletionTimestamp"]) {
            "Terminating"
        } else {
            text(obj, &["status", "phase"])
        };
        let claim = match at(obj, &["spec", "claimRef"]) {
            Value::Null => String::new(),
            claim => format!("{}/{}", text(claim, &["namespace"]), text(claim, &["name"])),
        };
        let or_unset = |key: &str| at(obj, &["spec", key]).as_str().unwrap_or("<unset>");
        vec![
            name(obj),
            json!(at(obj, &["spec", "capacity", "storage"]).as_str().unwrap_or("0")),
            json!(short_access_modes(obj, &["spec", "accessModes"])),
            json!(text(obj, &["spec", "persistentVolumeReclaimPolicy"])),
            json!(phase),
            json!(claim),
            json!(text(obj, &["spec", "storageClassName"])),
            json!(or_unset("volumeAttributesClassName")),
            json!(text(obj, &["status", "reason"])),
            age(obj, now),
            json!(or_unset("volumeMode")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn a_volume_has_one_source() {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}});
        let (obj, errors) = create(&PersistentVolume, json!({"spec": spec}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            PersistentVolume.row(&obj, now())[1..5],
            [json!("1Gi"), json!("RWO"), json!("Retain"), json!("Pending")]
        );
        let none = json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}});
        assert_eq!(create(&PersistentVolume, none).1, ["spec: Required value: must specify a volume type"]);
    }
}
