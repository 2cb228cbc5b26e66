//! Annotations that mean something on a pod.
//!
//! Authority: upstream's ValidatePodSpecificAnnotations and ValidatePodSpecificAnnotationUpdates.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::profiles;
use crate::shared::access::text;
use crate::shared::meta;

/// The annotation of a pod that a kubelet runs from a file and only shows here.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The prefix of the annotations with a container's AppArmor profile.
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Every error of the annotations of a pod or template.
pub fn validate(obj: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(value) = meta::annotation(obj, MIRROR)
        && text(obj, &["spec", "nodeName"]).is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), value, detail));
    }
    if let Some(cost) = meta::annotation(obj, DELETION_COST).filter(|cost| !is_cost(cost)) {
        errors.push(FieldError::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    errors.extend(profiles::validate_annotations(obj, path));
    errors
}

/// True for a plain decimal of 32 bits: no plus sign, no leading zeros.
fn is_cost(text: &str) -> bool {
    let starts_well =
        text == "0" || text.starts_with('-') || text.starts_with(|c: char| ('1'..='9').contains(&c));
    starts_well && text.parse::<i32>().is_ok()
}

/// Every error of annotations that were changed, beside what [`validate`] finds.
pub fn validate_update(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let (now, before) = (meta::map_at(obj, "annotations"), meta::map_at(old, "annotations"));
    let mut errors = Vec::new();
    for (key, _) in before.iter().filter(|(key, value)| now.get(*key) != Some(value)) {
        if key.starts_with(APP_ARMOR) {
            let detail = "may not remove or update AppArmor annotations";
            errors.push(FieldError::forbidden(&path.key(key), detail));
        }
        if key == MIRROR {
            let detail = "may not remove or update mirror pod annotation";
            errors.push(FieldError::forbidden(&path.key(key), detail));
        }
    }
    for (key, _) in now.iter().filter(|(key, _)| !before.contains_key(*key)) {
        if key.starts_with(APP_ARMOR) {
            errors.push(FieldError::forbidden(&path.key(key), "may not add AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(FieldError::forbidden(&path.key(key), "may not add mirror pod annotation"));
        }
    }
    errors.extend(validate(obj, path));
    errors
}
