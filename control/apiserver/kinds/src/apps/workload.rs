//! What the workloads of the apps group share: selector, template, replicas, rolling update numbers.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::pod::template;
use crate::shared::access::{at, default_to, has, int};
use crate::shared::labels::{is_empty_selector, selects, validate_selector};
use crate::shared::rules::{at_most_all, immutable, int_or_percent, not_negative};

const TEMPLATE: [&str; 2] = ["spec", "template"];

/// Sets the defaults of the template; upstream's is a struct, so that a missing one is an empty one.
pub fn template_defaults(obj: &mut Value) {
    default_to(obj, &["spec", "template", "spec"], json!({}));
    template::defaults(obj, &TEMPLATE);
}

/// Every error of a required `selector`, and whether it can be read; `unreadable` says so in the kind's own words.
pub fn validate_required_selector(
    selector: &Value,
    path: &Path,
    what: &str,
    unreadable: &str,
) -> (Vec<FieldError>, bool) {
    if selector.is_null() {
        return (vec![FieldError::required(path, "")], true);
    }
    let mut errors = validate_selector(selector, path);
    let readable = errors.is_empty();
    errors.extend(not_empty(selector, path, what));
    if !readable {
        errors.push(FieldError::invalid(path, selector, unreadable));
    }
    (errors, readable)
}

/// The error of a selector that would select every pod.
pub fn not_empty(selector: &Value, path: &Path, what: &str) -> Option<FieldError> {
    let detail = || format!("empty selector is invalid for {what}");
    (!selector.is_null() && is_empty_selector(selector))
        .then(|| FieldError::invalid(path, selector, detail()))
}

/// The error of a template whose pods a readable selector does not select; a missing one selects none.
pub fn selects_template(selector: &Value, template: &Value, path: &Path) -> Option<FieldError> {
    let labels = at(template, &["metadata", "labels"]);
    let selected = !selector.is_null() && selects(selector, labels);
    let path = path.child("metadata").child("labels");
    (!selected).then(|| FieldError::invalid(&path, labels, "`selector` does not match template `labels`"))
}

/// The errors of a template whose pods would end.
pub fn never_ends(template: &Value, path: &Path, kind: &str) -> Vec<FieldError> {
    let mut errors = template::restarts_always(template, path);
    if has(template, &["spec", "activeDeadlineSeconds"]) {
        let path = path.child("spec").child("activeDeadlineSeconds");
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

/// Every error of `selector` and `template` of a Deployment or ReplicaSet, in the same words for both.
pub fn validate_selector_and_template(spec: &Value, path: &Path) -> Vec<FieldError> {
    let selector = at(spec, &["selector"]);
    let (mut errors, readable) =
        validate_required_selector(selector, &path.child("selector"), "deployment", "invalid label selector");
    if readable {
        let (template, path) = (at(spec, &["template"]), path.child("template"));
        errors.extend(selects_template(selector, template, &path));
        errors.extend(template::validate(template, &path));
        errors.extend(never_ends(template, &path, "ReplicaSet"));
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
