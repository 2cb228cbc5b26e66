//! What a Job's spec must say and what an update may change.

use serde_json::{Map, Value};
use xebec_api::field::{FieldError, Path};

use super::{job_policy, job_status};
use crate::pod::template;
use crate::shared::access::{at, flag, has, int, list, list_mut, remove, set, text};
use crate::shared::formats::domain_prefixed_path;
use crate::shared::rules::{immutable, not_negative, one_of_or_missing};

const COUNTS: &[&str] = &[
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
];
/// The most an indexed Job may run at once, and the most of its indexes that may fail: their lists are in the status.
const INDEXED_MAX: i64 = 100_000;
/// The same for a Job with more completions than [`INDEXED_MAX`] and a backoff limit per index.
const INDEXED_MAX_OF_MANY: i64 = 10_000;
const MANAGER_MAX: usize = 63;

/// Every error of a Job's spec, in a Job or in a CronJob's template, but for the selector.
pub fn validate_spec(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = COUNTS.iter().flat_map(|key| not_negative(spec, key, path)).collect();
    if has(spec, &["maxFailedIndexes"]) && !has(spec, &["backoffLimitPerIndex"]) {
        let detail = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(&path.child("backoffLimitPerIndex"), detail));
    }
    if has(spec, &["managedBy"]) {
        let (manager, path) = (text(spec, &["managedBy"]), path.child("managedBy"));
        errors.extend(domain_prefixed_path(manager, &path));
        if manager.len() > MANAGER_MAX {
            errors.push(FieldError::too_long(&path, MANAGER_MAX));
        }
    }
    errors.extend(one_of_or_missing(spec, "completionMode", &["NonIndexed", "Indexed"], path));
    match text(spec, &["completionMode"]) {
        "Indexed" => errors.extend(validate_indexed(spec, path)),
        "NonIndexed" => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if has(spec, &[key]) {
                    let detail = "requires indexed completion mode";
                    errors.push(FieldError::invalid(&path.child(key), at(spec, &[key]), detail));
                }
            }
        }
        _ => {}
    }
    let fails_early = has(spec, &["podFailurePolicy"]);
    if fails_early {
        errors.extend(job_policy::validate_failure(spec, &path.child("podFailurePolicy")));
    }
    if has(spec, &["successPolicy"]) {
        errors.extend(job_policy::validate_success(spec, &path.child("successPolicy")));
    }
    let replacements: &[&str] = if fails_early { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    errors.extend(one_of_or_missing(spec, "podReplacementPolicy", replacements, path));
    let template_path = path.child("template");
    if !has(spec, &["template"]) {
        errors.push(FieldError::required(&template_path, ""));
        return errors;
    }
    let template = at(spec, &["template"]);
    errors.extend(template::validate(template, &template_path));
    let policy = text(template, &["spec", "restartPolicy"]);
    let policy_path = template_path.child("spec").child("restartPolicy");
    match policy {
        // Left out, it was defaulted to Always: upstream says what to give rather than that Always is wrong.
        "" | "Always" => {
            errors.push(FieldError::required(&policy_path, r#"valid values: "OnFailure", "Never""#));
        }
        "OnFailure" if fails_early => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(&policy_path, policy, detail));
        }
        "OnFailure" | "Never" => {}
        _ => errors.push(FieldError::not_supported(&policy_path, policy, &["OnFailure", "Never"])),
    }
    errors
}

