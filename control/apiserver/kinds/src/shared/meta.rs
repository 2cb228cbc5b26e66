//! Object metadata: what every object must have, and what an update may not change.
//!
//! Authority: apimachinery's api/validation/objectmeta.go.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::access::{at, flag, int, keep, list, text, texts};
use super::labels;
use super::rules::immutable;
use crate::generic::{Facts, NameRule};

static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// A string map of the metadata (`labels`, `annotations`), empty when missing.
pub fn map_at<'a>(obj: &'a Value, key: &str) -> &'a Map<String, Value> {
    at(obj, &["metadata", key]).as_object().unwrap_or(&EMPTY)
}

/// The annotation's value.
pub fn annotation<'a>(obj: &'a Value, key: &str) -> Option<&'a str> {
    map_at(obj, "annotations").get(key).and_then(Value::as_str)
}

/// The object's name.
pub fn name(obj: &Value) -> &str {
    text(obj, &["metadata", "name"])
}

/// The messages a name rule gives for a name, none for a good one.
pub fn name_messages(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => names::is_dns1123_subdomain(name),
        NameRule::Label => names::is_dns1123_label(name),
        NameRule::PathSegment => path_segment(name),
        NameRule::Own => Vec::new(),
    }
}

fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|bad| name.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// A generateName is a name minus its random tail: a trailing dash is masked before the rule is applied.
fn masked(rule: NameRule, prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(head) if rule != NameRule::PathSegment && prefix.len() > 1 => format!("{head}a"),
        _ => prefix.to_owned(),
    }
}

/// Puts back the metadata that a write to a status may not change; the managed fields stay, since they record
/// that very write. Authority: apimachinery's ResetObjectMetaForStatus.
pub fn keep_for_status(obj: &mut Value, old: &Value) {
    for key in ["deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences"] {
        keep(obj, old, &["metadata", key]);
    }
}

/// Every metadata error of an object with its name already generated.
pub fn validate(facts: &Facts, obj: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let meta = at(obj, &["metadata"]);
    let generate = text(meta, &["generateName"]);
    if !generate.is_empty() {
        for message in name_messages(facts.name, &masked(facts.name, generate)) {
            errors.push(FieldError::invalid(&path.child("generateName"), generate, message));
        }
    }
    match text(meta, &["name"]) {
        "" => errors.push(FieldError::required(&path.child("name"), "name or generateName is required")),
        name => {
            for message in name_messages(facts.name, name) {
                errors.push(FieldError::invalid(&path.child("name"), name, message));
            }
        }
    }
    errors.extend(validate_common(facts, obj, path));
    errors
}

/// The metadata errors that every write is checked for, whatever the kind's rule for names is.
pub fn validate_common(facts: &Facts, obj: &Value, path: &Path) -> Vec<FieldError> {
    let meta = at(obj, &["metadata"]);
    let mut errors = Vec::new();
    let namespace = text(meta, &["namespace"]);
    match (facts.namespaced, namespace) {
        (true, "") => errors.push(FieldError::required(&path.child("namespace"), "")),
        (true, namespace) => {
            for message in names::is_dns1123_label(namespace) {
                errors.push(FieldError::invalid(&path.child("namespace"), namespace, message));
            }
        }
        (false, "") => {}
        (false, _) => {
            errors.push(FieldError::forbidden(&path.child("namespace"), "not allowed on this type"));
        }
    }
    if let Some(generation) = int(meta, &["generation"]).filter(|value| *value < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("generation"), generation, detail));
    }
    errors.extend(labels::validate_labels(at(meta, &["labels"]), &path.child("labels")));
    errors.extend(validate_annotations(at(meta, &["annotations"]), &path.child("annotations")));
    errors.extend(validate_owners(meta, &path.child("ownerReferences")));
    errors.extend(validate_finalizers(meta, &path.child("finalizers")));
    errors
}

/// Every error of a map of annotations.
pub fn validate_annotations(annotations: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        for message in names::is_qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, key, message));
        }
    }
    if size > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX_BYTES));
    }
    errors
}

