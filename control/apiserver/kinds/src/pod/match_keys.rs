//! `matchLabelKeys` and `mismatchLabelKeys`: selectors completed from the pod's own labels.
//!
//! Authority: KEP-3633 (pod affinity), KEP-3243 (topology spread): the pod's values are merged into the selector
//! when the pod is made.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, entries, has, list, list_mut, set, text, texts};
use crate::shared::labels::validate_label_name;
use crate::shared::meta;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Merges a new pod's labels into the selectors that name their keys.
pub fn merge(pod: &mut Value) {
    let labels = meta::map_at(pod, "labels").clone();
    for kind in ["podAffinity", "podAntiAffinity"] {
        list_mut(pod, &["spec", "affinity", kind, REQUIRED]).for_each(|term| merge_into(term, &labels));
        for weighted in list_mut(pod, &["spec", "affinity", kind, PREFERRED]) {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                merge_into(term, &labels);
            }
        }
    }
    list_mut(pod, &["spec", "topologySpreadConstraints"]).for_each(|term| merge_into(term, &labels));
}

fn merge_into(term: &mut Value, labels: &serde_json::Map<String, Value>) {
    if !has(term, &["labelSelector"]) {
        return;
    }
    let mut expressions = list(term, &["labelSelector", "matchExpressions"]).to_vec();
    let before = expressions.len();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in texts(term, &[list]) {
            if let Some(value) = labels.get(key) {
                expressions.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if expressions.len() != before {
        set(term, &["labelSelector", "matchExpressions"], Value::Array(expressions));
    }
}

/// How often the selector names the key.
fn uses(selector: &Value, key: &str) -> usize {
    let labels = entries(selector, &["matchLabels"]).filter(|(label, _)| *label == key).count();
    let expressions = list(selector, &["matchExpressions"]).iter();
    labels + expressions.filter(|expression| text(expression, &["key"]) == key).count()
}

fn label_keys(term: &Value, list: &str, path: &Path) -> Vec<FieldError> {
    let keys = texts(term, &[list]);
    let path = path.child(list);
    if keys.is_empty() {
        return Vec::new();
    }
    if !has(term, &["labelSelector"]) {
        return vec![FieldError::forbidden(&path, "must not be specified when labelSelector is not set")];
    }
    keys.iter().enumerate().flat_map(|(index, key)| validate_label_name(key, &path.index(index))).collect()
}

/// Every error of the keys of a pod affinity term, whose selector may already hold what was merged.
pub fn validate_affinity_term(term: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = label_keys(term, "matchLabelKeys", path);
    errors.extend(label_keys(term, "mismatchLabelKeys", path));
    let keys = texts(term, &["matchLabelKeys"]);
    let selector = at(term, &["labelSelector"]);
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| uses(selector, key) > 1) {
        // Upstream files this under the term itself.
        let detail = "exists in both matchLabelKeys and labelSelector";
        errors.push(FieldError::invalid(&path.index(index), key, detail));
    }
    let others: BTreeSet<&str> = texts(term, &["mismatchLabelKeys"]).into_iter().collect();
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| others.contains(*key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(&path.child("matchLabelKeys").index(index), key, detail));
    }
    errors
}

/// Every error of the keys of a spread constraint; a pod's selector already holds each once.
pub fn validate_spread(constraint: &Value, in_pod: bool, path: &Path) -> Vec<FieldError> {
    let keys = texts(constraint, &["matchLabelKeys"]);
    let mut errors = Vec::new();
    if !keys.is_empty() && !has(constraint, &["labelSelector"]) {
        errors.push(FieldError::forbidden(path, "must not be specified when labelSelector is not set"));
    }
    for (index, key) in keys.iter().enumerate() {
        errors.extend(validate_label_name(key, &path.index(index)));
        if uses(at(constraint, &["labelSelector"]), key) > usize::from(in_pod) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(&path.index(index), key, detail));
        }
    }
    errors
}
