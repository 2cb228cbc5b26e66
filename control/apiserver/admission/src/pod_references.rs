//! Which secrets and config maps a pod names.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::meta;

/// One reference from a container's environment.
pub(crate) struct FromEnvironment<'a> {
    /// The list the container stands in.
    pub list: &'static str,
    /// The container's name.
    pub container: &'a str,
    /// The variable; none for `envFrom`.
    pub variable: Option<&'a str>,
    /// What it names.
    pub name: &'a str,
}

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// References by `key_ref` (`secretKeyRef`) and `source_ref` (`secretRef`), container by container.
pub(crate) fn environment<'a>(pod: &'a Value, key_ref: &str, source_ref: &str) -> Vec<FromEnvironment<'a>> {
    let mut found = Vec::new();
    for list in LISTS {
        for container in meta::list_at(&pod["spec"], &format!("/{list}")) {
            let own = meta::str_at(container, "/name");
            for variable in meta::list_at(container, "/env") {
                if let Some(name) = variable["valueFrom"][key_ref]["name"].as_str() {
                    let variable = Some(meta::str_at(variable, "/name"));
                    found.push(FromEnvironment { list, container: own, variable, name });
                }
            }
            for source in meta::list_at(container, "/envFrom") {
                if let Some(name) = source[source_ref]["name"].as_str() {
                    found.push(FromEnvironment { list, container: own, variable: None, name });
                }
            }
        }
    }
    found
}

/// The secrets a pod names anywhere: pull secrets, environment, volumes of every kind.
pub(crate) fn secrets(pod: &Value) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        environment(pod, "secretKeyRef", "secretRef").into_iter().map(|r| r.name.to_owned()).collect();
    let mut add = |name: &str| {
        if !name.is_empty() {
            names.insert(name.to_owned());
        }
    };
    for secret in meta::list_at(pod, "/spec/imagePullSecrets") {
        add(meta::str_at(secret, "/name"));
    }
    for volume in meta::list_at(pod, "/spec/volumes") {
        add(meta::str_at(volume, "/secret/secretName"));
        add(meta::str_at(volume, "/azureFile/secretName"));
        for source in meta::list_at(volume, "/projected/sources") {
            add(meta::str_at(source, "/secret/name"));
        }
        for kind in ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
            add(meta::str_at(volume, &format!("/{kind}/secretRef/name")));
        }
        add(meta::str_at(volume, "/csi/nodePublishSecretRef/name"));
    }
    names
}

/// The config maps a pod names: environment and volumes.
pub(crate) fn config_maps(pod: &Value) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = environment(pod, "configMapKeyRef", "configMapRef")
        .into_iter()
        .map(|reference| reference.name.to_owned())
        .collect();
    for volume in meta::list_at(pod, "/spec/volumes") {
        let projected = meta::list_at(volume, "/projected/sources").iter();
        let sources = projected.map(|source| meta::str_at(source, "/configMap/name"));
        let all = sources.chain([meta::str_at(volume, "/configMap/name")]);
        names.extend(all.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    names
}
