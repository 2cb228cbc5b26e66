//! Jobs: a generated selector, an immutable template, completions and their duration.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{job_rules, job_status};
use crate::pod::template;
use crate::shared::access::{at, default_text, default_to, drop_nulls, flag, has, int, list_mut, set, text};
use crate::shared::labels::{selects, validate_selector};
use crate::table::{
    AGE, CONTAINERS, IMAGES, NAME, age, column, containers_and_images, human_duration, name, parse_time,
    selector, wide,
};
use crate::{Column, Context, Facts, Generation, Strategy, generic};

static FACTS: Facts =
    Facts::namespaced("batch", "Job", "jobs").with_status().with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "Status of the job."),
    column("Completions", "string", "How many pods succeeded, of how many that should."),
    column("Duration", "string", "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "string", "A label query over pods that should match the pod count."),
];
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// The strategy of Jobs.
pub struct Job;

/// Sets what upstream sets on a Job's spec, in a Job or in a CronJob's template.
pub fn defaults_of_spec(spec: &mut Value) {
    if !has(spec, &["completions"]) && !has(spec, &["parallelism"]) {
        set(spec, &["completions"], json!(1));
        set(spec, &["parallelism"], json!(1));
    }
    default_to(spec, &["parallelism"], 1);
    let indexed = has(spec, &["backoffLimitPerIndex"]);
    default_to(spec, &["backoffLimit"], if indexed { i64::from(i32::MAX) } else { 6 });
    default_text(spec, &["completionMode"], "NonIndexed");
    default_to(spec, &["suspend"], false);
    default_to(spec, &["manualSelector"], false);
    for rule in list_mut(spec, &["podFailurePolicy", "rules"]) {
        for pattern in list_mut(rule, &["onPodConditions"]) {
            default_text(pattern, &["status"], "True");
        }
    }
    let replacement = if has(spec, &["podFailurePolicy"]) { "Failed" } else { "TerminatingOrFailed" };
    default_text(spec, &["podReplacementPolicy"], replacement);
    template::defaults(spec, &["template"]);
}

/// Gives the Job a selector no other Job has, and its pods the labels that match it. What the user set stays, for
/// validation to refuse.
fn generate_selector(obj: &mut Value) {
    let uid = text(obj, &["metadata", "uid"]).to_owned();
    let name = text(obj, &["metadata", "name"]).to_owned();
    for (key, value) in generated_labels(&uid, &name) {
        default_to(obj, &["spec", "template", "metadata", "labels", key], value);
    }
    default_to(obj, &["spec", "selector", "matchLabels", CONTROLLER_UID], uid);
}

/// The labels of a Job's pods, in the order upstream checks them.
fn generated_labels<'a>(uid: &'a str, name: &'a str) -> [(&'static str, &'a str); 4] {
    [("controller-uid", uid), ("job-name", name), (CONTROLLER_UID, uid), (JOB_NAME, name)]
}

impl Strategy for Job {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        if !has(obj, &["metadata", "labels"]) && has(obj, &["spec", "template", "metadata", "labels"]) {
            let labels = at(obj, &["spec", "template", "metadata", "labels"]).clone();
            set(obj, &["metadata", "labels"], labels);
        }
        if let Some(spec) = obj.get_mut("spec").filter(|spec| spec.is_object()) {
            defaults_of_spec(spec);
        }
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        if !flag(obj, &["spec", "manualSelector"]) {
            generate_selector(obj);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_all(obj, true));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let labels = at(old, &["spec", "template", "metadata", "labels"]);
        // A Job of before these labels may go on without them.
        let prefixed = has(labels, &[CONTROLLER_UID]) && has(labels, &[JOB_NAME]);
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_all(obj, prefixed));
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors.extend(job_rules::validate_update(obj, old));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(job_status::validate(obj, old));
        errors
    }

    fn selectable_field_names(&self) -> &[&str] {
        &["status.successful"]
    }

    fn selectable_fields(&self, obj: &Value) -> Vec<(String, String)> {
        let succeeded = int(obj, &["status", "succeeded"]).unwrap_or(0);
        vec![("status.successful".to_owned(), succeeded.to_string())]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let (names, images) = containers_and_images(at(obj, &["spec", "template", "spec"]));
        vec![
            name(obj),
            json!(status(obj)),
            json!(completions(obj)),
            json!(duration(obj, now)),
            age(obj, now),
            json!(names),
            json!(images),
            json!(selector(at(obj, &["spec", "selector"]))),
        ]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        template::workload_warnings(obj, true)
    }

    fn update_warnings(&self, obj: &Value, old: &Value) -> Vec<String> {
        template::workload_update_warnings(obj, old)
    }
}

/// Every error but the metadata's; `prefixed` is whether the generated labels must be there under their prefix too.
fn validate_all(obj: &Value, prefixed: bool) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = validate_generated(obj, prefixed, &path);
    errors.extend(job_rules::validate_spec(at(obj, &["spec"]), &path));
    errors.extend(validate_selected(obj, &path));
    errors.extend(validate_hostname(obj));
    errors
}

