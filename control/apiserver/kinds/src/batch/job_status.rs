//! Which statuses a Job may be given.
//!
//! A Job may be run by any controller (`managedBy`), so its status is held to the order the built-in one keeps: no
//! end without its cause, no running pods after the end, no step back. As upstream, a rule about fields that were
//! already wrong is not applied to a write that leaves them. Authority: pkg/apis/batch/validation and the strategy of
//! pkg/registry/batch/job.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::job_indexes;
use crate::shared::access::{at, flag, has, int, list, text};
use crate::shared::rules::{invalid_hidden, not_negative};
use crate::table::parse_time;

/// True when the Job has the condition, with status True.
pub fn is(job: &Value, kind: &str) -> bool {
    let mut conditions = list(job, &["status", "conditions"]).iter();
    conditions.any(|condition| text(condition, &["type"]) == kind && text(condition, &["status"]) == "True")
}

fn finished(job: &Value) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

/// A write to a Job's status.
struct Change<'a> {
    new: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    /// True when the write changes the status field.
    fn touches(&self, key: &str) -> bool {
        at(self.new, &["status", key]) != at(self.old, &["status", key])
    }

    /// True when the write sets or takes away the condition.
    fn turns(&self, kind: &str) -> bool {
        is(self.new, kind) != is(self.old, kind)
    }

    fn ends(&self) -> bool {
        finished(self.new) != finished(self.old)
    }

    fn count(&self, key: &str) -> i64 {
        int(self.new, &["status", key]).unwrap_or(0)
    }
}

/// Every error of a write to a Job's status.
pub fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let (change, path) = (Change { new, old }, Path::new("status"));
    let mut errors = counts(new, &path);
    errors.extend(ends(&change, &path));
    errors.extend(leftovers(&change, &path));
    errors.extend(indexes(&change, &path));
    errors.extend(successes(new, &path));
    errors.extend(steps_back(&change, &path));
    errors
}

fn counts(job: &Value, path: &Path) -> Vec<FieldError> {
    let status = at(job, &["status"]);
    let keys = ["active", "succeeded", "failed", "ready", "terminating"];
    let mut errors: Vec<FieldError> = keys.iter().flat_map(|key| not_negative(status, key, path)).collect();
    let mut seen = BTreeSet::new();
    for key in ["succeeded", "failed"] {
        for (index, uid) in list(status, &["uncountedTerminatedPods", key]).iter().enumerate() {
            let (path, uid) = (
                path.child("uncountedTerminatedPods").child(key).index(index),
                uid.as_str().unwrap_or_default(),
            );
            if uid.is_empty() {
                errors.push(FieldError::invalid(&path, uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(FieldError::duplicate(&path, uid));
            }
        }
    }
    errors
}

/// An end has one cause, and a time.
fn ends(change: &Change<'_>, path: &Path) -> Vec<FieldError> {
    let job = change.new;
    let complete = is(job, "Complete");
    let completed = at(job, &["status", "completionTime"]);
    let conditions = path.child("conditions");
    let mut errors = Vec::new();
    let mut refuse = |when: bool, detail: &str| {
        if when {
            errors.push(invalid_hidden(&conditions, detail));
        }
    };
    refuse(
        (change.turns("Complete") || change.turns("Failed")) && complete && is(job, "Failed"),
        "cannot set Complete=True and Failed=true conditions",
    );
    refuse(
        (change.turns("Complete") || change.turns("FailureTarget")) && complete && is(job, "FailureTarget"),
        "cannot set Complete=True and FailureTarget=true conditions",
    );
    if change.turns("Complete") || change.touches("completionTime") {
        let path = path.child("completionTime");
        if !completed.is_null() && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid(&path, completed, detail));
        }
        if completed.is_null() && complete {
            errors.push(FieldError::required(&path, "completionTime is required for Complete jobs"));
        }
    }
    let started = at(job, &["status", "startTime"]);
    if (change.touches("startTime") || change.touches("completionTime"))
        && let (Some(start), Some(end)) = (parse_time(started), parse_time(completed))
        && end < start
    {
        let detail = "must be equal to or after `startTime`";
        errors.push(FieldError::invalid(&path.child("completionTime"), completed, detail));
    }
    let mut refuse = |when: bool, detail: &str| {
        if when {
            errors.push(invalid_hidden(&conditions, detail));
        }
    };
    refuse(
        change.turns("Failed") && is(job, "Failed") && !is(job, "FailureTarget"),
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    refuse(
        change.turns("Complete") && complete && !is(job, "SuccessCriteriaMet"),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
    errors
}

/// A finished Job has started and has no pods left.
fn leftovers(change: &Change<'_>, path: &Path) -> Vec<FieldError> {
    let (job, over) = (change.new, finished(change.new));
    let mut errors = Vec::new();
    let active = change.count("active");
    if (change.ends() || change.touches("active")) && over && active > 0 {
        let detail = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid(&path.child("active"), active, detail));
    }
    let nothing_to_do = flag(job, &["spec", "suspend"]) && int(job, &["spec", "completions"]) == Some(0);
    let started = has(job, &["status", "startTime"]);
    if (change.ends() || change.touches("startTime")) && !nothing_to_do && over && !started {
        errors.push(FieldError::required(&path.child("startTime"), "startTime is required for finished job"));
    }
    let uncounted = at(job, &["status", "uncountedTerminatedPods"]);
    let some = ["succeeded", "failed"].iter().any(|key| !list(uncounted, &[key]).is_empty());
    if (change.ends() || change.touches("uncountedTerminatedPods")) && over && some {
        let path = path.child("uncountedTerminatedPods");
        errors.push(FieldError::invalid(&path, uncounted, "must be empty for finished job"));
    }
    errors
}

/// Only an indexed Job lists indexes, each below its completions and none both completed and failed.
fn indexes(change: &Change<'_>, path: &Path) -> Vec<FieldError> {
    let job = change.new;
    let completions = int(job, &["spec", "completions"]);
    let per_index = has(job, &["spec", "backoffLimitPerIndex"]);
    let (completed, failed) =
        (text(job, &["status", "completedIndexes"]), text(job, &["status", "failedIndexes"]));
    let mut errors = Vec::new();
    for (key, list, checked) in [("completedIndexes", completed, true), ("failedIndexes", failed, per_index)]
    {
        if change.touches(key)
            && checked
            && let Some(completions) = completions
            && let Err(why) = job_indexes::count(list, completions)
        {
            errors.push(FieldError::invalid(&path.child(key), list, format!("error parsing {key}: {why}")));
        }
    }
    let indexed = text(job, &["spec", "completionMode"]) == "Indexed";
    if change.touches("completedIndexes") && !completed.is_empty() && !indexed {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(&path.child("completedIndexes"), completed, detail));
    }
    let failed_path = path.child("failedIndexes");
    if change.touches("failedIndexes") && has(job, &["status", "failedIndexes"]) && !per_index {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(&failed_path, failed, detail));
    }
    if (change.touches("failedIndexes") || change.touches("completedIndexes"))
        && let Some(index) = completions.and_then(|count| job_indexes::overlap(completed, failed, count))
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(FieldError::invalid(&failed_path, failed, detail));
    }
    let (terminating, ready, active) =
        (change.count("terminating"), change.count("ready"), change.count("active"));
    if (change.ends() || change.touches("terminating")) && finished(job) && terminating > 0 {
        let detail = "terminating>0 is invalid for finished job";
        errors.push(FieldError::invalid(&path.child("terminating"), terminating, detail));
    }
    if (change.touches("ready") || change.touches("active")) && ready > active {
        errors.push(FieldError::invalid(
            &path.child("ready"),
            ready,
            "cannot set more ready pods than active",
        ));
    }
    errors
}

