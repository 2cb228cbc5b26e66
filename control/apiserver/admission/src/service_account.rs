//! ServiceAccount: every pod runs as an account that exists, with its token mounted and its pull secrets.
//!
//! Pure over the reader and a source of chance. Authority: plugin/pkg/admission/serviceaccount upstream.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::Rng;
use serde_json::{Value, json};
use xebec_api::status::ApiError;
use xebec_api::{meta, names};

use crate::pod_references::{self, FromEnvironment};
use crate::{Call, Operation};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Lifetime of the projected token: one hour and the seven seconds by which the kubelet's renewal is recognised.
const TOKEN_SECONDS: i64 = 3607;

fn is_mirror(pod: &Value) -> bool {
    meta::annotation(pod, "kubernetes.io/config.mirror").is_some()
}

fn account(call: &Call<'_>, pod: &Value) -> Result<Arc<Value>, ApiError> {
    let (namespace, name) = (call.request.namespace, meta::str_at(pod, "/spec/serviceAccountName"));
    call.reader.get("", "serviceaccounts", namespace, name).ok_or_else(|| {
        call.forbidden(
            pod,
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"),
        )
    })
}

/// Completes a new pod, or 403 when its account is missing.
pub(crate) fn mutate(call: &Call<'_>, pod: &mut Value, rng: &mut impl Rng) -> Result<(), ApiError> {
    if !call.request.creates_pod() || !pod["spec"].is_object() || is_mirror(pod) {
        return validate(call, pod);
    }
    let name = match meta::str_at(pod, "/spec/serviceAccountName") {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    let account = account(call, pod)?;
    let wanted = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if wanted {
        mount_token(pod, rng);
    }
    let pull = meta::list_at(&account, "/imagePullSecrets");
    if meta::list_at(pod, "/spec/imagePullSecrets").is_empty() && !pull.is_empty() {
        pod["spec"]["imagePullSecrets"] = json!(pull);
    }
    validate(call, pod)
}

/// Checks a finished pod: its account, and the secrets it may name.
pub(crate) fn validate(call: &Call<'_>, pod: &Value) -> Result<(), ApiError> {
    let request = &call.request;
    if request.is("", "pods", "ephemeralcontainers") && request.operation == Operation::Update {
        let account = account(call, pod)?;
        return limit_secrets(&account, pod, &["ephemeralContainers"])
            .map_err(|why| call.forbidden(pod, why));
    }
    if !request.creates_pod() {
        return Ok(());
    }
    if is_mirror(pod) {
        return check_mirror(pod).map_err(|why| call.forbidden(pod, why));
    }
    if meta::str_at(pod, "/spec/serviceAccountName").is_empty() {
        let why = format!("no service account specified for pod {}/{}", request.namespace, meta::name(pod));
        return Err(call.forbidden(pod, why));
    }
    let account = account(call, pod)?;
    limit_secrets(&account, pod, &["initContainers", "containers"]).map_err(|why| call.forbidden(pod, why))
}

fn check_mirror(pod: &Value) -> Result<(), &'static str> {
    if !meta::str_at(pod, "/spec/serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if !pod_references::secrets(pod).is_empty() {
        return Err("a mirror pod may not reference secrets");
    }
    let volumes = meta::list_at(pod, "/spec/volumes").iter();
    let mut sources = volumes.flat_map(|volume| meta::list_at(volume, "/projected/sources"));
    if sources.any(|source| source["serviceAccountToken"].is_object()) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

fn listed<'a>(account: &'a Value, at: &str) -> BTreeSet<&'a str> {
    meta::list_at(account, at).iter().map(|reference| meta::str_at(reference, "/name")).collect()
}

/// An account annotated so lets its pods name only the secrets it lists.
fn limit_secrets(account: &Value, pod: &Value, lists: &[&str]) -> Result<(), String> {
    let enforced = meta::annotation(account, "kubernetes.io/enforce-mountable-secrets");
    if !matches!(enforced, Some("true" | "True" | "TRUE" | "1" | "t" | "T")) {
        return Ok(());
    }
    let own = meta::name(account);
    let mountable = listed(account, "/secrets");
    let not_listed = |what: String, name: &str| {
        format!(
            "{what} secret.secretName=\"{name}\" is not allowed because service account {own} does not reference that secret"
        )
    };
    let whole = lists.contains(&"containers");
    for volume in meta::list_at(pod, "/spec/volumes").iter().filter(|_| whole) {
        let name = meta::str_at(volume, "/secret/secretName");
        if volume["secret"].is_object() && !mountable.contains(name) {
            return Err(not_listed("volume with".to_owned(), name));
        }
    }
    for reference in pod_references::environment(pod, "secretKeyRef", "secretRef") {
        let FromEnvironment { list, container, variable, name } = reference;
        if !lists.contains(&list) || mountable.contains(name) {
            continue;
        }
        let kind = match list {
            "initContainers" => "init container",
            "ephemeralContainers" => "ephemeral container",
            _ => "container",
        };
        return Err(not_listed(
            match variable {
                Some(variable) => format!("{kind} {container} with envVar {variable} referencing"),
                None => format!("{kind} {container} with envFrom referencing"),
            },
            name,
        ));
    }
    let pull = listed(account, "/imagePullSecrets");
    let names = meta::list_at(pod, "/spec/imagePullSecrets").iter().map(|s| meta::str_at(s, "/name"));
    match names.enumerate().find(|(_, name)| whole && !pull.contains(name)) {
        Some((i, name)) => Err(format!(
            "imagePullSecrets[{i}].name=\"{name}\" is not allowed because service account {own} does not reference that \
             imagePullSecret"
        )),
        None => Ok(()),
    }
}

