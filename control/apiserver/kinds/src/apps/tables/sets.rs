//! Tables of StatefulSets and DaemonSets.

use serde_json::{Value, json};

use super::{NEGATIVE, selectors_and_templates, table};
use crate::apps::daemon_set::DaemonSet;
use crate::apps::stateful_set::StatefulSet;
use crate::testing::{patched, update};

#[test]
fn stateful_sets() {
    selectors_and_templates(&StatefulSet, "statefulset", "StatefulSet");
    let table = table(&StatefulSet);
    table.defaults(&[(
        json!({}),
        json!({"spec.podManagementPolicy": "OrderedReady", "spec.replicas": 1, "spec.revisionHistoryLimit": 10,
            "spec.updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "spec.persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}}),
    ), (
        json!({"spec.updateStrategy.rollingUpdate": {"maxUnavailable": 3}}),
        json!({"spec.updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}),
    ), (
        json!({"spec.updateStrategy": {"type": "RollingUpdate"}}),
        json!({"spec.updateStrategy": {"type": "RollingUpdate"}}),
    )]);
    let data = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    table.valid(&[
        (
            "a volume from a claim",
            json!({"spec.volumeClaimTemplates": [data], "spec.template.spec.volumes": [{"name": "data"}, {"name": "own", "emptyDir": {}}],
                "spec.template.spec.containers[0].volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "own", "mountPath": "/own"}]}),
        ),
        ("names that the set gives", json!({"spec.template.spec.hostname": "-", "spec.template.spec.subdomain": "-"})),
        ("history for ever", json!({"spec.revisionHistoryLimit": -1})),
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
            json!({"spec.updateStrategy.rollingUpdate": {"partition": -1}}),
            &[&format!("spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: {NEGATIVE}")],
        ),
        (
            "strategy",
            json!({"spec.updateStrategy": {"type": "Slow"}}),
            &["spec.updateStrategy: Invalid value: {\"type\":\"Slow\"}: must be 'RollingUpdate' or 'OnDelete'"],
        ),
        (
            "names",
            json!({"metadata.name": "a.b", "spec.serviceName": "a.b", "spec.ordinals.start": -1}),
            &[
                "metadata.name: Invalid value: \"a.b\": must not contain dots",
                &format!("spec.ordinals.start: Invalid value: -1: {NEGATIVE}"),
                "spec.serviceName: Invalid value: \"a.b\": must not contain dots",
            ],
        ),
        (
            "claims",
            json!({"spec.volumeClaimTemplates": [{"metadata": {"name": "data"}}]}),
            &[
                "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
                "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
            ],
        ),
        (
            "a mount of nothing",
            json!({"spec.template.spec.containers[0].volumeMounts": [{"name": "data", "mountPath": "/data"}]}),
            &["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\""],
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
        (
            "pod",
            json!({"spec.template.spec.containers[0].image": ""}),
            &["spec.template.spec.containers[0].image: Required value"],
        ),
        ("rolling", json!({"spec.updateStrategy.rollingUpdate.maxUnavailable": 0}), &[]),
    ]);
    let bare = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}});
    table.updates_of(
        &json!({"metadata.name": "a.b", "spec.serviceName": "a.b", "spec.volumeClaimTemplates": [bare],
            "spec.template.spec.containers[0].image": "", "spec.updateStrategy.rollingUpdate.maxUnavailable": 1}),
        &[
            ("wrong since before", json!({"spec.replicas": 3}), &[]),
            (
                "rolling",
                json!({"spec.updateStrategy.rollingUpdate.maxUnavailable": 0}),
                &["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"],
            ),
        ],
    );
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
    const GENERATION: &str = "metadata.annotations.deprecated\\.daemonset\\.template\\.generation";
    let count =
        |of: &Value| of["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
    let (stored, changed) =
        (table.stored(), |patch| update(&DaemonSet, patched(table.stored(), &patch), table.stored()).0);
    assert_eq!(count(stored), "1");
    assert_eq!(
        count(&changed(json!({GENERATION: "7", "spec.minReadySeconds": 1}))),
        "1",
        "no client counts it"
    );
    assert_eq!(count(&changed(json!({"spec.template.spec.containers[0].image": "j"}))), "2");
    table.invalid(&[(
        "strategy",
        json!({"spec.updateStrategy": {"type": "Slow"}}),
        &["spec.updateStrategy: Unsupported value: {\"type\":\"Slow\"}: supported values: \"RollingUpdate\", \"OnDelete\""],
    )]);
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
