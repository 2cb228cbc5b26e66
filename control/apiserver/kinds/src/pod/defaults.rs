//! Defaults of a pod and of a pod template's spec.
//!
//! Authority: upstream's pkg/apis/core/v1/defaults.go; what it sets on pods only is in [`pod`].

use serde_json::{Value, json};

use crate::shared::access::{
    at, at_mut, default_number, default_text, default_to, flag, has, list_mut, set, text,
};
use crate::shared::quantities::{canonical, canonical_list};

/// Sets what upstream sets on every pod spec, in a pod or in a template.
pub fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    default_text(spec, &["dnsPolicy"], "ClusterFirst");
    default_text(spec, &["restartPolicy"], "Always");
    default_to(spec, &["securityContext"], json!({}));
    default_to(spec, &["terminationGracePeriodSeconds"], 30);
    default_text(spec, &["schedulerName"], "default-scheduler");
    mirror_service_account(spec);
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        list_mut(spec, &[key]).for_each(|item| container(item, key != "ephemeralContainers"));
    }
    list_mut(spec, &["volumes"]).for_each(volume);
    canonical_list(spec, &["overhead"]);
    resources(spec, &["resources"]);
}

/// Keeps the deprecated `serviceAccount` equal to `serviceAccountName`, as upstream's conversion does.
pub fn mirror_service_account(spec: &mut Value) {
    let old = text(spec, &["serviceAccount"]).to_owned();
    default_or_skip(spec, "serviceAccountName", &old);
    let name = text(spec, &["serviceAccountName"]).to_owned();
    if !name.is_empty() {
        set(spec, &["serviceAccount"], Value::String(name));
    }
}

fn default_or_skip(value: &mut Value, key: &str, new: &str) {
    if !new.is_empty() {
        default_text(value, &[key], new);
    }
}

/// Sets what upstream sets on pods but not on templates: requests from limits, service links, host ports.
pub fn pod(obj: &mut Value) {
    let Some(spec) = at_mut(obj, &["spec"]) else { return };
    let host_network = flag(spec, &["hostNetwork"]);
    for key in ["containers", "initContainers"] {
        for item in list_mut(spec, &[key]) {
            requests_from_limits(item);
            if host_network {
                for port in list_mut(item, &["ports"]) {
                    let number = at(port, &["containerPort"]).as_i64().unwrap_or(0);
                    default_number(port, &["hostPort"], number);
                }
            }
        }
    }
    super::pod_resources::defaults(spec);
    default_to(spec, &["enableServiceLinks"], true);
}

fn requests_from_limits(holder: &mut Value) {
    let Some(limits) = at(holder, &["resources", "limits"]).as_object().cloned() else { return };
    for (name, limit) in limits {
        default_to(holder, &["resources", "requests", &name], limit);
    }
}

fn container(item: &mut Value, with_resources: bool) {
    if !item.is_object() {
        return;
    }
    let policy = if image_tag(text(item, &["image"])) == "latest" { "Always" } else { "IfNotPresent" };
    default_text(item, &["imagePullPolicy"], policy);
    default_text(item, &["terminationMessagePath"], "/dev/termination-log");
    default_text(item, &["terminationMessagePolicy"], "File");
    if with_resources {
        default_to(item, &["resources"], json!({}));
    }
    resources(item, &["resources"]);
    list_mut(item, &["ports"]).for_each(|port| default_text(port, &["protocol"], "TCP"));
    for variable in list_mut(item, &["env"]) {
        field_reference(variable, "valueFrom");
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = at_mut(item, &[key]) {
            self::probe(probe);
        }
    }
    for key in ["postStart", "preStop"] {
        if let Some(handler) = at_mut(item, &["lifecycle", key]) {
            http_get(handler);
        }
    }
}

fn resources(holder: &mut Value, path: &[&str]) {
    let Some(found) = at_mut(holder, path) else { return };
    canonical_list(found, &["limits"]);
    canonical_list(found, &["requests"]);
}

/// Puts `apiVersion: v1` on a field reference and the divisor of a resource reference in canonical form.
fn field_reference(holder: &mut Value, key: &str) {
    let Some(source) = at_mut(holder, &[key]) else { return };
    if has(source, &["fieldRef"]) {
        default_text(source, &["fieldRef", "apiVersion"], "v1");
    }
    if has(source, &["resourceFieldRef"]) {
        default_to(source, &["resourceFieldRef", "divisor"], "0");
        if let Some(divisor) = at_mut(source, &["resourceFieldRef", "divisor"]) {
            canonical(divisor);
        }
    }
}

fn probe(probe: &mut Value) {
    default_number(probe, &["timeoutSeconds"], 1);
    default_number(probe, &["periodSeconds"], 10);
    default_number(probe, &["successThreshold"], 1);
    default_number(probe, &["failureThreshold"], 3);
    http_get(probe);
    if has(probe, &["grpc"]) {
        default_to(probe, &["grpc", "service"], "");
    }
}