fn mount_token(pod: &mut Value, rng: &mut impl Rng) {
    let volumes = meta::list_at(pod, "/spec/volumes").to_vec();
    let present = volumes.iter().find_map(|volume| {
        let name = volume["name"].as_str()?;
        (name.starts_with(VOLUME_PREFIX) && volume["projected"].is_object()).then(|| name.to_owned())
    });
    let volume = present.clone().unwrap_or_else(|| names::generate_name(VOLUME_PREFIX, rng));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mut mounts = meta::list_at(container, "/volumeMounts").to_vec();
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
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
    use crate::testing::{World, request};

    fn world(account: Value) -> World {
        let world = World::default();
        let mut account = account;
        meta::set(&mut account, "/metadata/namespace", "ns");
        world.put("", "serviceaccounts", account);
        world
    }

    fn created(world: &World, pod: &mut Value) -> String {
        let call = world.call(request(Operation::Create, "", "pods", "ns", "p"), None);
        mutate(&call, pod, &mut rand::rng()).map_or_else(|error| error.message, |()| String::new())
    }

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

    #[test]
    fn the_default_account_and_its_pull_secrets() {
        let world = world(json!({"metadata": {"name": "default"}, "automountServiceAccountToken": false,
            "imagePullSecrets": [{"name": "s"}]}));
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(created(&world, &mut pod), "");
        assert_eq!(
            pod["spec"],
            json!({"containers": [{"name": "a"}], "serviceAccountName": "default", "serviceAccount": "default",
                "imagePullSecrets": [{"name": "s"}]})
        );
        let mut other = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "x"}});
        assert_eq!(
            created(&world, &mut other),
            "pods \"p\" is forbidden: error looking up service account ns/x: serviceaccount \"x\" not found"
        );
    }

    #[test]
    fn mountable_secrets() {
        let world = world(json!({"metadata": {"name": "default",
            "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
            "secrets": [{"name": "ok"}], "imagePullSecrets": [{"name": "pull"}]}));
        let tail = "is not allowed because service account default does not reference that";
        let env = |name: &str| json!([{"name": "V", "valueFrom": {"secretKeyRef": {"name": name}}}]);
        for (spec, why) in [
            (json!({"volumes": [{"name": "v", "secret": {"secretName": "ok"}}]}), String::new()),
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}),
                format!("volume with secret.secretName=\"x\" {tail} secret"),
            ),
            (
                json!({"containers": [{"name": "c", "env": env("x")}]}),
                format!("container c with envVar V referencing secret.secretName=\"x\" {tail} secret"),
            ),
            (
                json!({"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "x"}}]}]}),
                format!("init container i with envFrom referencing secret.secretName=\"x\" {tail} secret"),
            ),
            (
                json!({"imagePullSecrets": [{"name": "pull"}, {"name": "x"}]}),
                format!("imagePullSecrets[1].name=\"x\" {tail} imagePullSecret"),
            ),
        ] {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
            let expected = if why.is_empty() { why } else { format!("pods \"p\" is forbidden: {why}") };
            assert_eq!(created(&world, &mut pod), expected);
        }
        let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "default",
            "ephemeralContainers": [{"name": "e", "env": env("x")}]}});
        let mut update = request(Operation::Update, "", "pods", "ns", "p");
        update.subresource = "ephemeralcontainers";
        assert_eq!(
            validate(&world.call(update, None), &pod).unwrap_err().message,
            format!(
                "pods \"p\" is forbidden: ephemeral container e with envVar V referencing secret.secretName=\"x\" {tail} \
                 secret"
            )
        );
    }

    #[test]
    fn mirror_pods() {
        let world = World::default();
        for (spec, why) in [
            (json!({"containers": []}), ""),
            (json!({"serviceAccountName": "a"}), "a mirror pod may not reference service accounts"),
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
                "a mirror pod may not reference secrets",
            ),
            (
                json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
                "a mirror pod may not use ServiceAccountToken volume projections",
            ),
        ] {
            let mut pod = json!({"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "x"}},
                "spec": spec});
            let expected =
                if why.is_empty() { String::new() } else { format!("pods \"p\" is forbidden: {why}") };
            assert_eq!(created(&world, &mut pod), expected);
        }
    }
}
