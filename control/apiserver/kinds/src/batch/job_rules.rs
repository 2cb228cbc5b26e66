//! What a Job's spec must say and what an update may change.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::pod::template;
use crate::shared::access::{at, flag, has, int, list, remove, set, text};
use crate::shared::labels::validate_selector;
use crate::shared::rules::{immutable, not_negative, one_of};

const COUNTS: &[&str] = &[
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
];

/// Every error of a Job's spec, in a Job or in a CronJob's template.
pub fn validate_spec(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = COUNTS.iter().flat_map(|key| not_negative(spec, key, path)).collect();
    errors.extend(validate_selector(at(spec, &["selector"]), &path.child("selector")));
    errors.extend(one_of(spec, "completionMode", &["Indexed", "NonIndexed"], path));
    if text(spec, &["completionMode"]) == "Indexed" {
        if !has(spec, &["completions"]) {
            let detail = "when completion mode is Indexed";
            errors.push(FieldError::required(&path.child("completions"), detail));
        }
        let parallelism = int(spec, &["parallelism"]).unwrap_or(0);
        if parallelism > 100_000 {
            let detail = "must be less than or equal to 100000 when completion mode is Indexed";
            errors.push(FieldError::invalid(&path.child("parallelism"), parallelism, detail));
        }
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if has(spec, &[key]) {
                let detail = "requires indexed completion mode";
                errors.push(FieldError::invalid(&path.child(key), at(spec, &[key]), detail));
            }
        }
    }
    errors.extend(one_of(spec, "podReplacementPolicy", &["Failed", "TerminatingOrFailed"], path));
    errors.extend(validate_failure_policy(spec, path));
    let template_path = path.child("template");
    if !has(spec, &["template"]) {
        errors.push(FieldError::required(&template_path, ""));
        return errors;
    }
    let template = at(spec, &["template"]);
    errors.extend(template::validate(template, &template_path));
    let policy = text(template, &["spec", "restartPolicy"]);
    let policy_path = template_path.child("spec").child("restartPolicy");
    if policy == "Always" || policy.is_empty() {
        // Left out, it was defaulted to Always: upstream says what to give rather than that Always is wrong.
        errors.push(FieldError::required(&policy_path, r#"valid values: "OnFailure", "Never""#));
    } else if has(spec, &["podFailurePolicy"]) && policy != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(FieldError::invalid(&policy_path, policy, detail));
    }
    errors
}

fn validate_failure_policy(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in list(spec, &["podFailurePolicy", "rules"]).iter().enumerate() {
        let path = path.child("podFailurePolicy").child("rules").index(index);
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        errors.extend(one_of(rule, "action", &actions, &path));
        let codes = has(rule, &["onExitCodes"]);
        let conditions = !list(rule, &["onPodConditions"]).is_empty();
        if codes == conditions {
            let detail = if codes {
                "specifying both OnExitCodes and OnPodConditions is not supported"
            } else {
                "specifying one of OnExitCodes and OnPodConditions is required"
            };
            errors.push(FieldError::invalid(&path, rule, detail));
        }
        if codes {
            let path = path.child("onExitCodes");
            errors.extend(one_of(at(rule, &["onExitCodes"]), "operator", &["In", "NotIn"], &path));
        }
    }
    errors
}

/// Every error of a changed field that may not change.
pub fn validate_update(obj: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let same = |key: &str| immutable(at(obj, &["spec", key]), at(old, &["spec", key]), &path.child(key));
    let mut errors = Vec::new();
    let indexed = text(old, &["spec", "completionMode"]) == "Indexed";
    let together = at(obj, &["spec", "completions"]) == at(obj, &["spec", "parallelism"]);
    if !(indexed && together) {
        errors.extend(same("completions"));
    }
    errors.extend(same("selector"));
    errors.extend(validate_template(obj, old, &path));
    for key in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
        "manualSelector",
    ] {
        errors.extend(same(key));
    }
    errors
}

/// The template stays, except that a suspended Job that has not started may be placed elsewhere.
fn validate_template(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let mut now = at(obj, &["spec", "template"]).clone();
    let before = at(old, &["spec", "template"]);
    if flag(old, &["spec", "suspend"]) && !has(old, &["status", "startTime"]) {
        let movable: [&[&str]; 7] = [
            &["metadata", "labels"],
            &["metadata", "annotations"],
            &["spec", "nodeSelector"],
            &["spec", "affinity", "nodeAffinity"],
            &["spec", "tolerations"],
            &["spec", "schedulingGates"],
            &["spec", "schedulerName"],
        ];
        for field in movable {
            match at(before, field) {
                Value::Null => remove(&mut now, field),
                value => set(&mut now, field, value.clone()),
            }
        }
    }
    immutable(&now, before, &path.child("template"))
}