fn validate_generated(obj: &Value, prefixed: bool, path: &Path) -> Vec<FieldError> {
    if flag(obj, &["spec", "manualSelector"]) || !has(obj, &["spec", "selector"]) {
        return Vec::new();
    }
    let labels = at(obj, &["spec", "template", "metadata", "labels"]);
    let wanted = generated_labels(text(obj, &["metadata", "uid"]), crate::shared::meta::name(obj));
    let wanted = if prefixed { &wanted[..] } else { &wanted[..2] };
    let labels_path = path.child("template").child("metadata").child("labels");
    let mut errors = Vec::new();
    for &(key, want) in wanted {
        let path = labels_path.key(key);
        match at(labels, &[key]).as_str() {
            None => errors.push(FieldError::required(&path, format!("must be '{want}'"))),
            Some(found) if found != want => {
                errors.push(FieldError::invalid(&path, labels, format!("must be '{want}'")));
            }
            Some(_) => {}
        }
    }
    let found = at(obj, &["spec", "selector"]);
    if !selects(found, &wanted.iter().map(|&(key, want)| (key.to_owned(), json!(want))).collect()) {
        errors.push(FieldError::invalid(&path.child("selector"), found, "`selector` not auto-generated"));
    }
    errors
}

fn validate_selected(obj: &Value, path: &Path) -> Vec<FieldError> {
    let found = at(obj, &["spec", "selector"]);
    if found.is_null() {
        return vec![FieldError::required(&path.child("selector"), "")];
    }
    let mut errors = validate_selector(found, &path.child("selector"));
    let labels = at(obj, &["spec", "template", "metadata", "labels"]);
    if !selects(found, labels) {
        let path = path.child("template").child("metadata").child("labels");
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(&path, labels, detail));
    }
    errors
}

/// The names of an indexed Job's pods end in their index, and are their hostnames.
fn validate_hostname(obj: &Value) -> Vec<FieldError> {
    let completions = int(obj, &["spec", "completions"]).unwrap_or(0);
    if text(obj, &["spec", "completionMode"]) != "Indexed" || completions <= 0 {
        return Vec::new();
    }
    let name = crate::shared::meta::name(obj);
    let last = format!("{name}-{}", completions - 1);
    if names::is_dns1123_label(&last).is_empty() {
        return Vec::new();
    }
    let detail = format!("will not able to create pod with invalid DNS label: {last}");
    vec![FieldError::invalid(&Path::new("metadata").child("name"), name, detail)]
}

fn status(obj: &Value) -> &'static str {
    let is = |kind: &str| job_status::is(obj, kind);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if has(obj, &["metadata", "deletionTimestamp"]) {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(obj: &Value) -> String {
    let succeeded = int(obj, &["status", "succeeded"]).unwrap_or(0);
    match int(obj, &["spec", "completions"]) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None => match int(obj, &["spec", "parallelism"]).unwrap_or(0) {
            parallelism if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            _ => format!("{succeeded}/1"),
        },
    }
}

fn duration(obj: &Value, now: Timestamp) -> String {
    let time = |key: &str| parse_time(at(obj, &["status", key]));
    let Some(start) = time("startTime") else { return String::new() };
    let end = time("completionTime").unwrap_or(now);
    human_duration(end.as_second() - start.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    fn job() -> Value {
        json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[test]
    fn a_job_gets_a_selector_of_its_own() {
        let (obj, errors) = create(&Job, job());
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            obj["spec"]["selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}})
        );
        assert_eq!(
            obj["spec"]["template"]["metadata"]["labels"],
            json!({"controller-uid": "u-1", "batch.kubernetes.io/controller-uid": "u-1", "job-name": "j",
                "batch.kubernetes.io/job-name": "j"})
        );
        let spec = &obj["spec"];
        assert_eq!(
            (&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]),
            (&json!(1), &json!(1), &json!(6))
        );
        assert_eq!(spec["completionMode"], "NonIndexed");
        assert_eq!(spec["podReplacementPolicy"], "TerminatingOrFailed");
    }

    #[test]
    fn rows_show_progress_and_time() {
        let (mut obj, _) = create(&Job, job());
        assert_eq!(Job.row(&obj, now())[1..4], [json!("Running"), json!("0/1"), json!("")]);
        obj["status"] = json!({"succeeded": 1, "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:00:30Z", "conditions": [{"type": "Complete", "status": "True"}]});
        assert_eq!(Job.row(&obj, now())[1..4], [json!("Complete"), json!("1/1"), json!("30s")]);
        assert_eq!(Job.selectable_fields(&obj)[0].1, "1");
    }

    #[test]
    fn template_and_selector_are_immutable() {
        let (old, _) = create(&Job, job());
        let mut new = old.clone();
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        let errors = update(&Job, new, &old).1;
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("spec.template: Invalid value: "));
        assert!(errors[0].ends_with(": field is immutable"));
        let mut always = job();
        always["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        assert_eq!(
            create(&Job, always).1,
            ["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""]
        );
    }
}
