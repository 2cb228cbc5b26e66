//! Tables of Jobs.

use serde_json::{Value, json};

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
            &[
                &format!("status.failed: Invalid value: -1: {NEGATIVE}"),
                "status.failed: Invalid value: -1: cannot decrease the failed counter",
            ],
        ),
    ]);
    table.selectable(&[("status.successful", "0")]);
}

fn indexed() -> Table<'static> {
    let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 2, "backoffLimitPerIndex": 1,
        "suspend": true, "template": template()});
    Table::of(&Job, json!({"metadata": {"name": "j"}, "spec": spec}))
}

#[test]
fn generated_selectors() {
    let table = Table::of(&Job, json!({"metadata": {"name": "j"}, "spec": {"template": template()}}));
    let labels = json!({"batch.kubernetes.io/controller-uid": "u-1", "batch.kubernetes.io/job-name": "j",
        "controller-uid": "u-1", "job-name": "j"});
    table.defaults(&[(json!({}), json!({"spec.template.metadata.labels": labels}))]);
    let path = "spec.template.metadata.labels";
    table.invalid(&[
        (
            "a label of its own",
            json!({"spec.template.metadata": {"labels": {"job-name": "x"}}}),
            &[&format!("{path}[job-name]: Invalid value: {}: must be 'j'", labels_with("job-name", "x"))],
        ),
        (
            "a selector of its own",
            json!({"spec.selector": {"matchLabels": {"a": "b"}}}),
            &[
                "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kubernetes.io/controller-uid\":\"u-1\"}}: `selector` not auto-generated",
                &format!("{path}: Invalid value: {labels}: `selector` does not match template `labels`"),
            ],
        ),
        ("none", json!({"spec.manualSelector": true}), &["spec.selector: Required value"]),
    ]);
    table.valid(&[(
        "by hand",
        json!({"spec.manualSelector": true, "spec.selector": {"matchLabels": {"a": "b"}},
            "spec.template.metadata": {"labels": {"a": "b"}}}),
    )]);
}

fn labels_with(key: &str, value: &str) -> Value {
    let mut labels = json!({"batch.kubernetes.io/controller-uid": "u-1", "batch.kubernetes.io/job-name": "j",
        "controller-uid": "u-1", "job-name": "j"});
    labels[key] = json!(value);
    labels
}