fn http_get(handler: &mut Value) {
    if has(handler, &["httpGet"]) {
        default_text(handler, &["httpGet", "path"], "/");
        default_text(handler, &["httpGet", "scheme"], "HTTP");
    }
}

fn volume(volume: &mut Value) {
    let Some(fields) = volume.as_object() else { return };
    if !fields.iter().any(|(key, value)| key != "name" && !value.is_null()) {
        set(volume, &["emptyDir"], json!({}));
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        if has(volume, &[key]) {
            default_to(volume, &[key, "defaultMode"], 0o644);
        }
    }
    downward_items(volume, &["downwardAPI", "items"]);
    for source in list_mut(volume, &["projected", "sources"]) {
        downward_items(source, &["downwardAPI", "items"]);
        if has(source, &["serviceAccountToken"]) {
            default_to(source, &["serviceAccountToken", "expirationSeconds"], 3600);
        }
        if has(source, &["podCertificate"]) {
            default_to(source, &["podCertificate", "maxExpirationSeconds"], 86400);
        }
    }
    if let Some(limit) = at_mut(volume, &["emptyDir", "sizeLimit"]) {
        canonical(limit);
    }
    sources_outside(volume);
    if has(volume, &["image"]) {
        let tag = image_tag(text(volume, &["image", "reference"]));
        default_text(
            volume,
            &["image", "pullPolicy"],
            if tag == "latest" { "Always" } else { "IfNotPresent" },
        );
    }
    if has(volume, &["ephemeral", "volumeClaimTemplate"]) {
        let spec = ["ephemeral", "volumeClaimTemplate", "spec"];
        default_text(volume, &[&spec[..], &["volumeMode"]].concat(), "Filesystem");
        resources(volume, &[&spec[..], &["resources"]].concat());
    }
}

/// Sources outside the pod, of a pod's volume or of a PersistentVolume's spec.
pub fn sources_outside(volume: &mut Value) {
    if has(volume, &["hostPath"]) {
        default_to(volume, &["hostPath", "type"], "");
    }
    if has(volume, &["iscsi"]) {
        default_text(volume, &["iscsi", "iscsiInterface"], "default");
    }
    let fixed: [(&str, &[(&str, &str)]); 3] = [
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
    ];
    for (kind, fields) in fixed {
        if has(volume, &[kind]) {
            fields.iter().for_each(|(key, value)| default_text(volume, &[kind, key], value));
        }
    }
    if has(volume, &["azureDisk"]) {
        default_to(volume, &["azureDisk", "readOnly"], false);
    }
}

fn downward_items(holder: &mut Value, path: &[&str]) {
    for item in list_mut(holder, path) {
        if has(item, &["fieldRef"]) {
            default_text(item, &["fieldRef", "apiVersion"], "v1");
        }
        if has(item, &["resourceFieldRef"]) {
            default_to(item, &["resourceFieldRef", "divisor"], "0");
        }
    }
}

/// The tag of an image reference: `latest` when it has neither tag nor digest, empty with a digest alone.
pub fn image_tag(image: &str) -> &str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    match (last.split_once(':'), digest) {
        (Some((_, tag)), _) => tag,
        (None, Some(_)) => "",
        (None, None) => "latest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_upstream_reads_them() {
        let cases = [
            ("nginx", "latest"),
            ("nginx:1.25", "1.25"),
            ("localhost:5000/nginx", "latest"),
            ("localhost:5000/nginx:x", "x"),
            ("nginx@sha256:abc", ""),
            ("nginx:latest@sha256:abc", "latest"),
        ];
        for (image, tag) in cases {
            assert_eq!(image_tag(image), tag, "{image}");
        }
    }

    #[test]
    fn a_pod_gets_upstreams_defaults() {
        let mut obj = json!({"spec": {
            "serviceAccountName": "sa",
            "containers": [{
                "name": "a", "image": "nginx",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
            }],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}},
                {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]
        }});
        pod_spec(&mut obj["spec"]);
        pod(&mut obj);
        let spec = &obj["spec"];
        assert_eq!(spec["dnsPolicy"], "ClusterFirst");
        assert_eq!(spec["restartPolicy"], "Always");
        assert_eq!(spec["terminationGracePeriodSeconds"], 30);
        assert_eq!(spec["schedulerName"], "default-scheduler");
        assert_eq!(spec["serviceAccount"], "sa");
        assert_eq!(spec["enableServiceLinks"], true);
        assert_eq!(spec["securityContext"], json!({}));
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["terminationMessagePolicy"], "File");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
        assert_eq!(
            container["livenessProbe"],
            json!({"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
        );
        assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 420);
        assert_eq!(
            spec["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
            3600
        );
        let once = obj.clone();
        pod_spec(&mut obj["spec"]);
        pod(&mut obj);
        assert_eq!(obj, once, "defaults are idempotent");
    }
}
