//! ServiceAccount: every pod runs as an account that exists, with its token mounted.
//!
//! Authority: plugin/pkg/admission/serviceaccount upstream.

use rand::Rng;
use serde_json::{Value, json};
use xebec_api::status::ApiError;
use xebec_api::{meta, names};
use xebec_identity::ObjectReader;

use super::Attributes;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Lifetime of the projected token: one hour and the seven seconds by which the kubelet's renewal is recognised.
const TOKEN_SECONDS: i64 = 3607;

/// Completes a new pod, or 403 when its account is missing.
pub(super) fn complete(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    reader: &dyn ObjectReader,
    rng: &mut impl Rng,
) -> Result<(), ApiError> {
    if meta::annotation(pod, "kubernetes.io/config.mirror").is_some() {
        return check_mirror(attributes, pod);
    }
    if !pod["spec"].is_object() {
        return Ok(());
    }
    let name = match pod["spec"]["serviceAccountName"].as_str() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "default".to_owned(),
    };
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    let namespace = &attributes.target.namespace;
    let Some(account) = reader.get("", "serviceaccounts", namespace, &name) else {
        return Err(attributes.target.forbidden(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        )));
    };
    let pull_secrets = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    if !pull_secrets(&pod["spec"]["imagePullSecrets"]) && pull_secrets(&account["imagePullSecrets"]) {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    let wanted = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if wanted {
        mount_token(pod, rng);
    }
    Ok(())
}

fn check_mirror(attributes: &Attributes<'_>, pod: &Value) -> Result<(), ApiError> {
    if pod["spec"]["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Err(attributes.target.forbidden("a mirror pod may not reference service accounts"));
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        for (kind, plural) in [("secret", "secrets"), ("configMap", "configmaps")] {
            if volume.get(kind).is_some_and(|source| !source.is_null()) {
                return Err(attributes.target.forbidden(&format!("a mirror pod may not reference {plural}")));
            }
        }
    }
    Ok(())
}

fn mount_token(pod: &mut Value, rng: &mut impl Rng) {
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let present = volumes.iter().find_map(|volume| {
        let name = volume["name"].as_str()?;
        (name.starts_with(VOLUME_PREFIX) && volume["projected"].is_object()).then(|| name.to_owned())
    });
    let volume = present.clone().unwrap_or_else(|| names::generate_name(VOLUME_PREFIX, rng));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            let mut mounts = mounts;
            mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
            container["volumeMounts"] = Value::Array(mounts);
            mounted = true;
        }
    }
    if mounted && present.is_none() {
        let mut volumes = volumes;
        volumes.push(token_volume(&volume));
        pod["spec"]["volumes"] = Value::Array(volumes);
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_the_token_once() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b",
            "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]}});
        mount_token(&mut pod, &mut rand::rng());
        let volume = pod["spec"]["volumes"][0]["name"].as_str().unwrap().to_owned();
        assert!(volume.starts_with(VOLUME_PREFIX) && volume.len() == VOLUME_PREFIX.len() + 5, "{volume}");
        assert_eq!(
            pod["spec"]["containers"][0]["volumeMounts"],
            json!([{"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}])
        );
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        let again = pod.clone();
        mount_token(&mut pod, &mut rand::rng());
        assert_eq!(pod, again);
    }
}
