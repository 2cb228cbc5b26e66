//! What may change in where a gated pod can go: only to fewer nodes.
//!
//! Authority: KEP-3838; upstream's validateNodeSelectorMutation and validateNodeAffinityMutation.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, entries, has, keep, list, remove};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Every error of the changed placement; takes the changes back in `masked`, whose other fields are the caller's.
pub fn validate(masked: &mut Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let selector = at(masked, &["nodeSelector"]);
    if entries(old, &["nodeSelector"]).any(|(key, value)| selector.get(key) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(&path.child("nodeSelector"), selector, detail));
    }
    keep(masked, old, &["nodeSelector"]);
    let affinity = ["affinity", "nodeAffinity"];
    if at(masked, &affinity) != at(old, &affinity) {
        let path = path.child("affinity").child("nodeAffinity").child(REQUIRED).child("nodeSelectorTerms");
        errors.extend(validate_terms(at(masked, &affinity), at(old, &affinity), &path));
        keep(masked, old, &affinity);
        if !has(old, &["affinity"]) && at(masked, &["affinity"]).as_object().is_some_and(|a| a.is_empty()) {
            remove(masked, &["affinity"]);
        }
    }
    errors
}

/// Terms are alternatives, so none may come or go; a term's requirements all hold, so some may be added.
fn validate_terms(new: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let terms = |affinity: &Value| list(affinity, &[REQUIRED, "nodeSelectorTerms"]).to_vec();
    let (now, before) = (terms(new), terms(old));
    if before.is_empty() {
        return Vec::new();
    }
    if now.len() != before.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return vec![FieldError::invalid(path, &now, detail)];
    }
    let pairs = now.iter().zip(&before).enumerate();
    pairs
        .filter(|(_, (now, before))| !only_adds(now, before))
        .map(|(index, (now, _))| {
            let detail = "only additions are allowed (no mutations or deletions)";
            FieldError::invalid(&path.index(index), now, detail)
        })
        .collect()
}

fn only_adds(now: &Value, before: &Value) -> bool {
    let both = ["matchExpressions", "matchFields"];
    // An empty term matches no node, so anything added to it would match more.
    if both.iter().all(|key| list(before, &[key]).is_empty()) {
        return both.iter().all(|key| list(now, &[key]).is_empty());
    }
    both.iter().all(|key| list(now, &[key]).starts_with(list(before, &[key])))
}
