//! Tables of volumes.

use serde_json::json;

use crate::Strategy;
use crate::storage::volume::PersistentVolume;
use crate::testing::Table;

fn volumes() -> Table<'static> {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "csi": {"driver": "x.io", "volumeHandle": "h"}});
    Table::of(&PersistentVolume, json!({"metadata": {"name": "v"}, "spec": spec}))
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
        json!({"spec.persistentVolumeReclaimPolicy": "Retain", "spec.volumeMode": "Filesystem",
            "status": {"phase": "Pending", "lastPhaseTransitionTime": "2026-01-01T01:00:00Z"}}),
    ), (
        json!({"spec.csi": null, "spec.iscsi": {"targetPortal": "p", "iqn": "iqn.2026-01.x:y", "lun": 0}}),
        json!({"spec.iscsi.iscsiInterface": "default"}),
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
            json!({"spec.nfs": {"server": "s", "path": "/"}, "spec.cephfs": {"monitors": ["m"]}}),
            &[
                "spec.cephFS: Forbidden: may not specify more than 1 volume type",
                "spec.csi: Forbidden: may not specify more than 1 volume type",
            ],
        ),
        (
            "iscsi",
            json!({"spec.csi": null, "spec.iscsi": {"targetPortal": "p".repeat(64), "iqn": "x", "lun": 256, "secretRef": {}, "initiatorName": "y"}}),
            &[
                &format!("spec.iscsi.targetportal: Invalid value: \"{}\": Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.", "p".repeat(64)),
                "spec.iscsi.iqn: Invalid value: \"x\": must be valid format",
                "spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                "spec.iscsi.secretRef.name: Required value",
                "spec.iscsi.initiatorname: Invalid value: \"y\": must be valid format",
            ],
        ),
        (
            "secrets of no namespace",
            json!({"spec.csi": null, "spec.cinder": {"volumeID": "v", "secretRef": {"name": "s"}}}),
            &["spec.cinder.secretRef.namespace: Required value"],
        ),
        (
            "an empty namespace",
            json!({"spec.csi": null, "spec.azureFile": {"secretName": "s", "shareName": "n", "secretNamespace": ""}}),
            &["spec.azureFile.secretNamespace: Required value"],
        ),
        (
            "endpoints of an empty namespace",
            json!({"spec.csi": null, "spec.glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": ""}}),
            &["spec.glusterfs.endpointsNamespace: Invalid value: \"\": if the endpointnamespace is set, it must be a valid namespace name"],
        ),
        (
            "size and mode",
            json!({"spec.capacity": {"storage": "-1"}, "spec.volumeMode": ""}),
            &[
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
                "spec.volumeMode: Unsupported value: \"\": supported values: \"Block\", \"Filesystem\"",
            ],
        ),
        (
            "mount options",
            json!({"metadata.annotations": {"volume.beta.kubernetes.io/mount-options": "ro"}}),
            &["metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type"],
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
    table.rows(&[
        (
            json!({"spec.claimRef": {"namespace": "n", "name": "c"}, "status.phase": "Bound"}),
            json!(["v", "1Gi", "RWO", "Retain", "Bound", "n/c", "", "<unset>", "", "60m", "Filesystem"]),
        ),
        (
            json!({"metadata.annotations": {"volume.beta.kubernetes.io/storage-class": "old"}}),
            json!(["v", "1Gi", "RWO", "Retain", "Pending", "", "old", "<unset>", "", "60m", "Filesystem"]),
        ),
    ]);
    let node = "beta.kubernetes.io/os";
    let odd = json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "a"}},
        "spec": {"persistentVolumeReclaimPolicy": "Recycle", "storageos": {}, "nodeAffinity": zone(node)}});
    assert_eq!(
        PersistentVolume.warnings(&odd),
        [
            "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead",
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
        ]
    );
}

#[test]
fn a_phase_that_changes_is_dated() {
    let mut old = volumes().stored().clone();
    let write = |status: serde_json::Value, old: &serde_json::Value| {
        let new = crate::testing::patched(old, &json!({"status": status}));
        crate::testing::update_status(&PersistentVolume, new, old).0["status"].take()
    };
    let (before, now) = ("2025-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    old["status"]["lastPhaseTransitionTime"] = json!(before);
    let said = |phase: &str, time: &str| json!({"phase": phase, "lastPhaseTransitionTime": time});
    assert_eq!(write(json!({"phase": "Bound"}), &old), said("Bound", now));
    assert_eq!(write(said("Bound", before), &old), said("Bound", now));
    assert_eq!(write(json!({"phase": "Pending"}), &old), said("Pending", before));
    let own = "2024-01-01T00:00:00Z";
    assert_eq!(write(said("Bound", own), &old), said("Bound", own));
}