fn validate_owners(meta: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    let owners = list(meta, &["ownerReferences"]);
    for owner in owners {
        let version = text(owner, &["apiVersion"]);
        if version.rsplit('/').next().unwrap_or_default().is_empty() {
            let detail = "version must not be empty";
            errors.push(FieldError::invalid(&path.child("apiVersion"), version, detail));
        }
        for key in ["kind", "name", "uid"] {
            if text(owner, &[key]).is_empty() {
                errors.push(FieldError::invalid(&path.child(key), "", "must not be empty"));
            }
        }
        if version == "v1" && text(owner, &["kind"]) == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(path, owner, detail));
        }
        if flag(owner, &["controller"]) {
            let current = format!("{}/{}", text(owner, &["kind"]), text(owner, &["name"]));
            match &controller {
                None => controller = Some(current),
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                    );
                    errors.push(FieldError::invalid(path, owners, detail));
                }
            }
        }
    }
    errors
}

fn validate_finalizers(meta: &Value, path: &Path) -> Vec<FieldError> {
    let finalizers = texts(meta, &["finalizers"]);
    let mut errors = Vec::new();
    for finalizer in &finalizers {
        for message in names::is_qualified_name(finalizer) {
            errors.push(FieldError::invalid(path, finalizer, message));
        }
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, &finalizers, detail));
    }
    errors
}

/// What an update may not do to the metadata, beyond what [`validate`] finds.
pub fn validate_update(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let (new_meta, old_meta) = (at(obj, &["metadata"]), at(old, &["metadata"]));
    let mut errors = Vec::new();
    if at(old_meta, &["deletionTimestamp"]).is_string() {
        let before: BTreeSet<&str> = texts(old_meta, &["finalizers"]).into_iter().collect();
        let now: BTreeSet<&str> = texts(new_meta, &["finalizers"]).into_iter().collect();
        let added: Vec<String> = now.difference(&before).map(|name| format!("{name:?}")).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.push(FieldError::forbidden(&path.child("finalizers"), detail));
        }
    }
    let generation = |meta: &Value| int(meta, &["generation"]).unwrap_or(0);
    if generation(new_meta) < generation(old_meta) {
        let detail = "must not be decremented";
        errors.push(FieldError::invalid(&path.child("generation"), generation(new_meta), detail));
    }
    for key in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        errors.extend(immutable(at(new_meta, &[key]), at(old_meta, &[key]), &path.child(key)));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    const FACTS: Facts = Facts::namespaced("", "ConfigMap", "configmaps");

    fn found(meta: Value) -> Vec<String> {
        messages(&validate(&FACTS, &json!({"metadata": meta}), &Path::new("metadata")))
    }

    #[test]
    fn a_good_object_has_no_errors() {
        let meta = json!({"name": "a.b", "namespace": "ns", "labels": {"a/b": "c"}, "finalizers": ["x/y"]});
        assert_eq!(found(meta), Vec::<String>::new());
    }

    #[test]
    fn each_error_has_upstreams_words() {
        let base = || json!({"name": "a", "namespace": "ns"});
        let with = |key: &str, value: Value| {
            let mut meta = base();
            meta[key] = value;
            found(meta)
        };
        assert_eq!(
            found(json!({"namespace": "ns"})),
            ["metadata.name: Required value: name or generateName is required"]
        );
        assert_eq!(found(json!({"name": "a"})), ["metadata.namespace: Required value"]);
        assert!(with("name", json!("A"))[0].starts_with(
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of"
        ));
        assert_eq!(
            with("finalizers", json!(["orphan", "foregroundDeletion"])).last().map(String::as_str),
            Some(
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set"
            )
        );
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p"}]);
        assert_eq!(
            with("ownerReferences", owner),
            ["metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"]
        );
    }

    #[test]
    fn a_generate_name_may_end_with_a_dash() {
        let meta = json!({"name": "a-x", "generateName": "a-", "namespace": "ns"});
        assert_eq!(found(meta), Vec::<String>::new());
    }

    #[test]
    fn identity_is_immutable_and_finalizers_close_at_deletion() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let new = json!({"metadata": {"name": "a", "uid": "2", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["x/y"]}});
        assert_eq!(
            messages(&validate_update(&new, &old, &Path::new("metadata"))),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"x/y\"}",
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ]
        );
    }
}
