//! Volumes and claims (core group) and the storage.k8s.io group.

pub mod attachment;
pub mod attributes_class;
pub mod capacity;
pub mod claim;
mod claim_update;
pub mod class;
pub mod csi;
pub mod volume;
mod volume_source;
mod volume_spec;

use serde_json::Value;
use xebec_api::field::Path;

use crate::shared::access::{at, has, text, texts};
use crate::shared::meta;

/// The annotation of a class, from before there was a field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The class of a claim or a volume, as kubectl shows it.
fn class_of(obj: &Value) -> &str {
    meta::annotation(obj, CLASS).unwrap_or_else(|| text(obj, &["spec", "storageClassName"]))
}

/// The warning about a class in the annotation.
fn class_warning(obj: &Value) -> Option<String> {
    meta::annotation(obj, CLASS)?;
    let path = Path::new("metadata").child("annotations").key(CLASS);
    Some(format!("{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"))
}

/// The phase of a claim or a volume, as kubectl shows it.
fn phase_of(obj: &Value) -> &str {
    let leaving = has(obj, &["metadata", "deletionTimestamp"]);
    if leaving { "Terminating" } else { text(obj, &["status", "phase"]) }
}

/// A field of the spec, as kubectl shows one that may be unset.
fn or_unset<'a>(obj: &'a Value, key: &str) -> &'a str {
    at(obj, &["spec", key]).as_str().unwrap_or("<unset>")
}

/// The access modes a volume can be mounted with.
pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Access modes as kubectl shows them: `RWO,ROX`.
pub fn short_access_modes(holder: &Value, path: &[&str]) -> String {
    let found = texts(holder, path);
    let order = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown = order.iter().filter(|(mode, _)| found.contains(mode)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tables;
