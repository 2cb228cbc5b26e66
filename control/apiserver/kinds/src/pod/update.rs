//! What an update may change in a pod.
//!
//! Authority: upstream's ValidatePodUpdate, ValidatePodStatusUpdate, ValidatePodEphemeralContainersUpdate.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::scheduling::validate_tolerations;
use crate::shared::access::{at, has, int, list, list_mut, remove, set, text};
use crate::shared::meta;
use crate::shared::rules::invalid_each;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Every error of an update of a pod's spec and annotations.
pub fn validate(obj: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate_annotations(obj, old);
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
    errors.extend(validate_gates(new_spec, old_spec, &path.child("schedulingGates")));
    errors.extend(validate_added_tolerations(new_spec, old_spec, &path.child("tolerations")));
    let masked = mask(new_spec, old_spec);
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
    let before: BTreeSet<&str> =
        list(old, &["schedulingGates"]).iter().map(|gate| text(gate, &["name"])).collect();
    let added: Vec<&str> = list(new, &["schedulingGates"])
        .iter()
        .map(|gate| text(gate, &["name"]))
        .filter(|name| !before.contains(name))
        .collect();
    if added.is_empty() {
        return Vec::new();
    }
    let detail = format!("only deletion is allowed, but found new scheduling gates '{}'", added.join(","));
    vec![FieldError::forbidden(path, detail)]
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
            copy(item, before, &["image"]);
        }
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy(&mut masked, old, &[key]);
    }
    let seconds = |spec: &Value| int(spec, &["terminationGracePeriodSeconds"]);
    if seconds(old).is_some_and(|before| before < 0) && seconds(new) == Some(1) {
        copy(&mut masked, old, &["terminationGracePeriodSeconds"]);
    }
    if !list(old, &["schedulingGates"]).is_empty() {
        tighten(&mut masked, new, old);
    }
    masked
}

/// A gated pod's placement may become tighter: labels may be added to its node selector, and a missing node
/// affinity may be set.
fn tighten(masked: &mut Value, new: &Value, old: &Value) {
    let kept = at(old, &["nodeSelector"]).as_object().into_iter().flatten();
    if kept.into_iter().all(|(key, value)| new.get("nodeSelector").and_then(|s| s.get(key)) == Some(value)) {
        copy(masked, old, &["nodeSelector"]);
    }
    if !has(old, &["affinity", "nodeAffinity"]) {
        remove(masked, &["affinity", "nodeAffinity"]);
        if !has(old, &["affinity"]) && at(masked, &["affinity"]).as_object().is_some_and(|a| a.is_empty()) {
            remove(masked, &["affinity"]);
        }
    }
}

fn copy(into: &mut Value, from: &Value, path: &[&str]) {
    match at(from, path) {
        Value::Null => remove(into, path),
        value => set(into, path, value.clone()),
    }
}

/// The paths whose values differ, each with both values.
fn changes(new: &Value, old: &Value, path: &str) -> Vec<String> {
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

fn validate_annotations(obj: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("metadata").child("annotations").key(MIRROR);
    match (meta::annotation(obj, MIRROR), meta::annotation(old, MIRROR)) {
        (now, before) if now == before => Vec::new(),
        (_, Some(_)) => vec![FieldError::forbidden(&path, "may not remove or update mirror pod annotation")],
        _ => vec![FieldError::forbidden(&path, "may not add mirror pod annotation")],
    }
}

/// Every error of a write to a pod's status.
pub fn validate_status(obj: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("status");
    let mut errors = validate_annotations(obj, old);
    let nominated = text(obj, &["status", "nominatedNodeName"]);
    if !nominated.is_empty() && nominated != text(old, &["status", "nominatedNodeName"]) {
        let messages = names::is_dns1123_subdomain(nominated);
        errors.extend(invalid_each(&path.child("nominatedNodeName"), nominated, messages));
    }
    let class = |pod: &Value| text(pod, &["status", "qosClass"]).to_owned();
    if !class(old).is_empty() && !class(obj).is_empty() && class(old) != class(obj) {
        let detail = "field is immutable";
        errors.push(FieldError::invalid(&path.child("qosClass"), class(obj), detail));
    }
    let policy = text(old, &["spec", "restartPolicy"]);
    for key in ["containerStatuses", "initContainerStatuses"] {
        errors.extend(validate_terminated(obj, old, key, policy, &path.child(key)));
    }
    errors
}

/// A container that ended and does not restart stays ended.
fn validate_terminated(obj: &Value, old: &Value, key: &str, policy: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if policy == "Always" {
        return errors;
    }
    let restarts_itself = |name: &str| {
        let own = list(old, &["spec", "containers"]).iter().chain(list(old, &["spec", "initContainers"]));
        own.into_iter().any(|c| text(c, &["name"]) == name && !text(c, &["restartPolicy"]).is_empty())
    };
    for (index, before) in list(old, &["status", key]).iter().enumerate() {
        let ended = at(before, &["state", "terminated"]);
        let name = text(before, &["name"]);
        let failed = int(ended, &["exitCode"]).unwrap_or(0) != 0;
        if ended.is_null() || (failed && policy == "OnFailure") || restarts_itself(name) {
            continue;
        }
        let same = |status: &&Value| text(status, &["name"]) == name;
        if let Some(now) = list(obj, &["status", key]).iter().find(same)
            && !has(now, &["state", "terminated"])
        {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(&path.index(index).child("state"), detail));
        }
    }
    errors
}

/// Every error of an update through the `ephemeralcontainers` subresource: containers may only be added.
pub fn validate_ephemeral(obj: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("spec").child("ephemeralContainers");
    let mut errors = Vec::new();
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
                "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"
            ]
        );
    }

    #[test]
    fn an_ended_container_stays_ended() {
        let mut old = pod();
        old["status"] =
            json!({"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 1}}}]});
        let mut new = old.clone();
        new["status"]["containerStatuses"][0]["state"] = json!({"running": {}});
        assert_eq!(
            messages(&validate_status(&new, &old)),
            ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
        );
        old["spec"]["restartPolicy"] = json!("OnFailure");
        assert_eq!(messages(&validate_status(&new, &old)), Vec::<String>::new());
    }
}
