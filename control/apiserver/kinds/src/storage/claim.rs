//! PersistentVolumeClaims.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{ACCESS_MODES, short_access_modes};
use crate::shared::access::{at, default_text, drop_nulls, has, remove, set, text, texts};
use crate::shared::labels::validate_selector;
use crate::shared::meta;
use crate::shared::quantities::{canonical_list, parse};
use crate::shared::rules::{invalid_each, one_of_given};
use crate::table::{AGE, NAME, age, column, name, wide};
use crate::{Column, Facts, Strategy, generic};

fn initial_status() -> Value {
    json!({"phase": "Pending"})
}

static FACTS: Facts = Facts::namespaced("", "PersistentVolumeClaim", "persistentvolumeclaims")
    .with_initial_status(initial_status);
const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "The current phase of the claim."),
    column("Volume", "string", "The volume backing the claim."),
    column("Capacity", "string", "The actual resources of the underlying volume."),
    column("Access Modes", "string", "The actual access modes of the volume."),
    column("StorageClass", "string", "StorageClass of the pvc"),
    column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc"),
    AGE,
    wide("VolumeMode", "string", "What type of volume the claim needs."),
];
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The strategy of PersistentVolumeClaims.
pub struct PersistentVolumeClaim;

/// Every error of a claim's spec, in a claim or in a template.
pub fn validate_spec(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_selector(at(spec, &["selector"]), &path.child("selector"));
    let modes = texts(spec, &["accessModes"]);
    let modes_path = path.child("accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(&modes_path, "at least 1 access mode is required"));
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(FieldError::not_supported(&modes_path, mode, ACCESS_MODES));
    }
    if modes.contains(&"ReadWriteOncePod") && modes.len() > 1 {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(&modes_path, detail));
    }
    let storage_path = path.child("resources").key("storage");
    match at(spec, &["resources", "requests", "storage"]) {
        Value::Null => errors.push(FieldError::required(&storage_path, "")),
        storage if parse(storage).is_none_or(|amount| amount.sign() <= 0) => {
            errors.push(FieldError::invalid(&storage_path, storage, "must be greater than zero"));
        }
        _ => {}
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        let class = text(spec, &[key]);
        if !class.is_empty() {
            errors.extend(invalid_each(&path.child(key), class, names::is_dns1123_subdomain(class)));
        }
    }
    if has(spec, &["volumeMode"]) {
        errors.extend(one_of_given(spec, "volumeMode", &["Block", "Filesystem"], path));
    }
    errors
}

impl Strategy for PersistentVolumeClaim {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["spec", "volumeMode"], "Filesystem");
        default_text(obj, &["status", "phase"], "Pending");
        for path in [
            &["spec", "resources", "requests"][..],
            &["spec", "resources", "limits"],
            &["status", "capacity"],
        ] {
            canonical_list(obj, path);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_spec(at(obj, &["spec"]), &Path::new("spec")));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(self.validate(obj));
        let path = Path::new("spec");
        let mut masked = at(obj, &["spec"]).clone();
        let before = at(old, &["spec"]);
        let bound = text(old, &["status", "phase"]) == "Bound";
        let mut free = vec!["resources", "volumeAttributesClassName"];
        if text(before, &["volumeName"]).is_empty() {
            free.push("volumeName");
        }
        if !has(before, &["storageClassName"]) {
            free.push("storageClassName");
        }
        for key in free {
            match at(before, &[key]) {
                Value::Null => remove(&mut masked, &[key]),
                value => set(&mut masked, &[key], value.clone()),
            }
        }
        if masked != *before {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden(&path, detail));
        }
        let storage = |spec: &Value| parse(at(spec, &["resources", "requests", "storage"]));
        match (storage(at(obj, &["spec"])), storage(before)) {
            (Some(now), Some(was)) if now < was => {
                let detail = "field can not be less than status.capacity";
                errors.push(FieldError::forbidden(
                    &path.child("resources").child("requests").child("storage"),
                    detail,
                ));
            }
            (now, was) if now != was && !bound => {
                let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
                errors.push(FieldError::forbidden(&path, detail));
            }
            _ => {}
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
        let volume = text(obj, &["spec", "volumeName"]);
        let (capacity, modes) = if volume.is_empty() {
            (String::new(), String::new())
        } else {
            let capacity = at(obj, &["status", "capacity", "storage"]).as_str().unwrap_or("0").to_owned();
            (capacity, short_access_modes(obj, &["status", "accessModes"]))
        };
        let class = meta::annotation(obj, CLASS).unwrap_or_else(|| text(obj, &["spec", "storageClassName"]));
        let attributes =
            at(obj, &["status", "currentVolumeAttributesClassName"]).as_str().unwrap_or("<unset>");
        let mode = at(obj, &["spec", "volumeMode"]).as_str().unwrap_or("<unset>");
        vec![
            name(obj),
            json!(phase),
            json!(volume),
            json!(capacity),
            json!(modes),
            json!(class),
            json!(attributes),
            age(obj, now),
            json!(mode),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    fn claim() -> Value {
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    }

    #[test]
    fn a_claim_is_defaulted_checked_and_shown() {
        let (mut obj, errors) = create(&PersistentVolumeClaim, claim());
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(obj["status"], json!({"phase": "Pending"}));
        obj["spec"]["volumeName"] = json!("v");
        obj["status"] =
            json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
        assert_eq!(
            PersistentVolumeClaim.row(&obj, now())[1..5],
            [json!("Bound"), json!("v"), json!("1Gi"), json!("RWO")]
        );
        assert_eq!(
            create(&PersistentVolumeClaim, json!({"spec": {}})).1,
            [
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value"
            ]
        );
    }

    #[test]
    fn a_claim_may_be_bound_but_not_shrunk() {
        let (old, _) = create(&PersistentVolumeClaim, claim());
        let mut bound = old.clone();
        bound["spec"]["volumeName"] = json!("v");
        assert_eq!(update(&PersistentVolumeClaim, bound, &old).1, Vec::<String>::new());
        let mut other = old.clone();
        other["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
        assert!(
            update(&PersistentVolumeClaim, other, &old).1[0]
                .starts_with("spec: Forbidden: spec is immutable after creation")
        );
    }
}
