//! Volumes of every type, mounts and devices.

use super::*;

fn volume(source: Value) -> Value {
    let mut volume = source;
    volume["name"] = json!("v");
    json!({"spec.serviceAccountName": "sa", "spec.volumes": [volume]})
}

#[test]
fn volume_defaults() {
    let first = |source: Value, want: Value| (volume(source), json!({"spec.volumes[0]": want}));
    table().defaults(&[
        first(json!({}), json!({"name": "v", "emptyDir": {}})),
        first(json!({"hostPath": {"path": "/a"}}), json!({"name": "v", "hostPath": {"path": "/a", "type": ""}})),
        first(
            json!({"iscsi": {"targetPortal": "a", "iqn": "iqn.2001-04.com.x:d", "lun": 0}}),
            json!({"name": "v", "iscsi": {"targetPortal": "a", "iqn": "iqn.2001-04.com.x:d", "lun": 0, "iscsiInterface": "default"}}),
        ),
        first(
            json!({"azureDisk": {"diskName": "d", "diskURI": "https://a"}}),
            json!({"name": "v", "azureDisk": {"diskName": "d", "diskURI": "https://a", "cachingMode": "ReadWrite",
                "kind": "Shared", "fsType": "ext4", "readOnly": false}}),
        ),
        first(
            json!({"rbd": {"monitors": ["m"], "image": "i"}}),
            json!({"name": "v", "rbd": {"monitors": ["m"], "image": "i", "pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}}),
        ),
        first(
            json!({"scaleIO": {"gateway": "g", "system": "s", "volumeName": "n", "secretRef": {"name": "s"}}}),
            json!({"name": "v", "scaleIO": {"gateway": "g", "system": "s", "volumeName": "n", "secretRef": {"name": "s"},
                "storageMode": "ThinProvisioned", "fsType": "xfs"}}),
        ),
        first(
            json!({"image": {"reference": "i"}}),
            json!({"name": "v", "image": {"reference": "i", "pullPolicy": "Always"}}),
        ),
    ]);
}

#[test]
fn good_volumes() {
    let cases = [
        json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}),
        json!({"hostPath": {"path": "/a", "type": "Directory"}}),
        json!({"gitRepo": {"repository": "r", "directory": "a/b"}}),
        json!({"gcePersistentDisk": {"pdName": "p", "partition": 0}}),
        json!({"awsElasticBlockStore": {"volumeID": "p"}}),
        json!({"secret": {"secretName": "s", "items": [{"key": "k", "path": "a", "mode": 511}]}}),
        json!({"nfs": {"server": "s", "path": "/p"}}),
        json!({"iscsi": {"targetPortal": "1.2.3.4:3260", "iqn": "eui.0123456789ABCDEF", "lun": 255}}),
        json!({"glusterfs": {"endpoints": "e", "path": "p"}}),
        json!({"flocker": {"datasetName": "d"}}),
        json!({"persistentVolumeClaim": {"claimName": "c"}}),
        json!({"cinder": {"volumeID": "v"}}),
        json!({"cephfs": {"monitors": ["m"]}}),
        json!({"quobyte": {"registry": "h:1,[::1]:2", "volume": "v"}}),
        json!({"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
        json!({"fc": {"targetWWNs": ["a"], "lun": 0}}),
        json!({"flexVolume": {"driver": "a/b", "options": {"x": "y"}}}),
        json!({"configMap": {"name": "m"}}),
        json!({"azureFile": {"secretName": "s", "shareName": "s"}}),
        json!({"vsphereVolume": {"volumePath": "p"}}),
        json!({"photonPersistentDisk": {"pdID": "p"}}),
        json!({"portworxVolume": {"volumeID": "p"}}),
        json!({"storageos": {"volumeName": "v"}}),
        json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s"}}]}}),
        json!({"csi": {"driver": "x.io"}}),
        json!({"ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}}}),
        json!({"image": {"reference": "r:1"}}),
    ];
    let cases: Vec<(&str, Value)> = cases.into_iter().map(|source| ("a source", volume(source))).collect();
    table().valid(&cases);
}

#[test]
fn bad_volumes() {
    let cases: Vec<(Value, &[&str])> = vec![
        (
            json!({"emptyDir": {"sizeLimit": "-1"}}),
            &["emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"],
        ),
        (
            json!({"hostPath": {"path": "/a/..", "type": "Pipe"}}),
            &[
                "hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
                "hostPath.type: Unsupported value: \"Pipe\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        ),
        (
            json!({"gitRepo": {"directory": "/a"}}),
            &[
                "gitRepo.repository: Required value",
                "gitRepo.directory: Invalid value: \"/a\": must be a relative path",
            ],
        ),
        (
            json!({"gcePersistentDisk": {"partition": 256}}),
            &[
                "persistentDisk.pdName: Required value",
                "persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
            ],
        ),
        (json!({"awsElasticBlockStore": {}}), &["awsElasticBlockStore.volumeID: Required value"]),
        (
            json!({"secret": {"defaultMode": 512, "items": [{"path": "..a", "mode": -1}]}}),
            &[
                "secret.secretName: Required value",
                "secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                "secret.items[0].key: Required value",
                "secret.items[0].path: Invalid value: \"..a\": must not start with '..'",
                "secret.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
            ],
        ),
        (
            json!({"nfs": {}}),
            &[
                "nfs.server: Required value",
                "nfs.path: Required value",
                "nfs.path: Invalid value: \"\": must be an absolute path",
            ],
        ),
        (
            json!({"iscsi": {"targetPortal": "a", "iqn": "iqn.x", "lun": 256, "chapAuthSession": true, "initiatorName": "x"}}),
            &[
                "iscsi.iqn: Invalid value: \"iqn.x\": must be valid format",
                "iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                "iscsi.secretRef: Required value",
                "iscsi.initiatorname: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
            ],
        ),
        (
            json!({"glusterfs": {}}),
            &["glusterfs.endpoints: Required value", "glusterfs.path: Required value"],
        ),
        (
            json!({"flocker": {}}),
            &["flocker: Required value: one of datasetName and datasetUUID is required"],
        ),
        (json!({"persistentVolumeClaim": {}}), &["persistentVolumeClaim.claimName: Required value"]),
        (json!({"rbd": {}}), &["rbd.monitors: Required value", "rbd.image: Required value"]),
        (
            json!({"cinder": {"secretRef": {}}}),
            &["cinder.volumeID: Required value", "cinder.secretRef.name: Required value"],
        ),
        (json!({"cephfs": {}}), &["cephfs.monitors: Required value"]),
        (
            json!({"quobyte": {"registry": "h"}}),
            &[
                "quobyte.registry: Invalid value: \"h\": must be a host:port pair or multiple pairs separated by commas",
                "quobyte.volume: Required value",
            ],
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "l"}, {"fieldRef": {"fieldPath": "status.podIP"}}]}}),
            &[
                "downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
                "downwardAPI.path: Required value",
                "downwardAPI.fieldRef.fieldPath: Unsupported value: \"status.podIP\": supported values: \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\"",
            ],
        ),
        (
            json!({"fc": {}}),
            &["fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"],
        ),
        (
            json!({"fc": {"targetWWNs": ["a"]}}),
            &["fc.lun: Required value: lun is required if targetWWNs is specified"],
        ),
        (
            json!({"flexVolume": {"options": {"k8s.io/a": ""}}}),
            &[
                "flexVolume.driver: Required value",
                "flexVolume.options[k8s.io/a]: Invalid value: \"k8s.io/a\": kubernetes.io and k8s.io namespaces are reserved",
            ],
        ),
        (json!({"configMap": {}}), &["configMap.name: Required value"]),
        (
            json!({"azureFile": {}}),
            &["azureFile.secretName: Required value", "azureFile.shareName: Required value"],
        ),
        (
            json!({"azureDisk": {"diskName": "d", "diskURI": "https://a", "kind": "Managed"}}),
            &[
                "azureDisk.diskURI: Unsupported value: \"https://a\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
            ],
        ),
        (json!({"vsphereVolume": {}}), &["vsphereVolume.volumePath: Required value"]),
        (json!({"photonPersistentDisk": {}}), &["photonPersistentDisk.pdID: Required value"]),
        (json!({"portworxVolume": {}}), &["portworxVolume.volumeID: Required value"]),
        (
            json!({"scaleIO": {}}),
            &[
                "scaleIO.gateway: Required value",
                "scaleIO.system: Required value",
                "scaleIO.volumeName: Required value",
            ],
        ),
        (
            json!({"storageos": {"secretRef": {}}}),
            &["storageos.volumeName: Required value", "storageos.secretRef.name: Required value"],
        ),
        (
            json!({"projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 1}},
                {"secret": {"items": [{"key": "a", "path": "p"}]}}, {"configMap": {"name": "m", "items": [{"key": "a", "path": "p"}]}},
                {"secret": {"name": "a"}, "configMap": {"name": "b"}}, {"clusterTrustBundle": {"path": "t"}}]}}),
            &[
                "projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                "projected.path: Required value",
                "projected.sources[1].secret.name: Required value",
                "projected: Invalid value: \"m\": conflicting duplicate paths",
                "projected.sources[3]: Forbidden: may not specify more than 1 volume type per source",
                "projected.sources[4].clusterTrustBundle: Required value: either name or signerName must be specified",
            ],
        ),
        (
            json!({"projected": {"sources": [{"clusterTrustBundle": {"signerName": "x", "path": "t"}},
                {"podCertificate": {}},
                {"podCertificate": {"signerName": "kubernetes.io/x", "keyType": "DSA", "maxExpirationSeconds": 86401, "keyPath": "../k"}},
                {"podCertificate": {"signerName": "a.b/x", "keyType": "ED25519", "maxExpirationSeconds": 86401, "keyPath": "t", "certificateChainPath": "c"}},
                {"podCertificate": {"signerName": "a.b/x", "keyType": "ED25519", "maxExpirationSeconds": 1, "credentialBundlePath": "b"}},
                {"podCertificate": {"signerName": "a.b/x", "keyType": "ED25519", "maxExpirationSeconds": 7862401, "credentialBundlePath": "d", "userAnnotations": {"a": "", "a.b/c": ""}}}]}}),
            &[
                "projected.sources[0].clusterTrustBundle.signerName: Invalid value: \"x\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
                "projected.sources[1].podCertificate.signerName: Required value",
                "projected.sources[1].podCertificate.keyType: Unsupported value: \"\": supported values: \"RSA3072\", \"RSA4096\", \"ECDSAP256\", \"ECDSAP384\", \"ECDSAP521\", \"ED25519\"",
                "projected.sources[1].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
                "projected.sources[2].podCertificate.keyType: Unsupported value: \"DSA\": supported values: \"RSA3072\", \"RSA4096\", \"ECDSAP256\", \"ECDSAP384\", \"ECDSAP521\", \"ED25519\"",
                "projected.sources[2].podCertificate.maxExpirationSeconds: Invalid value: 86401: if provided, maxExpirationSeconds must be <= 86400",
                "projected.sources[2].podCertificate.keyPath: Invalid value: \"../k\": must not contain '..'",
                "projected: Invalid value: \"t\": conflicting duplicate paths",
                "projected.sources[4].podCertificate.maxExpirationSeconds: Invalid value: 1: if provided, maxExpirationSeconds must be >= 3600",
                "projected.sources[5].podCertificate.maxExpirationSeconds: Invalid value: 7862401: if provided, maxExpirationSeconds must be <= 7862400",
                "projected.sources[5].podCertificate.userAnnotations: Invalid value: \"a\": must be a domain-prefixed key (such as \"acme.io/foo\")",
            ],
        ),
        (
            json!({"csi": {"nodePublishSecretRef": {}}}),
            &[
                "csi.driver: Required value",
                "csi.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "csi.nodePublishSecretRef.name: Required value",
            ],
        ),
        (json!({"ephemeral": {}}), &["ephemeral.volumeClaimTemplate: Required value"]),
        (
            json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"]}}}}),
            &[
                "ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
                "ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
            ],
        ),
        (json!({"image": {}}), &["image.reference: Required value"]),
        (
            json!({"emptyDir": {}, "downwardAPI": {}, "image": {"reference": "i"}}),
            &[
                "downwarAPI: Forbidden: may not specify more than 1 volume type",
                "image: Forbidden: may not specify more than 1 volume type",
            ],
        ),
    ];
    for (source, want) in cases {
        let want: Vec<String> = want.iter().map(|text| format!("spec.volumes[0].{text}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        table().invalid(&[("a source", volume(source), &want)]);
    }
}

#[test]
fn volumes_together() {
    let ephemeral = json!({"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}}}});
    table().invalid(&[
        ("no name", json!({"spec.volumes": [{"emptyDir": {}}]}), &["spec.volumes[0].name: Required value"]),
        (
            "same name",
            json!({"spec.volumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]}),
            &["spec.volumes[1].name: Duplicate value: \"a\""],
        ),
        (
            "another's claim",
            json!({"spec.volumes": [ephemeral, {"name": "b", "persistentVolumeClaim": {"claimName": "p-e"}}]}),
            &["spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"p-e\": must not reference a PVC that gets created for an ephemeral volume"],
        ),
        (
            "a token for nobody",
            json!({"spec.volumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            &["spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"],
        ),
    ]);
}

#[test]
fn mounts_and_devices() {
    let mounted = |mounts: Value, devices: Value| {
        json!({"spec.volumes": [{"name": "v", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": "c"}}],
            "spec.containers[0].volumeMounts": mounts, "spec.containers[0].volumeDevices": devices})
    };
    table().valid(&[
        ("sub path", mounted(json!([{"name": "v", "mountPath": "/a", "subPath": "b/c"}]), json!([]))),
        (
            "read only all through",
            mounted(
                json!([{"name": "v", "mountPath": "/a", "readOnly": true, "recursiveReadOnly": "Enabled"}]),
                json!([]),
            ),
        ),
        ("device", mounted(json!([]), json!([{"name": "b", "devicePath": "/dev/x"}]))),
    ]);
    table().invalid(&[
        (
            "unknown",
            mounted(json!([{"name": "x", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}, {}]), json!([])),
            &[
                "spec.containers[0].volumeMounts[0].name: Not found: \"x\"",
                "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
                "spec.containers[0].volumeMounts[2].name: Required value",
                "spec.containers[0].volumeMounts[2].name: Not found: \"\"",
                "spec.containers[0].volumeMounts[2].mountPath: Required value",
            ],
        ),
        (
            "sub paths",
            mounted(json!([{"name": "v", "mountPath": "/a", "subPath": "/x", "subPathExpr": "../y"}]), json!([])),
            &[
                "spec.containers[0].volumeMounts.subPath: Invalid value: \"/x\": must be a relative path",
                "spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: \"../y\": subPathExpr and subPath are mutually exclusive",
                "spec.containers[0].volumeMounts.subPathExpr: Invalid value: \"../y\": must not contain '..'",
            ],
        ),
        (
            "propagation",
            mounted(json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional", "recursiveReadOnly": "Enabled"}]), json!([])),
            &[
                "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
            ],
        ),
        (
            "devices",
            mounted(json!([{"name": "b", "mountPath": "/a"}]), json!([{"name": "b", "devicePath": "/a"}, {"name": "v", "devicePath": "/x/.."}])),
            &[
                "spec.containers[0].volumeMounts[0].name: Invalid value: \"b\": must not already exist in volumeDevices",
                "spec.containers[0].volumeMounts[0].mountPath: Invalid value: \"/a\": must not already exist as a path in volumeDevices",
                "spec.containers[0].volumeDevices[0].name: Invalid value: \"b\": must not already exist in volumeMounts",
                "spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/a\": must not already exist as a path in volumeMounts",
                "spec.containers[0].volumeDevices[1].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                "spec.containers[0].volumeDevices[1].devicePath: Invalid value: \"/x/..\": can not contain backsteps ('..')",
            ],
        ),
    ]);
}
