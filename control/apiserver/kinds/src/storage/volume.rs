//! PersistentVolumes.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::time::format_rfc3339_seconds;

use super::volume_spec::{self, Holder};
use super::{class_of, class_warning, or_unset, phase_of, short_access_modes, volume_source};
use crate::pod::defaults::sources_outside;
use crate::shared::access::{at, at_mut, default_text, default_to, drop_nulls, has, list, remove, set, text};
use crate::shared::meta;
use crate::shared::node_labels::expression_warnings;
use crate::shared::quantities::canonical_list;
use crate::shared::rules::immutable;
use crate::table::{AGE, NAME, age, column, name, wide};
use crate::{Column, Context, Facts, Strategy, generic};

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
const CHANGED: [&str; 2] = ["status", "lastPhaseTransitionTime"];

/// The strategy of PersistentVolumes.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["status", "phase"], "Pending");
        default_text(obj, &["spec", "persistentVolumeReclaimPolicy"], "Retain");
        default_to(obj, &["spec", "volumeMode"], "Filesystem");
        at_mut(obj, &["spec"]).into_iter().for_each(sources_outside);
        canonical_list(obj, &["spec", "capacity"]);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let holder = Holder::Volume(meta::name(obj));
        errors.extend(volume_spec::validate(at(obj, &["spec"]), holder, &Path::new("spec")));
        errors.extend(volume_source::validate_mount_options(obj));
        errors
    }

    fn prepare_for_create(&self, ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        set(obj, &CHANGED, json!(format_rfc3339_seconds(ctx.now)));
    }

    /// The time of the last change of phase is the server's, unless the client says it.
    fn prepare_for_status_update(&self, ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        let phase = |volume| at(volume, &["status", "phase"]);
        let (said, before) = (at(obj, &CHANGED), at(old, &CHANGED));
        if phase(obj) != phase(old) && (said.is_null() || said == before) {
            set(obj, &CHANGED, json!(format_rfc3339_seconds(ctx.now)));
        } else if said.is_null() && !before.is_null() {
            set(obj, &CHANGED, before.clone());
        }
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        let mut warnings = Vec::from_iter(class_warning(obj));
        if text(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle" {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let terms = path.child("nodeAffinity").child("required").child("nodeSelectorTerms");
        for (index, term) in list(spec, &["nodeAffinity", "required", "nodeSelectorTerms"]).iter().enumerate()
        {
            warnings.extend(expression_warnings(term, false, &terms.index(index)));
        }
        warnings.extend(volume_source::warnings(spec, &path));
        warnings
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
        let sources = |volume| volume_source::all(at(volume, &["spec"]));
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
        let claim = match at(obj, &["spec", "claimRef"]) {
            Value::Null => String::new(),
            claim => format!("{}/{}", text(claim, &["namespace"]), text(claim, &["name"])),
        };
        vec![
            name(obj),
            json!(at(obj, &["spec", "capacity", "storage"]).as_str().unwrap_or("0")),
            json!(short_access_modes(obj, &["spec", "accessModes"])),
            json!(text(obj, &["spec", "persistentVolumeReclaimPolicy"])),
            json!(phase_of(obj)),
            json!(claim),
            json!(class_of(obj)),
            json!(or_unset(obj, "volumeAttributesClassName")),
            json!(text(obj, &["status", "reason"])),
            age(obj, now),
            json!(or_unset(obj, "volumeMode")),
        ]
    }
}
