//! What may change in a PersistentVolumeClaim, and what its status may say.
//!
//! Authority: upstream's ValidatePersistentVolumeClaimUpdate and ValidatePersistentVolumeClaimStatusUpdate.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::CLASS;
use crate::shared::access::{at, entries, has, remove, set, text};
use crate::shared::meta;
use crate::shared::quantities::parse;
use crate::shared::rules::{immutable, invalid_each};

const FIXED: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const ATTRIBUTES: &str = "volumeAttributesClassName";
const CURRENT_ATTRIBUTES: &str = "currentVolumeAttributesClassName";
const STORAGE: [&str; 3] = ["resources", "requests", "storage"];

fn keep(spec: &mut Value, before: &Value, path: &[&str]) {
    match at(before, path) {
        Value::Null => remove(spec, path),
        value => set(spec, path, value.clone()),
    }
}

/// Every error of a changed claim: a volume is given once, a bound one may grow and change its attributes.
pub fn validate(obj: &Value, old: &Value) -> Vec<FieldError> {
    let (new, before) = (at(obj, &["spec"]), at(old, &["spec"]));
    let mut errors = Vec::new();
    let mut masked = new.clone();
    if text(before, &["volumeName"]).is_empty() {
        keep(&mut masked, before, &["volumeName"]);
    }
    // A class once said in the annotation may move into the field; one never said may be given.
    let said = meta::annotation(old, CLASS);
    let given = !has(before, &["storageClassName"]) && has(new, &["storageClassName"]);
    let class = text(new, &["storageClassName"]);
    let now = meta::annotation(obj, CLASS);
    let moved = given && said == Some(class) && now.is_none_or(|now| now == class);
    if !moved && now != said {
        let path = Path::new("metadata").child("annotations").child(CLASS);
        errors.push(FieldError::invalid(&path, now.unwrap_or_default(), "field is immutable"));
    }
    if given && said.is_none_or(|name| name == class) {
        keep(&mut masked, before, &["storageClassName"]);
    }
    if text(obj, &["status", "phase"]) == "Bound" {
        if has(&masked, &["resources", "requests"]) {
            keep(&mut masked, before, &STORAGE);
        }
        keep(&mut masked, before, &[ATTRIBUTES]);
    }
    let path = Path::new("spec");
    if masked != *before {
        errors.push(FieldError::forbidden(&path, FIXED));
    }
    let size = |holder: &Value, path: &[&str]| parse(at(holder, path)).unwrap_or_default();
    if size(new, &STORAGE) < size(before, &STORAGE)
        && size(new, &STORAGE) <= size(old, &["status", "capacity", "storage"])
    {
        let path = path.child("resources").child("requests").child("storage");
        errors.push(FieldError::forbidden(&path, "field can not be less than status.capacity"));
    }
    let mode = |spec: &Value| at(spec, &["volumeMode"]).clone();
    errors.extend(immutable(&mode(new), &mode(before), &Path::new("volumeMode")));
    if new.get(ATTRIBUTES) != before.get(ATTRIBUTES) && has(old, &["status", CURRENT_ATTRIBUTES]) {
        errors.extend(validate_attributes(new, &path.child(ATTRIBUTES)));
    }
    errors
}

/// The error of a claim that gives up the attributes its volume has.
fn validate_attributes(new: &Value, path: &Path) -> Option<FieldError> {
    let what = match at(new, &[ATTRIBUTES]).as_str() {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return None,
    };
    let detail = format!("update to {what} is forbidden when status.{CURRENT_ATTRIBUTES} is not nil");
    Some(FieldError::forbidden(path, detail))
}

const RESIZES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// Every error of a claim's status.
pub fn validate_status(obj: &Value) -> Vec<FieldError> {
    let status = Path::new("status");
    let mut errors = Vec::new();
    for (name, amount) in entries(obj, &["status", "capacity"]) {
        errors.extend(basic(amount, &status.child("capacity").key(name)));
    }
    let path = status.child("allocatedResourceStatuses");
    for (name, state) in entries(obj, &["status", "allocatedResourceStatuses"]) {
        errors.extend(resource_key(name, &path));
        if !state.as_str().is_some_and(|state| RESIZES.contains(&state)) {
            errors.push(FieldError::not_supported(&path, name, RESIZES));
        }
    }
    let path = status.child("allocatedResources");
    for (name, amount) in entries(obj, &["status", "allocatedResources"]) {
        let found = resource_key(name, &path);
        if found.is_empty() {
            errors.extend(basic(amount, &path.key(name)));
        }
        errors.extend(found);
    }
    errors
}

fn basic(amount: &Value, path: &Path) -> Option<FieldError> {
    let value = parse(amount).map_or(0, |amount| amount.value());
    (value < 0).then(|| FieldError::invalid(path, value, "must be a valid resource quantity"))
}

fn resource_key(name: &str, path: &Path) -> Vec<FieldError> {
    let messages = names::is_qualified_name(name);
    if !messages.is_empty() {
        return invalid_each(path, name, messages);
    }
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if native && name != "storage" {
        return vec![FieldError::not_supported(path, name, &["storage"])];
    }
    Vec::new()
}
