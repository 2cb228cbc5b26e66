//! Tables of claims.

use serde_json::json;

use crate::Strategy;
use crate::storage::claim::PersistentVolumeClaim;
use crate::testing::Table;

const MODES: &str =
    "supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"";

fn claims() -> Table<'static> {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}});
    Table::of(&PersistentVolumeClaim, json!({"metadata": {"name": "c"}, "spec": spec}))
}

#[test]
fn claims_are_defaulted_and_checked() {
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    let other = json!({"apiGroup": "x.io", "kind": "X", "name": "s"});
    let table = claims();
    table.defaults(&[
        (json!({}), json!({"spec.volumeMode": "Filesystem", "status": {"phase": "Pending"}})),
        (json!({"spec.dataSource": snapshot}), json!({"spec.dataSourceRef": snapshot})),
        (json!({"spec.dataSourceRef": snapshot}), json!({"spec.dataSource": snapshot})),
        (json!({"spec.dataSourceRef": other}), json!({"spec.dataSource": other})),
        (json!({"spec.dataSource": other}), json!({"spec.dataSource": null, "spec.dataSourceRef": null})),
        (
            json!({"spec.dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "s", "namespace": "n"}}),
            json!({"spec.dataSource": null, "spec.dataSourceRef": null}),
        ),
        (
            json!({"spec.dataSource": {"kind": "PersistentVolumeClaim", "name": "s"}, "spec.dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "t", "namespace": "n"}}),
            json!({"spec.dataSource.name": "s", "spec.dataSourceRef.name": "s", "spec.dataSourceRef.namespace": null}),
        ),
        (json!({"spec.volumeMode": ""}), json!({"spec.volumeMode": ""})),
    ]);
    table.valid(&[
        ("block", json!({"spec.volumeMode": "Block", "spec.storageClassName": ""})),
        ("a claim", json!({"spec.dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}})),
        (
            "elsewhere",
            json!({"spec.dataSourceRef": {"apiGroup": "x.io", "kind": "X", "name": "s", "namespace": "n"}}),
        ),
    ]);
    table.invalid(&[
        (
            "nothing",
            json!({"spec": {}}),
            &[
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ],
        ),
        (
            "modes",
            json!({"spec.accessModes": ["X", "ReadWriteOncePod", "ReadWriteOnce"]}),
            &[
                &format!("spec.accessModes: Unsupported value: \"X\": {MODES}"),
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            ],
        ),
        (
            "size and mode",
            json!({"spec.resources.requests.storage": "0", "spec.volumeMode": "X"}),
            &[
                "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
                "spec.volumeMode: Unsupported value: \"X\": supported values: \"Block\", \"Filesystem\"",
            ],
        ),
        (
            "source",
            json!({"spec.dataSourceRef": {"kind": "X", "name": ""}, "spec.dataSource": {"kind": "PersistentVolumeClaim", "name": "y"}}),
            &[
                "spec.dataSourceRef.name: Required value",
                "spec.dataSourceRef: Invalid value: \"X\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                "spec: Invalid value: \"spec.dataSource\": must match dataSourceRef",
            ],
        ),
    ]);
}

#[test]
fn claims_are_bound_once_and_grow() {
    let fixed = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    let table = claims();
    table.updates(&[
        ("bound", json!({"spec.volumeName": "v"}), &[]),
        ("a class", json!({"spec.storageClassName": "fast"}), &[]),
        ("larger before it is bound", json!({"spec.resources.requests.storage": "3Gi"}), &[fixed]),
        ("modes", json!({"spec.accessModes": ["ReadOnlyMany"]}), &[fixed]),
        (
            "mode",
            json!({"spec.volumeMode": "Block"}),
            &[fixed, "volumeMode: Invalid value: \"Block\": field is immutable"],
        ),
    ]);
    let bound = json!({"spec.volumeName": "v", "spec.storageClassName": "fast", "spec.volumeAttributesClassName": "gold",
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    table.updates_of(
        &bound,
        &[
            ("larger", json!({"spec.resources.requests.storage": "3Gi"}), &[]),
            (
                "less than asked, more than there is",
                json!({"spec.resources.requests.storage": "1500Mi"}),
                &[],
            ),
            (
                "smaller",
                json!({"spec.resources.requests.storage": "1Gi"}),
                &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
            ),
            ("attributes", json!({"spec.volumeAttributesClassName": "silver"}), &[]),
            ("no attributes, since none was given yet", json!({"spec.volumeAttributesClassName": null}), &[]),
            ("class", json!({"spec.storageClassName": "slow"}), &[fixed]),
            ("volume", json!({"spec.volumeName": "w"}), &[fixed]),
        ],
    );
    let gilded = json!({"spec.volumeName": "v", "spec.volumeAttributesClassName": "gold",
        "status": {"phase": "Bound", "currentVolumeAttributesClassName": "gold"}});
    let kept = |what: &str| {
        format!(
            "spec.volumeAttributesClassName: Forbidden: update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
        )
    };
    table.updates_of(
        &gilded,
        &[
            ("other attributes", json!({"spec.volumeAttributesClassName": "silver"}), &[]),
            ("no attributes", json!({"spec.volumeAttributesClassName": null}), &[&kept("nil")]),
            ("empty attributes", json!({"spec.volumeAttributesClassName": ""}), &[&kept("empty string")]),
        ],
    );
    let annotated = json!({"metadata.annotations": {"volume.beta.kubernetes.io/storage-class": "fast"}});
    let class = "metadata.annotations.volume.beta.kubernetes.io/storage-class";
    table.updates_of(
        &annotated,
        &[
            ("the class moves into its field", json!({"spec.storageClassName": "fast", "metadata.annotations": null}), &[]),
            (
                "another annotation",
                json!({"spec.storageClassName": "fast", "metadata.annotations": {"volume.beta.kubernetes.io/storage-class": "slow"}}),
                &[&format!("{class}: Invalid value: \"slow\": field is immutable")],
            ),
        ],
    );
    let source = json!({"kind": "PersistentVolumeClaim", "name": "x"});
    table.updates_of(
        &json!({"spec.dataSource": source, "spec.dataSourceRef": source}),
        &[("a client that does not know dataSourceRef", json!({"spec.dataSourceRef": null}), &[])],
    );
    table.status(&[
        (
            "resizing",
            json!({"status.allocatedResourceStatuses": {"storage": "NodeResizePending"}, "status.allocatedResources": {"storage": "3Gi"}}),
            &[],
        ),
        (
            "bad",
            json!({"status.capacity": {"storage": "-1"}, "status.allocatedResources": {"cpu": "1"}, "status.allocatedResourceStatuses": {"cpu": "X"}}),
            &[
                "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "status.allocatedResourceStatuses: Unsupported value: \"cpu\": supported values: \"storage\"",
                "status.allocatedResourceStatuses: Unsupported value: \"cpu\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
                "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
            ],
        ),
    ]);
    table.status_is_separate(&json!({"status.phase": "Bound"}), &json!({"spec.volumeName": "x"}));
    table.rows(&[
        (json!({}), json!(["c", "Pending", "", "", "", "", "<unset>", "60m", "Filesystem"])),
        (
            json!({"metadata.deletionTimestamp": "2026-01-01T00:00:00Z"}),
            json!(["c", "Terminating", "", "", "", "", "<unset>", "60m", "Filesystem"]),
        ),
        (
            json!({"spec.volumeName": "v", "spec.storageClassName": "fast",
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}),
            json!(["c", "Bound", "v", "1Gi", "RWO", "fast", "<unset>", "60m", "Filesystem"]),
        ),
        (
            json!({"spec.volumeAttributesClassName": "gold", "metadata.annotations": {"volume.beta.kubernetes.io/storage-class": "old"}}),
            json!(["c", "Pending", "", "", "", "old", "gold", "60m", "Filesystem"]),
        ),
    ]);
    let odd = json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "a"}},
        "spec": {"resources": {"requests": {"storage": "1500m"}, "limits": {"storage": "2"}}}});
    assert_eq!(
        PersistentVolumeClaim.warnings(&odd),
        [
            "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead",
            "spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer",
        ]
    );
}
