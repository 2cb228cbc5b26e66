//! VolumeAttachments: a volume that is, or should be, attached to a node.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::volume_spec::{self, Holder};
use crate::shared::access::{at, drop_nulls, entries, flag, has, int, text};
use crate::shared::formats::{driver_name, subdomain};
use crate::shared::meta;
use crate::shared::rules::{immutable, required};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, Strategy, generic};

fn initial_status() -> Value {
    json!({"attached": false})
}

static FACTS: Facts = Facts::cluster("storage.k8s.io", "VolumeAttachment", "volumeattachments")
    .with_initial_status(initial_status);
const COLUMNS: &[Column] = &[
    NAME,
    Column {
        format: "name",
        ..column("Attacher", "string", "The name of the volume driver that must handle this request.")
    },
    column("PV", "string", "The name of the persistent volume to attach."),
    column("Node", "string", "The node that the volume should be attached to."),
    column("Attached", "boolean", "Whether the volume is attached."),
    AGE,
];
const METADATA_MAX_BYTES: usize = 256 * 1024;
const MESSAGE_MAX_BYTES: usize = 1024;

/// The strategy of VolumeAttachments.
pub struct VolumeAttachment;

fn validate_source(source: &Value, path: &Path) -> Vec<FieldError> {
    let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let volume_path = path.child("persistentVolumeName");
    match (at(source, &["persistentVolumeName"]).as_str(), has(source, &["inlineVolumeSpec"])) {
        (None, false) => vec![FieldError::required(path, detail)],
        (Some(_), true) => vec![FieldError::forbidden(path, detail)],
        (Some(""), false) => {
            vec![FieldError::required(&volume_path, "must specify non empty persistentVolumeName")]
        }
        (Some(_), false) => Vec::new(),
        (None, true) => {
            let path = path.child("inlineVolumeSpec");
            volume_spec::validate(at(source, &["inlineVolumeSpec"]), Holder::Attachment, &path)
        }
    }
}

fn validate_status(status: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = entries(status, &["attachmentMetadata"]);
    let size: usize = metadata.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > METADATA_MAX_BYTES {
        errors.push(FieldError::too_long(&path.child("attachmentMetadata"), METADATA_MAX_BYTES));
    }
    for key in ["attachError", "detachError"] {
        let path = path.child(key);
        if text(status, &[key, "message"]).len() > MESSAGE_MAX_BYTES {
            // Upstream names the metadata's limit here, not the message's.
            errors.push(FieldError::too_long(&path.child("message"), METADATA_MAX_BYTES));
        }
        if let Some(code) = int(status, &[key, "errorCode"]).filter(|code| *code < 0) {
            let detail = xebec_api::names::inclusive_range_error(0, i64::from(i32::MAX));
            errors.push(FieldError::invalid(&path.child("errorCode"), code, detail));
        }
    }
    errors
}

/// What every version checks; v1's own checks of a new object follow in `validate`.
fn validate_common(obj: &Value) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    errors.extend(required(spec, "attacher", &path));
    errors.extend(validate_source(at(spec, &["source"]), &path.child("source")));
    errors.extend(subdomain(text(spec, &["nodeName"]), &path.child("nodeName")));
    errors.extend(validate_status(at(obj, &["status"]), &Path::new("status")));
    errors
}

impl Strategy for VolumeAttachment {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = validate_common(obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        errors.extend(driver_name(text(spec, &["attacher"]), &path.child("attacher")));
        if let Some(volume) = at(spec, &["source", "persistentVolumeName"]).as_str() {
            errors.extend(subdomain(volume, &path.child("source").child("persistentVolumeName")));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_common(obj);
        errors.extend(immutable(at(obj, &["spec"]), at(old, &["spec"]), &Path::new("spec")));
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        meta::keep_for_status(obj, old);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        self.validate_update(obj, old)
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(obj),
            json!(text(obj, &["spec", "attacher"])),
            json!(text(obj, &["spec", "source", "persistentVolumeName"])),
            json!(text(obj, &["spec", "nodeName"])),
            json!(flag(obj, &["status", "attached"])),
            age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    fn base() -> Value {
        json!({"spec": {"attacher": "x.y", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}})
    }

    #[test]
    fn defaults_and_table() {
        let table = Table::of(&VolumeAttachment, base());
        table.defaults(&[(json!({"status": {"attached": true}}), json!({"status": {"attached": false}}))]);
        table.columns(&["Name", "Attacher", "PV", "Node", "Attached", "Age"]);
        assert_eq!(VolumeAttachment.columns()[1].format, "name");
        table.rows(&[(json!({"status.attached": true}), json!(["a", "x.y", "pv", "n", true, "60m"]))]);
        table.status_is_separate(
            &json!({"status.attached": true}),
            &json!({"spec.nodeName": "m", "metadata.labels": {"a": "b"}}),
        );
        assert!(!VolumeAttachment.unconditional_update());
    }

    #[test]
    fn fields_are_checked() {
        let table = Table::of(&VolumeAttachment, base());
        let inline = |value: Value| json!({"spec.source": {"inlineVolumeSpec": value}});
        let csi = json!({"driver": "x.y", "volumeHandle": "h"});
        table.valid(&[("inline", inline(json!({"csi": csi, "accessModes": ["ReadWriteOnce"]})))]);
        let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        table.invalid(&[
            (
                "no attacher",
                json!({"spec.attacher": ""}),
                &[
                    "spec.attacher: Required value",
                    "spec.attacher: Required value",
                    &format!("spec.attacher: Invalid value: \"\": {subdomain}"),
                ],
            ),
            (
                "no source",
                json!({"spec.source": {}}),
                &["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
            ),
            (
                "both sources",
                json!({"spec.source.inlineVolumeSpec": {}}),
                &["spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
            ),
            (
                "no node",
                json!({"spec.nodeName": null}),
                &[&format!("spec.nodeName: Invalid value: \"\": {subdomain}")],
            ),
            (
                "an inline volume of everything",
                inline(json!({"claimRef": {}, "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete", "nodeAffinity": {}})),
                &[
                    "spec.source.inlineVolumeSpec.claimRef: Forbidden: may not be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.accessModes: Required value",
                    "spec.source.inlineVolumeSpec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.nodeAffinity: Forbidden: may not be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec: Required value: must specify a volume type",
                ],
            ),
            (
                "an inline volume of two kinds, of a class",
                inline(json!({"csi": csi, "nfs": {"server": "s", "path": "/"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "c", "volumeMode": "Block"})),
                &[
                    "spec.source.inlineVolumeSpec.csi: Forbidden: may not specify more than 1 volume type",
                    "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
                ],
            ),
        ]);
        table.updates(&[
            ("labels", json!({"metadata.labels": {"a": "b"}}), &[]),
            (
                "the node",
                json!({"spec.nodeName": "m"}),
                &["spec: Invalid value: {\"attacher\":\"x.y\",\"nodeName\":\"m\",\"source\":{\"persistentVolumeName\":\"pv\"}}: field is immutable"],
            ),
        ]);
        table.status(&[
            ("attached", json!({"status.attached": true}), &[]),
            (
                "errors",
                json!({"status.attachError": {"message": "x".repeat(1025), "errorCode": -1}}),
                &[
                    "status.attachError.message: Too long: may not be more than 262144 bytes",
                    "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                ],
            ),
        ]);
    }
}
