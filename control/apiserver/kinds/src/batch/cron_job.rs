//! CronJobs.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::{job, job_rules, schedule};
use crate::pod::template;
use crate::pod::warnings::of_name;
use crate::shared::access::{at, at_mut, default_text, default_to, drop_nulls, flag, has, list, text};
use crate::shared::labels::validate_labels;
use crate::shared::rules::{not_negative, one_of};
use crate::table::{
    AGE, CONTAINERS, IMAGES, NAME, age, column, containers_and_images, name, selector, since, wide,
};
use crate::{Column, Facts, Generation, Strategy, generic};

static FACTS: Facts =
    Facts::namespaced("batch", "CronJob", "cronjobs").with_status().with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column("Schedule", "string", "The schedule in Cron format."),
    column("Timezone", "string", "The time zone name for the given schedule."),
    column("Suspend", "boolean", "Whether later executions are held back."),
    column("Active", "integer", "The number of running jobs."),
    column("Last Schedule", "string", "When the job was last scheduled."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "string", "A label query over pods that should match the pod count."),
];
const MAX_NAME: usize = 52;

/// The strategy of CronJobs.
pub struct CronJob;

impl Strategy for CronJob {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["spec", "concurrencyPolicy"], "Allow");
        default_to(obj, &["spec", "suspend"], false);
        default_to(obj, &["spec", "successfulJobsHistoryLimit"], 3);
        default_to(obj, &["spec", "failedJobsHistoryLimit"], 1);
        if let Some(spec) = at_mut(obj, &["spec", "jobTemplate", "spec"]) {
            template::defaults(spec, &["template"]);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_spec(at(obj, &["spec"]), &Value::Null));
        let name = crate::shared::meta::name(obj);
        if name.len() > MAX_NAME {
            let path = Path::new("metadata").child("name");
            errors.push(FieldError::invalid(&path, name, "must be no more than 52 characters"));
        }
        errors
    }

    /// A name that is too long stays usable, and so does what time zones were not checked for before.
    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors.extend(validate_spec(at(obj, &["spec"]), at(old, &["spec"])));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let or_none = |text: &str| crate::table::or_none(text);
        let job = at(obj, &["spec", "jobTemplate", "spec"]);
        let (names, images) = containers_and_images(at(job, &["template", "spec"]));
        let last = at(obj, &["status", "lastScheduleTime"]);
        let last = if last.is_null() { "<none>".to_owned() } else { since(last, now) };
        vec![
            name(obj),
            json!(text(obj, &["spec", "schedule"])),
            json!(or_none(text(obj, &["spec", "timeZone"]))),
            json!(if flag(obj, &["spec", "suspend"]) { "True" } else { "False" }),
            json!(list(obj, &["status", "active"]).len()),
            json!(last),
            age(obj, now),
            json!(names),
            json!(images),
            json!(selector(at(job, &["selector"]))),
        ]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        of_name(obj, "Pod names and hostnames").into_iter().chain(template_warnings(obj)).collect()
    }

    fn update_warnings(&self, obj: &Value, old: &Value) -> Vec<String> {
        if template::is_same(obj, old) { Vec::new() } else { template_warnings(obj) }
    }
}

fn template_warnings(obj: &Value) -> Vec<String> {
    let path = Path::new("spec").child("jobTemplate").child("spec").child("template");
    template::warnings(at(obj, &["spec", "jobTemplate", "spec", "template"]), &path)
}

/// Every error of a spec; `old` is null for a new one.
fn validate_spec(spec: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = Vec::new();
    let (text_of, schedule_path) = (text(spec, &["schedule"]), path.child("schedule"));
    if text_of.is_empty() {
        errors.push(FieldError::required(&schedule_path, ""));
    } else {
        let mut refuse = |detail: String| errors.push(FieldError::invalid(&schedule_path, text_of, detail));
        schedule::error(text_of).into_iter().for_each(&mut refuse);
        if text_of.contains("TZ") {
            if !text(old, &["schedule"]).contains("TZ") {
                refuse("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
            } else if has(spec, &["timeZone"]) {
                refuse("cannot use both timeZone field and TZ or CRON_TZ in schedule".to_owned());
            }
        }
    }
    errors.extend(not_negative(spec, "startingDeadlineSeconds", &path));
    if old.is_null() || at(old, &["timeZone"]) != at(spec, &["timeZone"]) {
        errors.extend(validate_zone(spec, &path.child("timeZone")));
    }
    errors.extend(one_of(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], &path));
    errors.extend(validate_job_template(at(spec, &["jobTemplate"]), &path.child("jobTemplate")));
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.extend(not_negative(spec, key, &path));
    }
    errors
}