fn successes(job: &Value, path: &Path) -> Vec<FieldError> {
    let met = is(job, "SuccessCriteriaMet");
    let rules = [
        (met && is(job, "Failed"), "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (
            met && is(job, "FailureTarget"),
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            has(job, &["spec", "successPolicy"]) && !met && is(job, "Complete"),
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ];
    let path = path.child("conditions");
    rules.iter().filter(|(found, _)| *found).map(|(_, detail)| invalid_hidden(&path, *detail)).collect()
}

/// What has been reached stays.
fn steps_back(change: &Change<'_>, path: &Path) -> Vec<FieldError> {
    let (new, old, conditions) = (change.new, change.old, path.child("conditions"));
    let mut errors = Vec::new();
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is(old, kind) && !is(new, kind) {
            let detail = format!("cannot disable the terminal {kind}=True condition");
            errors.push(invalid_hidden(&conditions, detail));
        }
    }
    // An indexed Job that is scaled down forgets what it no longer asks for.
    let scales = text(new, &["spec", "completionMode"]) == "Indexed"
        && at(new, &["spec", "completions"]) == at(new, &["spec", "parallelism"]);
    for (key, fixed) in [("failed", true), ("succeeded", !scales)] {
        let count = change.count(key);
        if fixed && count < int(old, &["status", key]).unwrap_or(0) {
            let detail = format!("cannot decrease the {key} counter");
            errors.push(FieldError::invalid(&path.child(key), count, detail));
        }
    }
    let completed = at(new, &["status", "completionTime"]);
    if !completed.is_null() && has(old, &["status", "completionTime"]) && change.touches("completionTime") {
        errors.push(FieldError::invalid(&path.child("completionTime"), completed, "field is immutable"));
    }
    if has(old, &["status", "startTime"]) && change.touches("startTime") && !flag(new, &["spec", "suspend"]) {
        let detail = "startTime cannot be removed for unsuspended job";
        errors.push(FieldError::required(&path.child("startTime"), detail));
    }
    let (met, was_met) = (is(new, "SuccessCriteriaMet"), is(old, "SuccessCriteriaMet"));
    if was_met && !met {
        let detail = "cannot disable the SuccessCriteriaMet=True condition";
        errors.push(invalid_hidden(&conditions, detail));
    }
    if is(old, "Complete") && !was_met && met {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(invalid_hidden(&conditions, detail));
    }
    errors
}
