//! Tables of Jobs and CronJobs.

use serde_json::{Value, json};

use super::cron_job::CronJob;
use super::job::Job;
use crate::testing::Table;

const NEGATIVE: &str = "must be greater than or equal to 0";

fn template() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}})
}

#[test]
fn jobs() {
    let table = Table::of(&Job, json!({"metadata": {"name": "j"}, "spec": {"template": template()}}));
    table.defaults(&[
        (
            json!({}),
            json!({"spec.completions": 1, "spec.parallelism": 1, "spec.backoffLimit": 6, "spec.suspend": false,
                "spec.completionMode": "NonIndexed", "spec.podReplacementPolicy": "TerminatingOrFailed",
                "spec.selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}}),
        ),
        (json!({"spec.parallelism": 3}), json!({"spec.completions": null})),
    ]);
    table.valid(&[(
        "indexed",
        json!({"spec.completionMode": "Indexed", "spec.completions": 3, "spec.backoffLimitPerIndex": 1}),
    )]);
    table.invalid(&[
        (
            "counts",
            json!({"spec.parallelism": -1, "spec.ttlSecondsAfterFinished": -1}),
            &[
                &format!("spec.parallelism: Invalid value: -1: {NEGATIVE}"),
                &format!("spec.ttlSecondsAfterFinished: Invalid value: -1: {NEGATIVE}"),
            ],
        ),
        (
            "restarts",
            json!({"spec.template.spec.restartPolicy": "Always"}),
            &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
        ),
        (
            "not indexed",
            json!({"spec.backoffLimitPerIndex": 1}),
            &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        ),
    ]);
    table.updates(&[
        ("parallelism", json!({"spec.parallelism": 3}), &[]),
        (
            "completions",
            json!({"spec.completions": 2}),
            &["spec.completions: Invalid value: 2: field is immutable"],
        ),
    ]);
    table.generation(&[
        (json!({"spec.parallelism": 3}), true),
        (json!({"metadata.annotations": {"a": "b"}}), false),
    ]);
    table.status(&[
        ("running", json!({"status": {"active": 1}}), &[]),
        (
            "negative",
            json!({"status": {"failed": -1}}),
            &[&format!("status.failed: Invalid value: -1: {NEGATIVE}")],
        ),
    ]);
    table.selectable(&[("status.successful", "0")]);
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
            "long name",
            json!({"metadata.name": "a".repeat(53)}),
            &[&format!("metadata.name: Invalid value: \"{}\": must be no more than 52 characters", "a".repeat(53))],
        ),
    ]);
    table.generation(&[(json!({"spec.suspend": true}), true)]);
    table.rows(&[(
        json!({}),
        json!(["j", "*/5 * * * *", "<none>", "False", 0, "<none>", "60m", "c", "i:1", "<none>"]),
    )]);
}
