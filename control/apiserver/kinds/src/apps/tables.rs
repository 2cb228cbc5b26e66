//! Tables of the workloads.

use serde_json::{Value, json};

use super::controller_revision::ControllerRevision;
use super::daemon_set::DaemonSet;
use super::deployment::Deployment;
use super::replica_set::ReplicaSet;
use super::stateful_set::StatefulSet;
use crate::Strategy;
use crate::core::replication_controller::ReplicationController;
use crate::testing::Table;

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
    table.invalid(&[
        ("empty", json!({"spec.selector": {}}), &[&empty]),
        (
            "another",
            json!({"spec.selector.matchLabels.a": "c"}),
            &["spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"],
        ),
        (
            "restarts",
            json!({"spec.template.spec.restartPolicy": "Never", "spec.template.spec.activeDeadlineSeconds": 5}),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"", &deadline],
        ),
        (
            "labels",
            json!({"spec.template.metadata.annotations": {"-": "x"}}),
            &["spec.template.annotations: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"],
        ),
        ("ready", json!({"spec.minReadySeconds": -1}), &[&format!("spec.minReadySeconds: Invalid value: -1: {NEGATIVE}")]),
    ]);
    if what != "statefulset" {
        table.updates(&[(
            "selector",
            json!({"spec.selector.matchLabels.a": "c", "spec.template.metadata.labels.a": "c"}),
            &[fixed],
        )]);
        table.invalid(&[(
            "pod",
            json!({"spec.template.spec.containers[0].image": ""}),
            &["spec.template.spec.containers[0].image: Required value"],
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
    table.generation(&[(json!({"metadata.annotations": {"x": "y"}}), true)]);
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
    table.status(&[(
        "counts",
        json!({"status": {"replicas": 1, "fullyLabeledReplicas": 2}}),
        &["status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas"],
    )]);
    table.rows(&[(json!({}), json!(["w", 1, 0, 0, "60m", "c", "i:1", "a=b"]))]);
    table.selectable(&[("status.replicas", "0")]);
}

#[test]
fn stateful_sets() {
    selectors_and_templates(&StatefulSet, "statefulset", "StatefulSet");
    let table = table(&StatefulSet);
    table.defaults(&[(
        json!({}),
        json!({"spec.podManagementPolicy": "OrderedReady", "spec.replicas": 1, "spec.revisionHistoryLimit": 10,
            "spec.updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "spec.persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}}),
    )]);
    table.valid(&[
        (
            "a volume from a claim",
            json!({"spec.volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
                "spec.template.spec.containers[0].volumeMounts": [{"name": "data", "mountPath": "/data"}]}),
        ),
        ("all at once", json!({"spec.podManagementPolicy": "Parallel", "spec.serviceName": "s", "spec.ordinals.start": 3})),
    ]);
    table.invalid(&[
        (
            "policies",
            json!({"spec.podManagementPolicy": "X", "spec.persistentVolumeClaimRetentionPolicy.whenScaled": "X"}),
            &[
                "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'",
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"X\": supported values: \"Retain\", \"Delete\"",
            ],
        ),
        (
            "rolling",
            json!({"spec.updateStrategy.rollingUpdate": {"partition": -1, "maxUnavailable": 0}}),
            &[
                &format!("spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: {NEGATIVE}"),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
            ],
        ),
        (
            "service",
            json!({"spec.serviceName": "1"}),
            &["spec.serviceName: Invalid value: \"1\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"],
        ),
    ]);
    let fixed = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    table.updates(&[
        (
            "scale",
            json!({"spec.replicas": 3, "spec.minReadySeconds": 1, "spec.revisionHistoryLimit": 2}),
            &[],
        ),
        ("service", json!({"spec.serviceName": "t"}), &[fixed]),
    ]);
    table.status(&[(
        "counts",
        json!({"status": {"replicas": 1, "readyReplicas": 2, "availableReplicas": 1, "collisionCount": -1}}),
        &[
            &format!("status.collisionCount: Invalid value: -1: {NEGATIVE}"),
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
        ],
    )]);
    table.rows(&[(json!({}), json!(["w", "0/1", "60m", "c", "i:1"]))]);
}

#[test]
fn daemon_sets() {
    selectors_and_templates(&DaemonSet, "daemonset", "DaemonSet");
    let table = table(&DaemonSet);
    table.defaults(&[(
        json!({}),
        json!({"spec.updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "spec.revisionHistoryLimit": 10}),
    )]);
    table.valid(&[
        ("by hand", json!({"spec.updateStrategy": {"type": "OnDelete"}})),
        ("surge", json!({"spec.updateStrategy.rollingUpdate": {"maxUnavailable": 0, "maxSurge": "10%"}})),
    ]);
    table.invalid(&[
        (
            "neither",
            json!({"spec.updateStrategy.rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}),
            &["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
        ),
        (
            "both",
            json!({"spec.updateStrategy.rollingUpdate": {"maxUnavailable": 1, "maxSurge": "101%"}}),
            &[
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"101%\": must not be greater than 100%",
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"101%\": may not be set when maxUnavailable is non-zero",
            ],
        ),
    ]);
    table.status(&[(
        "counts",
        json!({"status.numberReady": -1}),
        &[&format!("status.numberReady: Invalid value: -1: {NEGATIVE}")],
    )]);
    table.rows(&[(
        json!({"spec.template.spec.nodeSelector": {"x": "y"}}),
        json!(["w", 0, 0, 0, 0, 0, "x=y", "60m", "c", "i:1", "a=b"]),
    )]);
}

#[test]
fn controllers_and_revisions() {
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
    let table =
        Table::of(&ControllerRevision, json!({"metadata": {"name": "r"}, "data": {"a": 1}, "revision": 1}));
    table.invalid(&[
        ("nothing", json!({"data": null}), &["data: Required value: data is mandatory"]),
        ("negative", json!({"revision": -1}), &[&format!("revision: Invalid value: -1: {NEGATIVE}")]),
    ]);
    table.updates(&[
        ("revision", json!({"revision": 2}), &[]),
        ("data", json!({"data": {"a": 2}}), &["data: Invalid value: {\"a\":2}: field is immutable"]),
    ]);
    table.rows(&[(
        json!({"metadata.ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "controller": true}]}),
        json!(["r", "statefulset.apps/s", 1, "60m"]),
    )]);
}
