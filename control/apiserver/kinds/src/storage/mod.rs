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

use crate::shared::access::texts;

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
