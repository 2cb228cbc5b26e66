//! CronJobs.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::{job, job_rules};
use crate::pod::template;
use crate::shared::access::{at, at_mut, default_text, default_to, drop_nulls, flag, has, list, text};
use crate::shared::labels::validate_labels;
use crate::shared::rules::{not_negative, one_of};
use crate::table::{AGE, NAME, age, column, containers_and_images, name, selector, since, wide};
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
    wide("Containers", "string", "Names of each container in the template."),
    wide("Images", "string", "Images referenced by each container in the template."),
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
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        let schedule = text(spec, &["schedule"]);
        if schedule.is_empty() {
            errors.push(FieldError::required(&path.child("schedule"), ""));
        } else if let Some(detail) = schedule_error(schedule) {
            errors.push(FieldError::invalid(&path.child("schedule"), schedule, detail));
        }
        if schedule.contains("TZ") {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(FieldError::invalid(&path.child("schedule"), schedule, detail));
        }
        if has(spec, &["timeZone"]) && jiff::tz::TimeZone::get(text(spec, &["timeZone"])).is_err() {
            let zone = text(spec, &["timeZone"]);
            let detail = format!("unknown time zone {zone}");
            errors.push(FieldError::invalid(&path.child("timeZone"), zone, detail));
        }
        for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
            errors.extend(not_negative(spec, key, &path));
        }
        errors.extend(one_of(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], &path));
        errors.extend(validate_job_template(at(spec, &["jobTemplate"]), &path.child("jobTemplate")));
        if crate::shared::meta::name(obj).len() > MAX_NAME {
            let path = Path::new("metadata").child("name");
            let detail = "must be no more than 52 characters";
            errors.push(FieldError::invalid(&path, crate::shared::meta::name(obj), detail));
        }
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
        let template = at(obj, &["spec", "jobTemplate", "spec", "template"]);
        template::warnings(template, "spec.jobTemplate.spec.template.spec")
    }
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

/// What is wrong with a schedule in Cron format: five fields, or one of the named schedules.
fn schedule_error(schedule: &str) -> Option<String> {
    let schedule = schedule.trim();
    if let Some(name) = schedule.strip_prefix('@') {
        let named = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        let every = name.strip_prefix("every ").is_some_and(|span| !span.trim().is_empty());
        return (!named.contains(&name) && !every).then(|| format!("unrecognized descriptor: @{name}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Some(format!("expected exactly 5 fields, found {}: {fields:?}", fields.len()));
    }
    let ranges: [(u32, u32, &[&str]); 5] = [
        (0, 59, &[]),
        (0, 23, &[]),
        (1, 31, &[]),
        (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
        (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
    ];
    fields
        .iter()
        .zip(ranges)
        .flat_map(|(field, range)| field.split(',').map(move |part| (part, range)))
        .find_map(|(part, (low, high, names))| cron_part_error(part, low, high, names))
}

fn cron_part_error(part: &str, low: u32, high: u32, names: &[&str]) -> Option<String> {
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    if let Some(step) = step {
        match step.parse::<u32>() {
            Ok(0) => return Some(format!("step of range should be a positive number: {part}")),
            Ok(_) => {}
            Err(_) => return Some(format!("failed to parse int from {step}")),
        }
    }
    if matches!(range, "*" | "?") {
        return None;
    }
    let number = |text: &str| -> Result<u32, String> {
        let named = names.iter().position(|name| *name == text.to_lowercase()).map(|at| at as u32 + low);
        named.map_or_else(|| text.parse().map_err(|_| format!("failed to parse int from {text}")), Ok)
    };
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    match (number(from), number(to)) {
        (Err(error), _) | (_, Err(error)) => Some(error),
        (Ok(from), _) if from < low => {
            Some(format!("beginning of range ({from}) below minimum ({low}): {part}"))
        }
        (_, Ok(to)) if to > high => Some(format!("end of range ({to}) above maximum ({high}): {part}")),
        (Ok(from), Ok(to)) if from > to => {
            Some(format!("beginning of range ({from}) beyond end of range ({to}): {part}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        for good in ["*/5 * * * *", "0 0 1 jan sun", "1,2,3-9/2 * * * 1-5", "@hourly", "@every 1h"] {
            assert_eq!(schedule_error(good), None, "{good}");
        }
        let cases = [
            ("* * * *", "expected exactly 5 fields, found 4: [\"*\", \"*\", \"*\", \"*\"]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("x * * * *", "failed to parse int from x"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@soon", "unrecognized descriptor: @soon"),
        ];
        for (bad, want) in cases {
            assert_eq!(schedule_error(bad).as_deref(), Some(want));
        }
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
}
