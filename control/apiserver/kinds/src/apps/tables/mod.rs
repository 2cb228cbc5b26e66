//! Tables of the workloads.

use serde_json::{Value, json};

use super::deployment::Deployment;
use super::replica_set::ReplicaSet;
use crate::Strategy;
use crate::core::replication_controller::ReplicationController;
use crate::testing::Table;

mod sets;

const NEGATIVE: &str = "must be greater than or equal to 0";

fn base() -> Value {
    json!({"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
}

fn table(strategy: &'static dyn Strategy) -> Table<'static> {
    Table::of(strategy, base())
}

/// What every workload says of its selector and template.
fn selectors_and_templates(strategy: &'static dyn Strategy, what: &str, kind: &str) {
    let empty = format!("spec.selector: Invalid value: {{}}: empty selector is invalid for {what}");
    let deadline = format!(
        "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {kind} is not Supported"
    );
    let fixed = "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable";
    let table = table(strategy);
    let mismatch = |labels: &str| {
        format!(
            "spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`"
        )
    };
    let annotation = "spec.template.annotations: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    // A StatefulSet's template is looked at twice.
    let annotations = vec![annotation; if what == "statefulset" { 2 } else { 1 }];
    let near = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    let operator =
        "spec.selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator"
            .to_owned();
    let unreadable = format!("spec.selector: Invalid value: {near}");
    let image = "spec.template.spec.containers[0].image: Required value".to_owned();
    let (required, of_pods) = ("spec.selector: Required value".to_owned(), mismatch("{\"a\":\"b\"}"));
    // A DaemonSet's selector is only matched; the pods' rules wait for a selector that can be read elsewhere.
    let (missing, wrong) = match what {
        "daemonset" => (vec![of_pods.clone()], vec![operator, image.clone()]),
        "statefulset" => (vec![required, of_pods.clone()], vec![operator, unreadable]),
        _ => {
            (vec![required, of_pods.clone()], vec![operator, format!("{unreadable}: invalid label selector")])
        }
    };
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    table.invalid(&[
        ("empty", json!({"spec.selector": {}}), &[&empty]),
        ("none", json!({"spec.selector": null}), &missing),
        ("unreadable", json!({"spec.selector": near, "spec.template.spec.containers[0].image": ""}), &wrong),
        ("another", json!({"spec.selector.matchLabels.a": "c"}), &[&of_pods]),
        (
            "no template",
            json!({"spec.template": null}),
            &[&mismatch("null"), "spec.template.spec.containers: Required value"],
        ),
        ("pod", json!({"spec.template.spec.containers[0].image": ""}), &[&image]),
        (
            "restarts",
            json!({"spec.template.spec.restartPolicy": "Never", "spec.template.spec.activeDeadlineSeconds": 5}),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"", &deadline],
        ),
        (
            "annotations",
            json!({"spec.template.metadata.annotations": {"-": "x"}}),
            &annotations,
        ),
        ("ready", json!({"spec.minReadySeconds": -1}), &[&format!("spec.minReadySeconds: Invalid value: -1: {NEGATIVE}")]),
    ]);
    if what != "statefulset" {
        table.updates(&[(
            "selector",
            json!({"spec.selector.matchLabels.a": "c", "spec.template.metadata.labels.a": "c"}),
            &[fixed],
        )]);
    }
    table.generation(&[
        (json!({"metadata.labels": {"x": "y"}}), false),
        (json!({"spec.minReadySeconds": 5}), true),
    ]);
    table.defaults(&[(json!({}), json!({"spec.template.spec.dnsPolicy": "ClusterFirst", "spec.template.spec.enableServiceLinks": null}))]);
}

#[test]
fn deployments() {
    selectors_and_templates(&Deployment, "deployment", "ReplicaSet");
    let table = table(&Deployment);
    table.defaults(&[(
        json!({}),
        json!({"spec.replicas": 1, "spec.revisionHistoryLimit": 10, "spec.progressDeadlineSeconds": 600,
            "spec.strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}}),
    )]);
    table.valid(&[
        ("recreate", json!({"spec.strategy": {"type": "Recreate"}})),
        ("numbers", json!({"spec.strategy.rollingUpdate": {"maxUnavailable": 0, "maxSurge": "10%"}})),
    ]);
    table.invalid(&[
        (
            "counts",
            json!({"spec.replicas": -1, "spec.revisionHistoryLimit": -1}),
            &[
                &format!("spec.replicas: Invalid value: -1: {NEGATIVE}"),
                &format!("spec.revisionHistoryLimit: Invalid value: -1: {NEGATIVE}"),
            ],
        ),
        (
            "rolling",
            json!({"spec.strategy.rollingUpdate": {"maxUnavailable": "101%", "maxSurge": -1}}),
            &[
                &format!("spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: {NEGATIVE}"),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        ),
        (
            "never rolls",
            json!({"spec.strategy.rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}),
            &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        ),
        (
            "too soon",
            json!({"spec.minReadySeconds": 600}),
            &["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
    ]);
    table.invalid(&[(
        "strategy",
        json!({"spec.strategy": {"type": "Slow"}}),
        &["spec.strategy: Unsupported value: {\"type\":\"Slow\"}: supported values: \"Recreate\", \"RollingUpdate\""],
    )]);
    table.generation(&[(json!({"metadata.annotations": {"x": "y"}}), true)]);
    table.status_is_separate(&json!({"status.replicas": 1}), &json!({"metadata.labels": {"x": "y"}}));
    table.status_of(
        &json!({"status.collisionCount": 2}),
        &[
            ("fine", json!({"status.replicas": 2, "status.readyReplicas": 1}), &[]),
            (
                "counts",
                json!({"status": {"replicas": 1, "availableReplicas": 2, "unavailableReplicas": -1}}),
                &[
                    &format!("status.unavailableReplicas: Invalid value: -1: {NEGATIVE}"),
                    "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
                    "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
                    "status.collisionCount: Invalid value: 0: cannot be decremented",
                ],
            ),
        ],
    );
    table.rows(&[(json!({}), json!(["w", "0/1", 0, 0, "60m", "c", "i:1", "a=b"]))]);
    table.columns(&[
        "Name",
        "Ready",
        "Up-to-date",
        "Available",
        "Age",
        "Containers*",
        "Images*",
        "Selector*",
    ]);
}

#[test]
fn replica_sets() {
    selectors_and_templates(&ReplicaSet, "deployment", "ReplicaSet");
    let table = table(&ReplicaSet);
    table.defaults(&[(json!({}), json!({"spec.replicas": 1, "status": {"replicas": 0}}))]);
    table.invalid(&[(
        "counts",
        json!({"spec.minReadySeconds": -1, "spec.replicas": -1}),
        &[
            &format!("spec.replicas: Invalid value: -1: {NEGATIVE}"),
            &format!("spec.minReadySeconds: Invalid value: -1: {NEGATIVE}"),
        ],
    )]);
    table.status(&[
        (
            "counts",
            json!({"status": {"replicas": 1, "fullyLabeledReplicas": 2}}),
            &["status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas"],
        ),
        (
            "below zero",
            json!({"status": {"replicas": 0, "terminatingReplicas": -1, "observedGeneration": -1}}),
            &[
                &format!("status.observedGeneration: Invalid value: -1: {NEGATIVE}"),
                &format!("status.terminatingReplicas: Invalid value: -1: {NEGATIVE}"),
            ],
        ),
    ]);
    table.rows(&[(json!({}), json!(["w", 1, 0, 0, "60m", "c", "i:1", "a=b"]))]);
    table.selectable(&[("status.replicas", "0")]);
}

#[test]
fn replication_controllers() {
    let mut controller = base();
    controller["spec"]["selector"] = json!({"a": "b"});
    let table = Table::of(&ReplicationController, controller);
    table.defaults(&[(
        json!({"spec.selector": null}),
        json!({"spec.selector": {"a": "b"}, "metadata.labels": {"a": "b"}, "spec.replicas": 1}),
    )]);
    table.invalid(&[
        ("none", json!({"spec.template": null}), &["spec.template: Required value"]),
        (
            "another",
            json!({"spec.selector": {"a": "c"}}),
            &["spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"],
        ),
        (
            "deadline",
            json!({"spec.template.spec.activeDeadlineSeconds": 1, "spec.replicas": -1}),
            &[
                &format!("spec.replicas: Invalid value: -1: {NEGATIVE}"),
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
            ],
        ),
    ]);
    table.rows(&[(json!({}), json!(["w", 1, 0, 0, "60m", "c", "i:1", "a=b"]))]);
}
