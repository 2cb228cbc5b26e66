//! What an update may change in a pod.
//!
//! Authority: upstream's ValidatePodUpdate and ValidatePodEphemeralContainersUpdate.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::scheduling::validate_tolerations;
use super::{annotations, tightening};
use crate::shared::access::{at, int, keep, list, list_mut, remove, set, text};
use crate::shared::meta;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Every error of what an update changes in a pod's spec and annotations.
pub fn validate(obj: &Value, old: &Value) -> Vec<FieldError> {
    let annotations_path = Path::new("metadata").child("annotations");
    let mut errors = annotations::validate_update(obj, old, &annotations_path);
    let path = Path::new("spec");
    let (new_spec, old_spec) = (at(obj, &["spec"]), at(old, &["spec"]));
    for key in ["containers", "initContainers"] {
        let (found, stop) = validate_images(list(new_spec, &[key]), list(old_spec, &[key]), &path.child(key));
        errors.extend(found);
        if stop {
            return errors;
        }
    }
    let (found, stop) = validate_deadline(new_spec, old_spec, &path.child("activeDeadlineSeconds"));
    errors.extend(found);
    if stop {
        return errors;
    }
    errors.extend(validate_added_tolerations(new_spec, old_spec, &path.child("tolerations")));
    errors.extend(validate_gates(new_spec, old_spec, &path.child("schedulingGates")));
    if new_spec == old_spec {
        return errors;
    }
    let mut masked = mask(new_spec, old_spec);
    if !list(old_spec, &["schedulingGates"]).is_empty() {
        errors.extend(tightening::validate(&mut masked, old_spec, &path));
    }
    if masked != *old_spec {
        let changed = changes(&masked, old_spec, "").join("\n");
        errors.push(FieldError::forbidden(&path, format!("{ALLOWED}\n{changed}")));
    }
    errors
}

fn validate_images(new: &[Value], old: &[Value], path: &Path) -> (Vec<FieldError>, bool) {
    if new.len() != old.len() {
        return (vec![FieldError::forbidden(path, "pod updates may not add or remove containers")], true);
    }
    let mut errors = Vec::new();
    for (index, container) in new.iter().enumerate() {
        let image = text(container, &["image"]);
        let path = path.index(index).child("image");
        if image.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        if image.trim() != image {
            errors.push(FieldError::invalid(&path, image, "must not have leading or trailing whitespace"));
        }
    }
    (errors, false)
}

fn validate_deadline(new: &Value, old: &Value, path: &Path) -> (Vec<FieldError>, bool) {
    let seconds = |spec: &Value| int(spec, &["activeDeadlineSeconds"]);
    let detail = match (seconds(new), seconds(old)) {
        (Some(value), _) if !(0..=i64::from(i32::MAX)).contains(&value) => {
            "must be between 0 and 2147483647, inclusive"
        }
        (Some(value), Some(before)) if before < value => "must be less than or equal to previous value",
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            return (vec![FieldError::invalid(path, Value::Null, detail)], false);
        }
        _ => return (Vec::new(), false),
    };
    (vec![FieldError::invalid(path, seconds(new), detail)], true)
}

fn validate_gates(new: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let gates = |spec: &Value| -> Vec<String> {
        list(spec, &["schedulingGates"]).iter().map(|gate| text(gate, &["name"]).to_owned()).collect()
    };
    let before = gates(old);
    let added = gates(new).into_iter().enumerate().filter(|(_, name)| !before.contains(name));
    added
        .map(|(index, name)| {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            FieldError::forbidden(&path.index(index).child("name"), detail)
        })
        .collect()
}

fn validate_added_tolerations(new: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        remove(&mut toleration, &["tolerationSeconds"]);
        toleration
    };
    let now: Vec<Value> = list(new, &["tolerations"]).iter().map(without_seconds).collect();
    if list(old, &["tolerations"]).iter().any(|toleration| !now.contains(&without_seconds(toleration))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        return vec![FieldError::forbidden(path, detail)];
    }
    validate_tolerations(list(new, &["tolerations"]), path)
}