/// The bounds of a Job whose completions have indexes.
fn validate_indexed(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let completions = int(spec, &["completions"]);
    if completions.is_none() {
        errors.push(FieldError::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    let mut above = |key: &str, most: i64, detail: String| {
        if let Some(found) = int(spec, &[key]).filter(|found| *found > most) {
            errors.push(FieldError::invalid(&path.child(key), found, detail));
        }
    };
    let most = format!("must be less than or equal to {INDEXED_MAX}");
    above("parallelism", INDEXED_MAX, format!("{most} when completion mode is Indexed"));
    let failed = "maxFailedIndexes";
    above(failed, completions.unwrap_or(i64::MAX), "must be less than or equal to completions".to_owned());
    above(failed, INDEXED_MAX, most);
    let many = completions.is_some_and(|completions| completions > INDEXED_MAX);
    if many && has(spec, &["backoffLimitPerIndex"]) {
        let detail = format!(
            "must be less than or equal to {INDEXED_MAX_OF_MANY} when completions are above {INDEXED_MAX} and used with backoff limit per index"
        );
        if has(spec, &[failed]) {
            above("parallelism", INDEXED_MAX_OF_MANY, detail.clone());
            above(failed, INDEXED_MAX_OF_MANY, detail);
        } else {
            let needed = format!("must be specified when completions is above {INDEXED_MAX}");
            errors.push(FieldError::required(&path.child(failed), needed));
            if let Some(found) = int(spec, &["parallelism"]).filter(|found| *found > INDEXED_MAX_OF_MANY) {
                errors.push(FieldError::invalid(&path.child("parallelism"), found, detail));
            }
        }
    }
    errors
}

/// Every error of a changed field that may not change.
pub fn validate_update(obj: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let same = |key: &str| immutable(at(obj, &["spec", key]), at(old, &["spec", key]), &path.child(key));
    let mut errors = Vec::new();
    let completions = at(obj, &["spec", "completions"]);
    if text(obj, &["spec", "completionMode"]) != "Indexed" {
        errors.extend(same("completions"));
    } else if !completions.is_null()
        && completions != at(old, &["spec", "completions"])
        && completions != at(obj, &["spec", "parallelism"])
    {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid(&path.child("completions"), completions, detail));
    }
    errors.extend(same("selector"));
    errors.extend(validate_template(obj, old, &path));
    for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        errors.extend(same(key));
    }
    errors
}

/// Whether no pod runs or will run by the old template: the Job is suspended, none is active, and either none ever was
/// or the controller has seen the suspension.
fn rests(job: &Value) -> bool {
    flag(job, &["spec", "suspend"])
        && int(job, &["status", "active"]).unwrap_or(0) == 0
        && (!has(job, &["status", "startTime"]) || job_status::is(job, "Suspended"))
}

/// The template stays, except that a Job at rest may be placed elsewhere and its containers may get other resources.
///
/// Authority: KEP-2926, KEP-5440 (both its gates are on by default in 1.36).
fn validate_template(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let now = at(obj, &["spec", "template"]);
    let mut before = at(old, &["spec", "template"]).clone();
    if rests(old) {
        for key in ["containers", "initContainers"] {
            let given = list(now, &["spec", key]);
            for (container, given) in list_mut(&mut before, &["spec", key]).zip(given) {
                match at(given, &["resources"]) {
                    Value::Null => remove(container, &["resources"]),
                    resources => set(container, &["resources"], resources.clone()),
                }
            }
        }
        const MOVABLE: [&[&str]; 6] = [
            &["metadata", "labels"],
            &["metadata", "annotations"],
            &["spec", "affinity", "nodeAffinity"],
            &["spec", "nodeSelector"],
            &["spec", "tolerations"],
            &["spec", "schedulingGates"],
        ];
        for field in MOVABLE {
            match at(now, field) {
                Value::Null => remove(&mut before, field),
                value => set(&mut before, field, value.clone()),
            }
        }
        // A parent that held nothing else comes and goes with what may move.
        for parent in [&["metadata"][..], &["spec", "affinity"]] {
            let empty = |template: &Value| at(template, parent).as_object().is_none_or(Map::is_empty);
            if empty(now) && empty(&before) {
                match at(now, parent) {
                    Value::Null => remove(&mut before, parent),
                    value => set(&mut before, parent, value.clone()),
                }
            }
        }
    }
    immutable(now, &before, &path.child("template"))
}
