//! When a Job fails early (`podFailurePolicy`) and when it succeeds early (`successPolicy`).
//!
//! Authority: pkg/apis/batch/validation.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::job_indexes;
use crate::shared::access::{at, has, int, list, text};
use crate::shared::formats::qualified_name;
use crate::shared::rules::{invalid_hidden, not_negative, one_of_given};

const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const INDEXES_MAX_BYTES: usize = 64 * 1024;

/// Every error of a Job's `podFailurePolicy`.
pub fn validate_failure(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rules_path = path.child("rules");
    let rules = list(spec, &["podFailurePolicy", "rules"]);
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&rules_path, rules.len(), RULES_MAX));
    }
    let pod = at(spec, &["template", "spec"]);
    let containers = list(pod, &["containers"]).iter().chain(list(pod, &["initContainers"]));
    let names: BTreeSet<&str> = containers.map(|container| text(container, &["name"])).collect();
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(validate_rule(spec, rule, &names, &rules_path.index(index)));
    }
    errors
}

fn validate_rule(spec: &Value, rule: &Value, names: &BTreeSet<&str>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(rule, &["action"]) == "FailIndex" && !has(spec, &["backoffLimitPerIndex"]) {
        let detail = "requires the backoffLimitPerIndex to be set";
        errors.push(FieldError::invalid(&path.child("action"), "FailIndex", detail));
    }
    errors.extend(one_of_listed(rule, "action", &["Count", "FailIndex", "FailJob", "Ignore"], path));
    if has(rule, &["onExitCodes"]) {
        errors.extend(validate_codes(at(rule, &["onExitCodes"]), names, &path.child("onExitCodes")));
    }
    let patterns = list(rule, &["onPodConditions"]);
    errors.extend(validate_patterns(patterns, &path.child("onPodConditions")));
    match (has(rule, &["onExitCodes"]), patterns.is_empty()) {
        (true, false) => errors
            .push(invalid_hidden(path, "specifying both OnExitCodes and OnPodConditions is not supported")),
        (false, true) => {
            errors.push(invalid_hidden(path, "specifying one of OnExitCodes and OnPodConditions is required"))
        }
        _ => {}
    }
    errors
}

fn validate_codes(codes: &Value, names: &BTreeSet<&str>, path: &Path) -> Vec<FieldError> {
    let mut errors = one_of_listed(codes, "operator", &["In", "NotIn"], path);
    let container = text(codes, &["containerName"]);
    if has(codes, &["containerName"]) && !names.contains(container) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(&path.child("containerName"), container, detail));
    }
    let (values, path) = (list(codes, &["values"]), path.child("values"));
    if values.is_empty() {
        errors.push(FieldError::invalid(&path, at(codes, &["values"]), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(&path, values.len(), EXIT_CODES_MAX));
    }
    for (index, value) in values.iter().enumerate() {
        let path = path.index(index);
        if text(codes, &["operator"]) == "In" && value.as_i64() == Some(0) {
            errors.push(FieldError::invalid(&path, value, "must not be 0 for the In operator"));
        }
        if values[..index].contains(value) {
            errors.push(FieldError::duplicate(&path, value));
        }
    }
    if !values.is_sorted_by_key(Value::as_i64) {
        errors.push(FieldError::invalid(&path, values, "must be ordered"));
    }
    errors
}

fn validate_patterns(patterns: &[Value], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if patterns.len() > PATTERNS_MAX {
        errors.push(FieldError::too_many(path, patterns.len(), PATTERNS_MAX));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path.index(index);
        errors.extend(qualified_name(text(pattern, &["type"]), &path.child("type")));
        errors.extend(one_of_listed(pattern, "status", &["False", "True", "Unknown"], &path));
    }
    errors
}

/// The error of a text outside its allowed values; an empty one is told which there are.
fn one_of_listed(value: &Value, key: &str, allowed: &[&str], path: &Path) -> Vec<FieldError> {
    if !text(value, &[key]).is_empty() {
        return one_of_given(value, key, allowed, path);
    }
    let quoted: Vec<String> = allowed.iter().map(|text| xebec_api::gotext::quote(text)).collect();
    vec![FieldError::required(&path.child(key), format!("valid values: [{}]", quoted.join(" ")))]
}

/// Every error of a Job's `successPolicy`, which only an indexed Job may have.
pub fn validate_success(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(spec, &["completionMode"]) != "Indexed" {
        return vec![FieldError::invalid(
            path,
            at(spec, &["successPolicy"]),
            "requires indexed completion mode",
        )];
    }
    let (rules, path) = (list(spec, &["successPolicy", "rules"]), path.child("rules"));
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&path, detail));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    let completions = int(spec, &["completions"]).unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(validate_success_rule(rule, completions, &path.index(index)));
    }
    errors
}

fn validate_success_rule(rule: &Value, completions: i64, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let count = int(rule, &["succeededCount"]);
    if count.is_none() && !has(rule, &["succeededIndexes"]) {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, detail));
    }
    let mut listed = 0;
    if has(rule, &["succeededIndexes"]) {
        let (indexes, path) = (text(rule, &["succeededIndexes"]), path.child("succeededIndexes"));
        if indexes.len() > INDEXES_MAX_BYTES {
            errors.push(FieldError::too_long(&path, INDEXES_MAX_BYTES));
        }
        match job_indexes::count(indexes, completions) {
            Ok(number) => listed = number,
            Err(why) => {
                let detail = format!("error parsing succeededIndexes: {why}");
                errors.push(FieldError::invalid(&path, indexes, detail));
            }
        }
    }
    let Some(count) = count else { return errors };
    errors.extend(not_negative(rule, "succeededCount", path));
    let bounds = [
        (true, completions, "the number of specified completions"),
        (
            has(rule, &["succeededIndexes"]),
            listed,
            "the number of indexes in the specified succeededIndexes field",
        ),
    ];
    for (_, most, what) in bounds.into_iter().filter(|(applies, most, _)| *applies && count > *most) {
        let detail = format!("must be less than or equal to {most} ({what})");
        errors.push(FieldError::invalid(&path.child("succeededCount"), count, detail));
    }
    errors
}