/// The new spec with every change that is allowed taken back: what still differs is forbidden.
fn mask(new: &Value, old: &Value) -> Value {
    let mut masked = new.clone();
    for key in ["containers", "initContainers"] {
        for (item, before) in list_mut(&mut masked, &[key]).zip(list(old, &[key])) {
            keep(item, before, &["image"]);
        }
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        keep(&mut masked, old, &[key]);
    }
    let seconds = |spec: &Value| int(spec, &["terminationGracePeriodSeconds"]);
    if seconds(old).is_some_and(|before| before < 0) && seconds(new) == Some(1) {
        keep(&mut masked, old, &["terminationGracePeriodSeconds"]);
    }
    masked
}

/// The paths whose values differ, each with both values.
pub(super) fn changes(new: &Value, old: &Value, path: &str) -> Vec<String> {
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let pair = |key: &str| (at(new, &[key]), at(old, &[key]));
            keys.into_iter()
                .filter(|key| pair(key).0 != pair(key).1)
                .flat_map(|key| changes(pair(key).0, pair(key).1, &format!("{path}.{key}")))
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .filter(|(_, (a, b))| a != b)
            .flat_map(|(index, (a, b))| changes(a, b, &format!("{path}[{index}]")))
            .collect(),
        _ => vec![format!("  {}: {old} -> {new}", path.trim_start_matches('.'))],
    }
}

/// Takes everything but the ephemeral containers back from the old pod.
pub fn only_ephemeral_containers(obj: &mut Value, old: &Value) {
    let mut spec = at(old, &["spec"]).clone();
    keep(&mut spec, at(obj, &["spec"]), &["ephemeralContainers"]);
    set(obj, &["spec"], spec);
    keep(obj, old, &["status"]);
    meta::keep_for_status(obj, old);
}

/// Every error of an update through the `ephemeralcontainers` subresource, the new pod's own rules apart:
/// containers may only be added.
pub fn validate_ephemeral(obj: &Value, old: &Value) -> Vec<FieldError> {
    let metadata = Path::new("metadata").child("annotations");
    let mut errors = annotations::validate_update(obj, old, &metadata);
    let path = Path::new("spec").child("ephemeralContainers");
    let now = list(obj, &["spec", "ephemeralContainers"]);
    for before in list(old, &["spec", "ephemeralContainers"]) {
        let name = text(before, &["name"]);
        match now.iter().position(|container| text(container, &["name"]) == name) {
            None => {
                let detail = format!("existing ephemeral containers \"{name}\" may not be removed\n");
                errors.push(FieldError::forbidden(&path, detail));
            }
            Some(index) if now[index] != *before => {
                let changed = changes(&now[index], before, "").join("\n");
                let detail =
                    format!("existing ephemeral containers \"{name}\" may not be changed\n{changed}");
                errors.push(FieldError::forbidden(&path, detail));
            }
            Some(_) => {}
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::annotations::MIRROR;
    use crate::testing::messages;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}],
            "tolerations": [{"key": "x", "operator": "Exists"}]}})
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut new = pod();
        change(&mut new);
        messages(&validate(&new, &pod()))
    }

    #[test]
    fn images_deadlines_and_more_tolerations_are_allowed() {
        assert_eq!(changed(|p| p["spec"]["containers"][0]["image"] = json!("c")), Vec::<String>::new());
        assert_eq!(changed(|p| p["spec"]["activeDeadlineSeconds"] = json!(5)), Vec::<String>::new());
        let more = json!([{"key": "x", "operator": "Exists"}, {"key": "y", "operator": "Exists"}]);
        assert_eq!(changed(|p| p["spec"]["tolerations"] = more), Vec::<String>::new());
    }

    #[test]
    fn everything_else_is_forbidden() {
        let errors = changed(|p| p["spec"]["nodeName"] = json!("n"));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)"));
        assert!(errors[0].ends_with("\n  nodeName: null -> \"n\""));
        assert_eq!(
            changed(|p| p["spec"]["containers"] = json!([])),
            ["spec.containers: Forbidden: pod updates may not add or remove containers"]
        );
        assert_eq!(
            changed(|p| p["spec"]["tolerations"] = json!([])),
            [
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
            ]
        );
        assert_eq!(
            changed(|p| p["metadata"]["annotations"] = json!({MIRROR: "x"})),
            [
                "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation",
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set"
            ]
        );
    }
}