#[test]
fn indexed_jobs() {
    let table = indexed();
    table.defaults(&[(json!({}), json!({"spec.backoffLimit": 2_147_483_647}))]);
    table.valid(&[
        ("others' controller", json!({"spec.managedBy": "a.b/c"})),
        ("some may fail", json!({"spec.maxFailedIndexes": 5})),
    ]);
    let many = "when completions are above 100000 and used with backoff limit per index";
    table.invalid(&[
        (
            "no completions",
            json!({"spec.completions": null}),
            &["spec.completions: Required value: when completion mode is Indexed"],
        ),
        (
            "no limit per index",
            json!({"spec.maxFailedIndexes": 1, "spec.backoffLimitPerIndex": null}),
            &["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"],
        ),
        (
            "more failures than completions",
            json!({"spec.maxFailedIndexes": 6}),
            &["spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions"],
        ),
        (
            "too many at once",
            json!({"spec.parallelism": 100_001}),
            &["spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"],
        ),
        (
            "many",
            json!({"spec.completions": 100_001, "spec.parallelism": 10_001}),
            &[
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
                &format!("spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 {many}"),
            ],
        ),
        (
            "many failures",
            json!({"spec.completions": 100_001, "spec.maxFailedIndexes": 10_001}),
            &[&format!("spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 {many}")],
        ),
        (
            "a mode",
            json!({"spec.completionMode": "X", "spec.podReplacementPolicy": "X"}),
            &[
                "spec.completionMode: Unsupported value: \"X\": supported values: \"NonIndexed\", \"Indexed\"",
                "spec.podReplacementPolicy: Unsupported value: \"X\": supported values: \"Failed\", \"TerminatingOrFailed\"",
            ],
        ),
        (
            "a manager",
            json!({"spec.managedBy": "x"}),
            &["spec.managedBy: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
        ),
        (
            "a manager's length",
            json!({"spec.managedBy": format!("a.b/{}", "c".repeat(60))}),
            &["spec.managedBy: Too long: may not be more than 63 bytes"],
        ),
        (
            "names of pods",
            json!({"metadata.name": "a.b"}),
            &["metadata.name: Invalid value: \"a.b\": will not able to create pod with invalid DNS label: a.b-4"],
        ),
    ]);
    table.updates(&[
        ("scaled", json!({"spec.completions": 3, "spec.parallelism": 3}), &[]),
        (
            "half scaled",
            json!({"spec.completions": 3}),
            &["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"],
        ),
        (
            "fixed",
            json!({"spec.backoffLimitPerIndex": 2, "spec.managedBy": "a.b/c"}),
            &[
                "spec.backoffLimitPerIndex: Invalid value: 2: field is immutable",
                "spec.managedBy: Invalid value: \"a.b/c\": field is immutable",
            ],
        ),
        (
            "placed while suspended",
            json!({"spec.template.spec.nodeSelector": {"a": "b"}, "spec.template.spec.affinity": {"nodeAffinity": {}},
                "spec.template.metadata.annotations": {"a": "b"}}),
            &[],
        ),
        (
            "other resources while suspended",
            json!({"spec.template.spec.containers[0].resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "4"}}}),
            &[],
        ),
        (
            "resources that are none",
            json!({"spec.template.spec.containers[0].resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            &["spec.template.spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
        ),
    ]);
    moved_only_at_rest(&table);
    let image = json!({"spec.template.spec.containers[0].image": "j"});
    let changed = crate::testing::patched(table.stored(), &image)["spec"]["template"].clone();
    table.updates(&[(
        "another image",
        image,
        &[&format!("spec.template: Invalid value: {changed}: field is immutable")],
    )]);
}

/// Who may change resources and placement of the template, by the Job's own state.
fn moved_only_at_rest(table: &Table<'_>) {
    let started = "2026-01-01T00:00:00Z";
    let suspended = json!([{"type": "Suspended", "status": "True"}]);
    let changes = [
        json!({"spec.template.spec.containers[0].resources": {"requests": {"cpu": "2"}}}),
        json!({"spec.template.spec.tolerations": [{"operator": "Exists"}]}),
    ];
    for (state, old, allowed) in [
        ("runs", json!({"spec.suspend": false}), false),
        ("never ran", json!({}), true),
        ("never ran but has a pod", json!({"status.active": 1}), false),
        ("ran, its suspension not seen", json!({"status.startTime": started}), false),
        ("ran and was suspended", json!({"status.startTime": started, "status.conditions": suspended}), true),
        ("was suspended, pods still go", json!({"status.active": 1, "status.conditions": suspended}), false),
    ] {
        for change in &changes {
            let stored = crate::testing::patched(table.stored(), &old);
            let new = crate::testing::patched(&stored, change);
            let errors = crate::testing::update(&Job, new, &stored).1;
            let template = errors.iter().any(|error| error.starts_with("spec.template: "));
            assert_eq!((errors.len(), template), (usize::from(!allowed), !allowed), "{state}: {errors:?}");
        }
    }
}

#[test]
fn failure_policies() {
    let table = indexed();
    let with = |rules: Value| json!({"spec.podFailurePolicy": {"rules": rules}});
    let codes = json!({"operator": "In", "values": [1, 2]});
    table.defaults(&[(
        with(json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}])),
        json!({"spec.podFailurePolicy.rules[0].onPodConditions[0].status": "True", "spec.podReplacementPolicy": "Failed"}),
    )]);
    table.valid(&[("codes", with(json!([{"action": "FailIndex", "onExitCodes": codes}])))]);
    let path = "spec.podFailurePolicy.rules";
    let rule = json!({"action": "Count", "onExitCodes": codes});
    table.invalid(&[
        (
            "too many",
            with(Value::Array(vec![rule.clone(); 21])),
            &[&format!("{path}: Too many: 21: must have at most 20 items")],
        ),
        (
            "nothing",
            with(json!([{}])),
            &[
                &format!("{path}[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
                &format!("{path}[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
            ],
        ),
        (
            "both",
            with(json!([{"action": "X", "onExitCodes": codes, "onPodConditions": [{"type": "-", "status": "X"}]}])),
            &[
                &format!("{path}[0].action: Unsupported value: \"X\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\""),
                &format!("{path}[0].onPodConditions[0].type: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"),
                &format!("{path}[0].onPodConditions[0].status: Unsupported value: \"X\": supported values: \"False\", \"True\", \"Unknown\""),
                &format!("{path}[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"),
            ],
        ),
        (
            "codes",
            with(json!([{"action": "Count", "onExitCodes": {"operator": "In", "containerName": "x", "values": [2, 0, 2]}}])),
            &[
                &format!("{path}[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template"),
                &format!("{path}[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator"),
                &format!("{path}[0].onExitCodes.values[2]: Duplicate value: 2"),
                &format!("{path}[0].onExitCodes.values: Invalid value: [2,0,2]: must be ordered"),
            ],
        ),
        (
            "no codes",
            with(json!([{"action": "Count", "onExitCodes": {"values": []}}])),
            &[
                &format!("{path}[0].onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]"),
                &format!("{path}[0].onExitCodes.values: Invalid value: []: at least one value is required"),
            ],
        ),
        (
            "an index without a limit",
            json!({"spec.podFailurePolicy": {"rules": [{"action": "FailIndex", "onExitCodes": codes}]}, "spec.backoffLimitPerIndex": null}),
            &[&format!("{path}[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set")],
        ),
        (
            "restarts and replacements",
            json!({"spec.podFailurePolicy": {"rules": []}, "spec.podReplacementPolicy": "TerminatingOrFailed",
                "spec.template.spec.restartPolicy": "OnFailure"}),
            &[
                "spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
                "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified",
            ],
        ),
    ]);
}

#[test]
fn success_policies() {
    let table = indexed();
    let with = |rules: Value| json!({"spec.successPolicy": {"rules": rules}});
    table.valid(&[("both", with(json!([{"succeededIndexes": "0,2-3", "succeededCount": 2}])))]);
    let path = "spec.successPolicy.rules";
    table.invalid(&[
        (
            "none",
            with(json!([])),
            &[&format!("{path}: Required value: at least one rules must be specified when the successPolicy is specified")],
        ),
        (
            "too many",
            with(Value::Array(vec![json!({"succeededCount": 1}); 21])),
            &[&format!("{path}: Too many: 21: must have at most 20 items")],
        ),
        (
            "empty",
            with(json!([{}])),
            &[&format!("{path}[0]: Required value: at least one of succeededCount or succeededIndexes must be specified")],
        ),
        (
            "indexes",
            with(json!([{"succeededIndexes": "3-5"}])),
            &[&format!("{path}[0].succeededIndexes: Invalid value: \"3-5\": error parsing succeededIndexes: too large index: \"5\"")],
        ),
        (
            "counts",
            with(json!([{"succeededCount": -1}, {"succeededCount": 6, "succeededIndexes": "1"}])),
            &[
                &format!("{path}[0].succeededCount: Invalid value: -1: {NEGATIVE}"),
                &format!("{path}[1].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)"),
                &format!("{path}[1].succeededCount: Invalid value: 6: must be less than or equal to 1 (the number of indexes in the specified succeededIndexes field)"),
            ],
        ),
        (
            "not indexed",
            json!({"spec.completionMode": "NonIndexed", "spec.backoffLimitPerIndex": null, "spec.successPolicy": {"rules": []}}),
            &["spec.successPolicy: Invalid value: {\"rules\":[]}: requires indexed completion mode"],
        ),
    ]);
}

/// A patch that gives the Job these conditions and more of its status.
fn with_conditions(kinds: &[&str], more: Value) -> Value {
    let conditions: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
    let mut status = json!({"conditions": conditions});
    status.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    json!({"status": status})
}

#[test]
fn statuses() {
    let table = indexed();
    let (start, end) = ("2026-01-01T00:10:00Z", "2026-01-01T00:20:00Z");
    table.status(&[
        (
            "complete",
            with_conditions(&["SuccessCriteriaMet", "Complete"], json!({"startTime": start, "completionTime": end, "completedIndexes": "0-4"})),
            &[],
        ),
        ("failed", with_conditions(&["FailureTarget", "Failed"], json!({"startTime": start, "failedIndexes": "0"})), &[]),
        (
            "an end without its cause",
            with_conditions(&["Complete", "Failed"], json!({"active": 1, "terminating": 1, "completionTime": end})),
            &[
                "status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions",
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
                "status.startTime: Required value: startTime is required for finished job",
                "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
            ],
        ),
        (
            "both causes",
            with_conditions(&["SuccessCriteriaMet", "FailureTarget"], json!({})),
            &["status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"],
        ),
        (
            "times",
            json!({"status": {"startTime": end, "completionTime": start}}),
            &[
                &format!("status.completionTime: Invalid value: \"{start}\": cannot set completionTime when there is no Complete=True condition"),
                &format!("status.completionTime: Invalid value: \"{start}\": must be equal to or after `startTime`"),
            ],
        ),
        (
            "complete without a time",
            with_conditions(&["SuccessCriteriaMet", "Complete"], json!({"startTime": start, "uncountedTerminatedPods": {"failed": ["u"]}})),
            &[
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"u\"]}: must be empty for finished job",
            ],
        ),
        (
            "indexes and pods",
            json!({"status": {"completedIndexes": "0-3", "failedIndexes": "2,7", "ready": 2, "active": 1,
                "uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}}),
            &[
                "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
                "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
                "status.failedIndexes: Invalid value: \"2,7\": error parsing failedIndexes: too large index: \"7\"",
                "status.failedIndexes: Invalid value: \"2,7\": failedIndexes and completedIndexes overlap at index: 2",
                "status.ready: Invalid value: 2: cannot set more ready pods than active",
            ],
        ),
    ]);
    let done = with_conditions(
        &["SuccessCriteriaMet", "Complete"],
        json!({"startTime": start, "completionTime": end, "succeeded": 5, "failed": 1}),
    );
    table.status_of(
        &done,
        &[
            (
                "taken back",
                json!({"status": {"startTime": start, "succeeded": 4}}),
                &[
                    "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                    "status.failed: Invalid value: 0: cannot decrease the failed counter",
                    "status.succeeded: Invalid value: 4: cannot decrease the succeeded counter",
                    "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
                ],
            ),
            (
                "another end",
                json!({"status.completionTime": "2026-01-01T00:30:00Z"}),
                &["status.completionTime: Invalid value: \"2026-01-01T00:30:00Z\": field is immutable"],
            ),
        ],
    );
    let plain = Table::of(&Job, json!({"metadata": {"name": "j"}, "spec": {"template": template()}}));
    plain.status(&[(
        "indexes",
        json!({"status": {"completedIndexes": "0", "failedIndexes": "0"}}),
        &[
            "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
            "status.failedIndexes: Invalid value: \"0\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            "status.failedIndexes: Invalid value: \"0\": failedIndexes and completedIndexes overlap at index: 0",
        ],
    )]);
    plain.status_of(
        &json!({"status": {"startTime": start}}),
        &[(
            "started again",
            json!({"status": {}}),
            &["status.startTime: Required value: startTime cannot be removed for unsuspended job"],
        )],
    );
}
