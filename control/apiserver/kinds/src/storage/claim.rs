//! PersistentVolumeClaims.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{ACCESS_MODES, claim_update, class_of, class_warning, or_unset, phase_of, short_access_modes};
use crate::shared::access::{at, default_text, default_to, drop_nulls, has, remove, set, text, texts};
use crate::shared::labels::validate_selector;
use crate::shared::quantities::{canonical_list, parse};
use crate::shared::rules::{invalid_each, one_of_given, required};
use crate::table::{AGE, NAME, age, column, name, wide};
use crate::{Column, Context, Facts, Strategy, generic};

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

/// The strategy of PersistentVolumeClaims.
pub struct PersistentVolumeClaim;

/// Every error of a claim's spec, in a claim or in a template.
pub fn validate_spec(spec: &Value, path: &Path) -> Vec<FieldError> {
    let modes = texts(spec, &["accessModes"]);
    let modes_path = path.child("accessModes");
    let mut errors = Vec::new();
    if modes.is_empty() {
        errors.push(FieldError::required(&modes_path, "at least 1 access mode is required"));
    }
    errors.extend(validate_selector(at(spec, &["selector"]), &path.child("selector")));
    errors.extend(validate_modes(&modes, &modes_path));
    let storage_path = path.child("resources").key("storage");
    match at(spec, &["resources", "requests", "storage"]) {
        Value::Null => errors.push(FieldError::required(&storage_path, "")),
        storage if parse(storage).is_none_or(|amount| amount.sign() <= 0) => {
            errors.push(FieldError::invalid(&storage_path, storage, "must be greater than zero"));
        }
        _ => {}
    }
    errors.extend(class_name(spec, "storageClassName", path));
    if has(spec, &["volumeMode"]) {
        errors.extend(one_of_given(spec, "volumeMode", &["Block", "Filesystem"], path));
    }
    for key in ["dataSource", "dataSourceRef"] {
        if has(spec, &[key]) {
            errors.extend(validate_source(at(spec, &[key]), &path.child(key)));
        }
    }
    let both = has(spec, &["dataSource"]) && has(spec, &["dataSourceRef"]);
    let elsewhere = !text(spec, &["dataSourceRef", "namespace"]).is_empty();
    let shown = path.child("dataSource").to_string();
    if both && elsewhere {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(FieldError::invalid(path, &shown, detail));
    } else if both {
        let same = |key: &str| at(spec, &["dataSource", key]) == at(spec, &["dataSourceRef", key]);
        if !["apiGroup", "kind", "name"].into_iter().all(same) {
            errors.push(FieldError::invalid(path, &shown, "must match dataSourceRef"));
        }
    }
    errors.extend(class_name(spec, "volumeAttributesClassName", path));
    errors
}

/// The warnings about a claim's spec, in a claim or in a template: storage is counted in whole bytes.
pub fn spec_warnings(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for key in ["requests", "limits"] {
        let amount = parse(at(spec, &["resources", key, "storage"])).unwrap_or_default();
        if amount.milli_value() % 1000 != 0 {
            let path = path.child("resources").child(key).key("storage");
            warnings
                .push(format!("{path}: fractional byte value \"{amount}\" is invalid, must be an integer"));
        }
    }
    warnings
}

/// A dataSource and a dataSourceRef say the same, whichever the client gave.
///
/// Authority: DropDisabledFields, EnforceDataSourceBackwardsCompatibility and NormalizeDataSources of
/// pkg/api/persistentvolumeclaim; a source of another namespace is behind a gate that is off.
fn prepare_sources(obj: &mut Value, old: &Value) {
    const SOURCE: [&str; 2] = ["spec", "dataSource"];
    const REFERENCE: [&str; 2] = ["spec", "dataSourceRef"];
    if !text(obj, &["spec", "dataSourceRef", "namespace"]).is_empty() && !has(old, &REFERENCE) {
        remove(obj, &REFERENCE);
    }
    // Only a dataSourceRef takes objects of other kinds: old servers dropped what they did not know.
    let known = matches!(
        (text(obj, &["spec", "dataSource", "apiGroup"]), text(obj, &["spec", "dataSource", "kind"])),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    );
    if !known && !has(obj, &REFERENCE) && !has(old, &SOURCE) && !has(old, &REFERENCE) {
        remove(obj, &SOURCE);
    }
    let elsewhere = !text(obj, &["spec", "dataSourceRef", "namespace"]).is_empty();
    let (from, to) = match (has(obj, &SOURCE), has(obj, &REFERENCE)) {
        (true, false) => (SOURCE, REFERENCE),
        (false, true) if !elsewhere => (REFERENCE, SOURCE),
        _ => return,
    };
    let mut copy = at(obj, &from).clone();
    remove(&mut copy, &["namespace"]);
    set(obj, &to, copy);
}

fn class_name(spec: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    match text(spec, &[key]) {
        "" => Vec::new(),
        class => invalid_each(&path.child(key), class, names::is_dns1123_subdomain(class)),
    }
}

/// Every error of access modes, of a claim or a volume.
pub fn validate_modes(modes: &[&str], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(FieldError::not_supported(path, mode, ACCESS_MODES));
    }
    let other = modes.iter().any(|mode| *mode != "ReadWriteOncePod" && ACCESS_MODES.contains(mode));
    if modes.contains(&"ReadWriteOncePod") && other {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// Every error of what a claim's volume is filled from.
fn validate_source(source: &Value, path: &Path) -> Vec<FieldError> {
    let (group, kind) = (text(source, &["apiGroup"]), text(source, &["kind"]));
    let mut errors = required(source, "name", path);
    errors.extend(required(source, "kind", path));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(path, kind, detail));
    }
    if !group.is_empty() {
        errors.extend(invalid_each(&path.child("apiGroup"), group, names::is_dns1123_subdomain(group)));
    }
    let namespace = text(source, &["namespace"]);
    if !namespace.is_empty() {
        let messages = names::is_dns1123_label(namespace);
        errors.extend(invalid_each(&path.child("namespace"), namespace, messages));
    }
    errors
}

impl Strategy for PersistentVolumeClaim {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "volumeMode"], "Filesystem");
        default_text(obj, &["status", "phase"], "Pending");
        for path in [
            &["spec", "resources", "requests"][..],
            &["spec", "resources", "limits"],
            &["status", "capacity"],
            &["status", "allocatedResources"],
        ] {
            canonical_list(obj, path);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_spec(at(obj, &["spec"]), &Path::new("spec")));
        errors
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        prepare_sources(obj, &Value::Null);
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        prepare_sources(obj, old);
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let of_spec = spec_warnings(at(obj, &["spec"]), &Path::new("spec"));
        class_warning(obj).into_iter().chain(of_spec).collect()
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(self.validate(obj));
        errors.extend(claim_update::validate(obj, old));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(claim_update::validate_status(obj));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let volume = text(obj, &["spec", "volumeName"]);
        let (capacity, modes) = if volume.is_empty() {
            (String::new(), String::new())
        } else {
            let capacity = at(obj, &["status", "capacity", "storage"]).as_str().unwrap_or("0").to_owned();
            (capacity, short_access_modes(obj, &["status", "accessModes"]))
        };
        vec![
            name(obj),
            json!(phase_of(obj)),
            json!(volume),
            json!(capacity),
            json!(modes),
            json!(class_of(obj)),
            json!(or_unset(obj, "volumeAttributesClassName")),
            age(obj, now),
            json!(or_unset(obj, "volumeMode")),
        ]
    }
}
