//! In-place resize of a pod's containers and of the pod as a whole.
//!
//! Authority: KEP-1287, KEP-5419; upstream's dropNonResizeUpdates and ValidatePodResize.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::qos;
use crate::shared::access::{at, entries, has, keep, list, remove, set, text};
use crate::shared::meta;
use crate::shared::rules::whole_object;

const MUTABLE: &str = "only cpu and memory resources are mutable";
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Takes everything but resources and resize policies back from the old pod. Containers that were added, removed,
/// renamed or moved stay as they are sent, for [`validate`] to find.
pub fn only_resources(obj: &mut Value, old: &Value) {
    let (sent, before) = (at(obj, &["spec"]).clone(), at(old, &["spec"]));
    if LISTS.iter().any(|key| list(&sent, &[key]).len() != list(before, &[key]).len()) {
        return;
    }
    let mut spec = before.clone();
    keep(&mut spec, &sent, &["resources"]);
    for key in LISTS {
        let (now, was) = (list(&sent, &[key]), list(before, &[key]));
        let same = now.iter().zip(was).all(|(now, was)| text(now, &["name"]) == text(was, &["name"]));
        if !same {
            set(&mut spec, &[key], json!(now));
        } else if !now.is_empty() {
            let resized = |(now, was): (&Value, &Value)| {
                let mut container = was.clone();
                keep(&mut container, now, &["resources"]);
                keep(&mut container, now, &["resizePolicy"]);
                container
            };
            set(&mut spec, &[key], now.iter().zip(was).map(resized).collect());
        }
    }
    set(obj, &["spec"], spec);
    keep(obj, old, &["status"]);
    meta::keep_for_status(obj, old);
}

/// The one error of a pod that cannot be resized at all.
fn never(old: &Value) -> Option<FieldError> {
    if meta::annotation(old, super::annotations::MIRROR).is_some() {
        return Some(FieldError::forbidden(&whole_object(), "static pods cannot be resized"));
    }
    (text(old, &["spec", "os", "name"]) == "windows")
        .then(|| FieldError::forbidden(&whole_object(), "windows pods cannot be resized"))
}

/// Every error of a resize; `errors` are those of the new pod's own rules.
pub fn validate(obj: &Value, old: &Value, mut errors: Vec<FieldError>) -> Vec<FieldError> {
    if let Some(error) = never(old) {
        return vec![error];
    }
    let (path, now, before) = (Path::new("spec"), at(obj, &["spec"]), at(old, &["spec"]));
    if qos::of_pod(old) != qos::class(now) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, qos::of_pod(old), detail));
    }
    let running = list(old, &["status", "containerStatuses"]).iter().find(|s| has(s, &["state", "running"]));
    if running.is_some_and(|status| !has(status, &["resources"])) {
        let detail = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden(&path, detail));
    }
    let mut masked = now.clone();
    if bounds(now) || bounds(before) {
        errors.extend(validate_whole_pod(&mut masked, before, &path));
    }
    let moved = validate_same_containers(now, before, &path);
    if !moved.is_empty() {
        errors.extend(moved);
        return errors;
    }
    errors.extend(validate_kept(now, before, &path));
    for key in LISTS {
        let mut containers = list(&masked, &[key]).to_vec();
        for (container, was) in containers.iter_mut().zip(list(before, &[key])) {
            let detail = match (key, is_sidecar(was)) {
                ("containers", _) => MUTABLE,
                (_, true) => "only cpu and memory resources for sidecar containers are mutable",
                (_, false) => "resources for non-sidecar init containers are immutable",
            };
            if key == "containers" || is_sidecar(was) {
                // As upstream, which leaves a container's claims out here: one that has any cannot be resized.
                remove(container, &["resources", "claims"]);
                mask(container, was);
            }
            if container != was {
                errors.push(FieldError::forbidden(&path, detail));
            }
        }
        if !containers.is_empty() {
            set(&mut masked, &[key], Value::Array(containers));
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

/// True when the pod as a whole has requests or limits.
fn bounds(spec: &Value) -> bool {
    ["requests", "limits"].iter().any(|kind| entries(spec, &["resources", kind]).next().is_some())
}

/// Every error of what changes in the pod's own resources; takes their changes back in `masked`.
fn validate_whole_pod(masked: &mut Value, before: &Value, path: &Path) -> Vec<FieldError> {
    let (resources, own) = (["resources"], path.child("resources"));
    if has(before, &resources) && !has(masked, &resources) {
        return vec![FieldError::forbidden(&own, "pod-level resources cannot be removed")];
    }
    let mut errors = Vec::new();
    for kind in removed(masked, before) {
        let detail = format!("pod-level resource {kind} cannot be removed");
        errors.push(FieldError::forbidden(&own.child(kind), detail));
    }
    mask(masked, before);
    if !has(before, &resources) && at(masked, &resources).as_object().is_some_and(|map| map.is_empty()) {
        remove(masked, &resources);
    }
    if at(masked, &resources) != at(before, &resources) {
        let detail = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// The errors of containers that are not where they were.
fn validate_same_containers(now: &Value, before: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in LISTS {
        let (now, before, path) = (list(now, &[key]), list(before, &[key]), path.child(key));
        if now.len() != before.len() {
            let detail = format!("{key} may not be added or removed on resize");
            errors.push(FieldError::forbidden(&path, detail));
            continue;
        }
        for (index, (now, before)) in now.iter().zip(before).enumerate() {
            if text(now, &["name"]) != text(before, &["name"]) {
                let detail = format!("{key} may not be renamed or reordered on resize");
                errors.push(FieldError::forbidden(&path.index(index).child("name"), detail));
            }
        }
    }
    errors
}

/// The kinds of amounts of which one was there and is gone.
fn removed<'a>(now: &'a Value, before: &'a Value) -> impl Iterator<Item = &'static str> {
    ["requests", "limits"].into_iter().filter(|kind| {
        entries(before, &["resources", kind]).any(|(name, _)| !has(now, &["resources", kind, name]))
    })
}

/// The errors of requests and limits of containers that were there and are gone.
fn validate_kept(now: &Value, before: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["initContainers", "containers"] {
        let pairs = list(now, &[key]).iter().zip(list(before, &[key])).enumerate();
        for (index, (now, before)) in pairs.filter(|(_, (_, c))| key == "containers" || is_sidecar(c)) {
            for kind in removed(now, before) {
                let path = path.child(key).index(index).child("resources").child(kind);
                errors.push(FieldError::forbidden(&path, format!("resource {kind} cannot be removed")));
            }
        }
    }
    errors
}

/// Takes the changes of cpu and memory back.
fn mask(holder: &mut Value, before: &Value) {
    for kind in ["limits", "requests"] {
        for name in ["cpu", "memory"] {
            keep(holder, before, &["resources", kind, name]);
        }
        let list = ["resources", kind];
        // A list that is empty now says as much as one that was not there.
        if !has(before, &list) && at(holder, &list).as_object().is_some_and(|map| map.is_empty()) {
            remove(holder, &list);
        }
    }
}
