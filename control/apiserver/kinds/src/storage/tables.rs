//! Tables of claims and volumes.

use serde_json::json;

use super::claim::PersistentVolumeClaim;
use super::volume::PersistentVolume;
use crate::testing::Table;

fn claims() -> Table<'static> {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}});
    Table::of(&PersistentVolumeClaim, json!({"metadata": {"name": "c"}, "spec": spec}))
}

fn volumes() -> Table<'static> {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "csi": {"driver": "x.io", "volumeHandle": "h"}});
    Table::of(&PersistentVolume, json!({"metadata": {"name": "v"}, "spec": spec}))
}

const MODES: &str =
    "supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"";

#[test]
fn claims_are_defaulted_and_checked() {
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    let table = claims();
    table.defaults(&[
        (json!({}), json!({"spec.volumeMode": "Filesystem", "status": {"phase": "Pending"}})),
        (json!({"spec.dataSource": snapshot}), json!({"spec.dataSourceRef": snapshot})),
        (json!({"spec.dataSourceRef": snapshot}), json!({"spec.dataSource": snapshot})),
        (
            json!({"spec.dataSourceRef": {"apiGroup": "x.io", "kind": "X", "name": "s"}}),
            json!({"spec.dataSource": null}),
        ),
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
            ("less than asked, more than there is", json!({"spec.resources.requests.storage": "1500Mi"}), &[]),
            (
                "smaller",
                json!({"spec.resources.requests.storage": "1Gi"}),
                &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
            ),
            ("attributes", json!({"spec.volumeAttributesClassName": "silver"}), &[]),
            (
                "no attributes",
                json!({"spec.volumeAttributesClassName": null}),
                &[fixed, "spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"],
            ),
            ("class", json!({"spec.storageClassName": "slow"}), &[fixed]),
            ("volume", json!({"spec.volumeName": "w"}), &[fixed]),
        ],
    );
    table.status(&[
        (
            "resizing",
            json!({"status.allocatedResourceStatuses": {"storage": "NodeResizePending"}, "status.allocatedResources": {"storage": "3Gi"}}),
            &[],
        ),
        (
            "bad",
            json!({"status.capacity": {"storage": "-1"}, "status.allocatedResources": {"cpu": "1"}}),
            &[
                "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
            ],
        ),
    ]);
    table.status_is_separate(&json!({"status.phase": "Bound"}), &json!({"spec.volumeName": "x"}));
    table.rows(&[
        (json!({}), json!(["c", "Pending", "", "", "", "", "<unset>", "60m", "Filesystem"])),
        (
            json!({"spec.volumeName": "v", "spec.storageClassName": "fast",
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}),
            json!(["c", "Bound", "v", "1Gi", "RWO", "fast", "<unset>", "60m", "Filesystem"]),
        ),
    ]);
}

#[test]
fn volumes_have_one_source() {
    let table = volumes();
    let local = |path: &str| {
        json!({"spec.csi": null, "spec.local": {"path": path}, "spec.nodeAffinity": {"required":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}})
    };
    table.defaults(&[(
        json!({}),
        json!({"spec.persistentVolumeReclaimPolicy": "Retain", "spec.volumeMode": "Filesystem", "status": {"phase": "Pending"}}),
    )]);
    table.valid(&[
        ("local", local("/a")),
        ("host path", json!({"spec.csi": null, "spec.hostPath": {"path": "/a"}})),
        ("nfs", json!({"spec.csi": null, "spec.nfs": {"server": "s", "path": "/"}})),
        ("attributes", json!({"spec.volumeAttributesClassName": "gold"})),
    ]);
    table.invalid(&[
        (
            "csi",
            json!({"spec.csi": {"driver": "x.io", "nodeExpandSecretRef": {"name": "a"}}}),
            &["spec.csi.volumeHandle: Required value", "spec.csi.nodeExpandSecretRef.namespace: Required value"],
        ),
        (
            "two",
            json!({"spec.nfs": {"server": "s", "path": "/"}}),
            &["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        ),
        ("none", json!({"spec.csi": null}), &["spec: Required value: must specify a volume type"]),
        ("backsteps", local("/a/.."), &["spec.local.path: Invalid value: \"/a/..\": must not contain '..'"]),
        (
            "nowhere",
            json!({"spec.csi": null, "spec.local": {"path": "/a"}}),
            &["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        (
            "recycled root",
            json!({"spec.csi": null, "spec.hostPath": {"path": "/"}, "spec.persistentVolumeReclaimPolicy": "Recycle"}),
            &["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
        ),
        (
            "policy",
            json!({"spec.persistentVolumeReclaimPolicy": "X", "spec.volumeAttributesClassName": ""}),
            &[
                "spec.persistentVolumeReclaimPolicy: Unsupported value: \"X\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
                "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
            ],
        ),
    ]);
}

#[test]
fn volumes_stay_what_and_where_they_are() {
    let zone = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}});
    let table = volumes();
    table.updates_of(
        &json!({"spec.nodeAffinity": zone("failure-domain.beta.kubernetes.io/zone")}),
        &[
            ("grown", json!({"spec.capacity.storage": "2Gi"}), &[]),
            (
                "a secret to grow with",
                json!({"spec.csi.controllerExpandSecretRef": {"name": "a", "namespace": "b"}}),
                &[],
            ),
            ("the zone's new name", json!({"spec.nodeAffinity": zone("topology.kubernetes.io/zone")}), &[]),
            (
                "source",
                json!({"spec.csi.volumeHandle": "i"}),
                &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"],
            ),
            (
                "mode",
                json!({"spec.volumeMode": "Block"}),
                &["volumeMode: Invalid value: \"Block\": field is immutable"],
            ),
            (
                "elsewhere",
                json!({"spec.nodeAffinity": zone("x")}),
                &[
                    "nodeAffinity: Invalid value: {\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"x\",\"operator\":\"Exists\"}]}]}}: field is immutable, except for updating from beta label to GA",
                ],
            ),
        ],
    );
    table.rows(&[(
        json!({"spec.claimRef": {"namespace": "n", "name": "c"}, "status.phase": "Bound"}),
        json!(["v", "1Gi", "RWO", "Retain", "Bound", "n/c", "", "<unset>", "", "60m", "Filesystem"]),
    )]);
}
