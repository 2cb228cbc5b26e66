//! What the workloads of the apps group share: selector, template, replicas, rolling update numbers.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::pod::template;
use crate::shared::access::{at, has, int};
use crate::shared::labels::{is_empty_selector, selects, validate_selector};
use crate::shared::rules::{at_most_all, immutable, int_or_percent, not_negative};

/// Every error of `selector` and `template`, which must agree.
pub fn validate_selector_and_template(spec: &Value, path: &Path, what: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let selector_path = path.child("selector");
    let selector = at(spec, &["selector"]);
    if selector.is_null() {
        errors.push(FieldError::required(&selector_path, ""));
    } else {
        errors.extend(validate_selector(selector, &selector_path));
        if is_empty_selector(selector) {
            let detail = format!("empty selector is invalid for {what}");
            errors.push(FieldError::invalid(&selector_path, selector, detail));
        }
    }
    let template_path = path.child("template");
    if !has(spec, &["template"]) {
        errors.push(FieldError::required(&template_path, ""));
        return errors;
    }
    let template = at(spec, &["template"]);
    let labels = at(template, &["metadata", "labels"]);
    if !selector.is_null() && !is_empty_selector(selector) && !selects(selector, labels) {
        let path = template_path.child("metadata").child("labels");
        let shown = if labels.is_null() { serde_json::json!({}) } else { labels.clone() };
        errors.push(FieldError::invalid(&path, shown, "`selector` does not match template `labels`"));
    }
    errors.extend(match what {
        // A StatefulSet's claims give its pods volumes, so upstream leaves the pod's own rules to its pods.
        "statefulset" => template::validate_metadata(template, &template_path),
        _ => template::validate(template, &template_path),
    });
    errors.extend(template::restarts_always(template, &template_path));
    if has(template, &["spec", "activeDeadlineSeconds"]) {
        let kind = match what {
            "statefulset" => "StatefulSet",
            "daemonset" => "DaemonSet",
            _ => "ReplicaSet",
        };
        let path = template_path.child("spec").child("activeDeadlineSeconds");
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

/// Every error of counts in a status: none below zero, each pair's first no more than its second.
pub fn validate_status(
    obj: &Value,
    old: &Value,
    counts: &[&str],
    bounds: &[(&str, &str, &str)],
) -> Vec<FieldError> {
    let (status, path) = (at(obj, &["status"]), Path::new("status"));
    let mut errors: Vec<FieldError> =
        counts.iter().flat_map(|key| not_negative(status, key, &path)).collect();
    let count = |key: &str| int(status, &[key]).unwrap_or(0);
    for (low, high, detail) in bounds {
        if count(low) > count(high) {
            errors.push(FieldError::invalid(&path.child(low), count(low), *detail));
        }
    }
    let collisions = |obj: &Value| int(obj, &["status", "collisionCount"]);
    if let Some(before) = collisions(old)
        && collisions(obj).is_none_or(|now| now < before)
    {
        let now = collisions(obj).unwrap_or(0);
        errors.push(FieldError::invalid(&path.child("collisionCount"), now, "cannot be decremented"));
    }
    errors
}

/// Every error of the counts every workload has.
pub fn validate_counts(spec: &Value, path: &Path) -> Vec<FieldError> {
    ["replicas", "minReadySeconds", "revisionHistoryLimit"]
        .iter()
        .flat_map(|key| not_negative(spec, key, path))
        .collect()
}

/// The error of a changed selector.
pub fn selector_is_immutable(obj: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("spec").child("selector");
    immutable(at(obj, &["spec", "selector"]), at(old, &["spec", "selector"]), &path)
}

/// True when a number or percentage is zero.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.trim_end_matches('%').parse::<i64>() == Ok(0),
        _ => true,
    }
}

/// Every error of `maxUnavailable` and `maxSurge` of a rolling update.
pub fn validate_rolling(rolling: &Value, path: &Path, both_zero: &str) -> Vec<FieldError> {
    let (unavailable, surge) = (at(rolling, &["maxUnavailable"]), at(rolling, &["maxSurge"]));
    let unavailable_path = path.child("maxUnavailable");
    let mut errors = int_or_percent(unavailable, &unavailable_path);
    errors.extend(int_or_percent(surge, &path.child("maxSurge")));
    if is_zero(unavailable) && is_zero(surge) {
        errors.push(FieldError::invalid(&unavailable_path, unavailable, both_zero));
    }
    errors.extend(at_most_all(unavailable, &unavailable_path));
    errors
}
