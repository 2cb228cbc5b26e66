//! In-place resize of a pod's containers and of the pod as a whole.
//!
//! Authority: KEP-1287, KEP-5419; upstream's ValidatePodResize.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::qos;
use crate::shared::access::{at, entries, has, keep, list, list_mut, text};
use crate::shared::meta;

const MUTABLE: &str = "only cpu and memory resources are mutable";

/// The one error of a pod that cannot be resized at all.
fn never(old: &Value) -> Option<FieldError> {
    let root = Path::root();
    if meta::annotation(old, super::annotations::MIRROR).is_some() {
        return Some(FieldError::forbidden(&root, "static pods cannot be resized"));
    }
    (text(old, &["spec", "os", "name"]) == "windows")
        .then(|| FieldError::forbidden(&root, "windows pods cannot be resized"))
}

/// Every error of a resize, the new pod's own rules apart.
pub fn validate(obj: &Value, old: &Value, mut errors: Vec<FieldError>) -> Vec<FieldError> {
    if let Some(error) = never(old) {
        return vec![error];
    }
    let path = Path::new("spec");
    if qos::of_pod(old) != qos::class(at(obj, &["spec"])) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, qos::of_pod(old), detail));
    }
    let running = list(old, &["status", "containerStatuses"]).iter().find(|s| has(s, &["state", "running"]));
    if running.is_some_and(|status| !has(status, &["resources"])) {
        let detail = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors.extend(validate_removed(at(obj, &["spec"]), at(old, &["spec"]), &path));
    let mut masked = at(obj, &["spec"]).clone();
    let before = at(old, &["spec"]);
    mask(&mut masked, before);
    for (container, was) in list_mut(&mut masked, &["containers"]).zip(list(before, &["containers"])) {
        mask(container, was);
        if container != was {
            errors.push(FieldError::forbidden(&path, MUTABLE));
        }
    }
    for (container, was) in list_mut(&mut masked, &["initContainers"]).zip(list(before, &["initContainers"]))
    {
        let detail = if is_sidecar(was) {
            mask(container, was);
            "only cpu and memory resources for sidecar containers are mutable"
        } else {
            "resources for non-sidecar init containers are immutable"
        };
        if container != was {
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
    if errors.is_empty() && masked != *before {
        errors.push(FieldError::forbidden(&path, MUTABLE));
    }
    errors
}

fn is_sidecar(container: &Value) -> bool {
    text(container, &["restartPolicy"]) == "Always"
}

/// Takes the changes of cpu and memory back.
fn mask(holder: &mut Value, before: &Value) {
    for kind in ["limits", "requests"] {
        // A list that was not there cannot come: an amount added to one that was there is masked away.
        if !has(before, &["resources", kind]) {
            for name in ["cpu", "memory"] {
                crate::shared::access::remove(holder, &["resources", kind, name]);
            }
            if at(holder, &["resources", kind]).as_object().is_some_and(|map| map.is_empty()) {
                crate::shared::access::remove(holder, &["resources", kind]);
            }
            continue;
        }
        for name in ["cpu", "memory"] {
            keep(holder, before, &["resources", kind, name]);
        }
    }
}

/// The errors of requests and limits that were there and are gone.
fn validate_removed(new: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let mut pairs = Vec::new();
    for (index, was) in list(old, &["initContainers"]).iter().enumerate().filter(|(_, c)| is_sidecar(c)) {
        let now = list(new, &["initContainers"]).get(index).unwrap_or(&Value::Null);
        pairs.push((now, was, path.child("initContainers").index(index)));
    }
    for (index, was) in list(old, &["containers"]).iter().enumerate() {
        let now = list(new, &["containers"]).get(index).unwrap_or(&Value::Null);
        pairs.push((now, was, path.child("containers").index(index)));
    }
    pairs.push((new, old, path.clone()));
    let mut errors = Vec::new();
    for (now, was, path) in pairs {
        for kind in ["requests", "limits"] {
            if entries(was, &["resources", kind]).any(|(name, _)| !has(now, &["resources", kind, name])) {
                let detail = format!("resource {kind} cannot be removed");
                errors.push(FieldError::forbidden(&path.child("resources").child(kind), detail));
            }
        }
    }
    errors
}