/// The errors of `spec.timeZone`: a name of the IANA's data, spelt as names there are.
fn validate_zone(spec: &Value, path: &Path) -> Vec<FieldError> {
    let Some(zone) = at(spec, &["timeZone"]).as_str() else { return Vec::new() };
    let refuse = |detail: String| FieldError::invalid(path, zone, detail);
    if zone.is_empty() {
        return vec![refuse("timeZone must be nil or non-empty string".to_owned())];
    }
    let spelt = |part: &str| {
        let char_fits = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.chars().all(char_fits)
    };
    if !zone.split('/').all(spelt) {
        return vec![refuse(format!("unknown time zone {zone}"))];
    }
    let mut errors = Vec::new();
    if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(refuse(detail.to_owned()));
    }
    // Upstream's loader takes this one name for the machine's own zone.
    if zone != "Local" && !schedule::is_zone(zone) {
        errors.push(refuse(format!("unknown time zone {zone}")));
    }
    errors
}

/// The template's job has no selector yet, and gets its own defaults when it is made.
fn validate_job_template(template: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors =
        validate_labels(at(template, &["metadata", "labels"]), &path.child("metadata").child("labels"));
    let mut spec = at(template, &["spec"]).clone();
    if spec.is_object() {
        job::defaults_of_spec(&mut spec);
    }
    let path = path.child("spec");
    errors.extend(job_rules::validate_spec(&spec, &path));
    if has(&spec, &["selector"]) {
        let detail = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(&path.child("selector"), at(&spec, &["selector"]), detail));
    }
    if flag(&spec, &["manualSelector"]) {
        let allowed = ["nil", "false"];
        errors.push(FieldError::not_supported(&path.child("manualSelector"), true, &allowed));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Table, create, now};

    const NEGATIVE: &str = "must be greater than or equal to 0";

    fn template() -> Value {
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}})
    }

    #[test]
    fn a_cron_job_is_defaulted_checked_and_shown() {
        let (obj, errors) = create(
            &CronJob,
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec":
                {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}),
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(obj["spec"]["concurrencyPolicy"], "Allow");
        assert_eq!(
            CronJob.row(&obj, now())[..7],
            [
                json!("a"),
                json!("* * * * *"),
                json!("<none>"),
                json!("False"),
                json!(0),
                json!("<none>"),
                json!("60m")
            ]
        );
    }

    #[test]
    fn cron_jobs() {
        let table = Table::of(
            &CronJob,
            json!({"metadata": {"name": "j"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template()}}}}),
        );
        table.defaults(&[(
            json!({}),
            json!({"spec.concurrencyPolicy": "Allow", "spec.suspend": false, "spec.successfulJobsHistoryLimit": 3,
                "spec.failedJobsHistoryLimit": 1}),
        )]);
        table.valid(&[("named", json!({"spec.schedule": "@daily", "spec.timeZone": "Europe/Vienna"}))]);
        table.invalid(&[
            ("none", json!({"spec.schedule": ""}), &["spec.schedule: Required value"]),
            (
                "policy",
                json!({"spec.concurrencyPolicy": "X", "spec.startingDeadlineSeconds": -1}),
                &[
                    &format!("spec.startingDeadlineSeconds: Invalid value: -1: {NEGATIVE}"),
                    "spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                ],
            ),
            (
                "zone",
                json!({"spec.timeZone": "Nowhere/Here"}),
                &["spec.timeZone: Invalid value: \"Nowhere/Here\": unknown time zone Nowhere/Here"],
            ),
            (
                "no zone",
                json!({"spec.timeZone": ""}),
                &["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"],
            ),
            (
                "a path that leads out",
                json!({"spec.timeZone": "Europe/../UTC"}),
                &["spec.timeZone: Invalid value: \"Europe/../UTC\": unknown time zone Europe/../UTC"],
            ),
            (
                "the machine's zone",
                json!({"spec.timeZone": "Local"}),
                &["spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"],
            ),
            (
                "a zone in the schedule",
                json!({"spec.schedule": "TZ=Europe/Vienna 0 * * * *"}),
                &["spec.schedule: Invalid value: \"TZ=Europe/Vienna 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"],
            ),
            (
                "a template's selector",
                json!({"spec.jobTemplate.spec.selector": {"matchLabels": {"a": "b"}}, "spec.jobTemplate.spec.manualSelector": true}),
                &[
                    "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
                    "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
                ],
            ),
            (
                "long name",
                json!({"metadata.name": "a".repeat(53)}),
                &[&format!("metadata.name: Invalid value: \"{}\": must be no more than 52 characters", "a".repeat(53))],
            ),
        ]);
        let (zoned, both) =
            ("TZ=Europe/Vienna 0 * * * *", "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        table.updates_of(
            &json!({"spec.schedule": zoned, "metadata.name": "a".repeat(60)}),
            &[
                ("old zones and names stay", json!({"spec.suspend": true}), &[]),
                (
                    "in both places",
                    json!({"spec.timeZone": "Europe/Vienna"}),
                    &[&format!("spec.schedule: Invalid value: \"{zoned}\": {both}")],
                ),
            ],
        );
        table.updates_of(
            &json!({"spec.timeZone": "Mars/Base"}),
            &[("an old zone that is gone", json!({"spec.suspend": true}), &[])],
        );
        table.generation(&[(json!({"spec.suspend": true}), true)]);
        table.rows(&[(
            json!({}),
            json!(["j", "*/5 * * * *", "<none>", "False", 0, "<none>", "60m", "c", "i:1", "<none>"]),
        )]);
    }
}
