//! Containers, init containers and ephemeral containers.
//!
//! Authority: upstream's validateContainers, validateInitContainers, validateEphemeralContainers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{env, mounts, policies, probes, resources, security};
use crate::shared::access::{at, has, int, list, text};
use crate::shared::rules::{invalid_each, one_of};

/// What a container's rules need to know of its pod.
pub struct Scope<'a> {
    volumes: &'a BTreeMap<&'a str, &'a Value>,
    claims: BTreeSet<&'a str>,
    restart_policy: &'a str,
    grace: Option<i64>,
    system: Option<&'a str>,
    host_users: bool,
}

impl<'a> Scope<'a> {
    /// The scope of a pod spec whose good volumes are given.
    pub fn of(spec: &'a Value, volumes: &'a BTreeMap<&'a str, &'a Value>) -> Self {
        Scope {
            volumes,
            claims: resources::claim_names(spec),
            restart_policy: text(spec, &["restartPolicy"]),
            grace: int(spec, &["terminationGracePeriodSeconds"]),
            system: at(spec, &["os", "name"]).as_str(),
            host_users: at(spec, &["hostUsers"]).as_bool().unwrap_or(true),
        }
    }
}

/// Every error of the three lists of containers of a pod spec.
pub fn validate(spec: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let scope = Scope::of(spec, volumes);
    let mut errors = validate_main(spec, &scope, &path.child("containers"));
    errors.extend(validate_init(spec, &scope, &path.child("initContainers")));
    errors.extend(validate_ephemeral(spec, &scope, &path.child("ephemeralContainers")));
    errors
}

fn validate_main(spec: &Value, scope: &Scope<'_>, path: &Path) -> Vec<FieldError> {
    let containers = list(spec, &["containers"]);
    if containers.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        errors.extend(validate_one(container, scope, &path));
        let name = text(container, &["name"]);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        errors.extend(probes::validate_lifecycle(container, scope.grace, scope.system, &path));
        errors.extend(probes::validate_probes(container, &path));
        errors.extend(policies::validate_restarts(container, &path));
    }
    errors.extend(probes::validate_host_ports(containers, path));
    errors
}

fn validate_init(spec: &Value, scope: &Scope<'_>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = names_of(spec, "containers");
    for (index, container) in list(spec, &["initContainers"]).iter().enumerate() {
        let list_path = path;
        let path = path.index(index);
        errors.extend(validate_one(container, scope, &path));
        errors.extend(policies::validate_restarts(container, &path));
        let name = text(container, &["name"]);
        if seen.contains(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        } else if !name.is_empty() {
            seen.insert(name);
        }
        // They run one by one, so each is checked alone; upstream reports it under the first index.
        errors.extend(probes::validate_host_ports(std::slice::from_ref(container), list_path));
        if text(container, &["restartPolicy"]) == "Always" {
            errors.extend(probes::validate_lifecycle(container, scope.grace, scope.system, &path));
            errors.extend(probes::validate_probes(container, &path));
            continue;
        }
        for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if has(container, &[key]) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(&path.child(key), detail));
            }
        }
    }
    errors
}

fn names_of<'a>(spec: &'a Value, key: &str) -> BTreeSet<&'a str> {
    list(spec, &[key]).iter().map(|container| text(container, &["name"])).collect()
}

/// The rules that containers of every list share.
fn validate_one(container: &Value, scope: &Scope<'_>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match text(container, &["name"]) {
        "" => errors.push(FieldError::required(&path.child("name"), "")),
        name => errors.extend(invalid_each(&path.child("name"), name, names::is_dns1123_label(name))),
    }
    if text(container, &["image"]).is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    }
    let messages = ["File", "FallbackToLogsOnError"];
    errors.extend(one_of(container, "terminationMessagePolicy", &messages, path));
    errors.extend(probes::validate_ports(container, &path.child("ports")));
    errors.extend(env::validate_env(container, scope.volumes, &path.child("env")));
    errors.extend(env::validate_env_from(container, &path.child("envFrom")));
    errors.extend(mounts::validate_mounts(container, scope.volumes, &path.child("volumeMounts")));
    errors.extend(mounts::validate_devices(container, scope.volumes, &path.child("volumeDevices")));
    errors.extend(one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path));
    let requirements = at(container, &["resources"]);
    errors.extend(resources::validate_container(requirements, &scope.claims, &path.child("resources")));
    errors.extend(policies::validate_resize(container, scope.restart_policy, &path.child("resizePolicy")));
    errors.extend(security::validate_container(container, scope.host_users, path));
    errors
}

/// Fields a container added to a running pod cannot have, in upstream's order.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

fn validate_ephemeral(spec: &Value, scope: &Scope<'_>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut others = names_of(spec, "containers");
    others.extend(names_of(spec, "initContainers"));
    let mut seen = others.clone();
    for (index, container) in list(spec, &["ephemeralContainers"]).iter().enumerate() {
        let path = path.index(index);
        errors.extend(validate_one(container, scope, &path));
        errors.extend(untrimmed_image(container, &path));
        let name = text(container, &["name"]);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let target = text(container, &["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(&path.child("targetContainerName"), target));
        }
        for key in NOT_EPHEMERAL {
            let value = at(container, &[key]);
            let empty = value.as_object().is_some_and(|map| map.is_empty())
                || value.as_array().is_some_and(Vec::is_empty);
            if !value.is_null() && !empty {
                let detail = "cannot be set for an Ephemeral Container";
                errors.push(FieldError::forbidden(&path.child(key), detail));
            }
        }
        for (position, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
            for key in ["subPath", "subPathExpr"] {
                if !text(mount, &[key]).is_empty() {
                    let path = path.child("volumeMounts").index(position).child(key);
                    errors.push(FieldError::forbidden(&path, "cannot be set for an Ephemeral Container"));
                }
            }
        }
    }
    errors
}

fn untrimmed_image(container: &Value, path: &Path) -> Option<FieldError> {
    let image = text(container, &["image"]);
    let detail = "must not have leading or trailing whitespace";
    (image.trim() != image).then(|| FieldError::invalid(&path.child("image"), image, detail))
}

/// What upstream checks on pods but not on templates: no white space around an image's name.
pub fn validate_only_for_pods(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["containers", "initContainers"] {
        for (index, container) in list(spec, &[key]).iter().enumerate() {
            errors.extend(untrimmed_image(container, &path.child(key).index(index)));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::defaults::pod_spec;
    use crate::testing::messages;
    use serde_json::json;

    fn check(mut spec: Value) -> Vec<String> {
        pod_spec(&mut spec);
        messages(&validate(&spec, &BTreeMap::new(), &Path::new("spec")))
    }

    #[test]
    fn a_container_needs_a_name_and_an_image() {
        assert_eq!(check(json!({"containers": [{"name": "a", "image": "b"}]})), Vec::<String>::new());
        assert_eq!(check(json!({"containers": []})), ["spec.containers: Required value"]);
        assert_eq!(
            check(json!({"containers": [{}]})),
            ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"]
        );
    }

    #[test]
    fn names_are_unique_over_all_lists() {
        let one = json!({"name": "a", "image": "b"});
        assert_eq!(
            check(json!({"containers": [one, one], "initContainers": [one]})),
            [
                "spec.containers[1].name: Duplicate value: \"a\"",
                "spec.initContainers[0].name: Duplicate value: \"a\"",
            ]
        );
    }

    #[test]
    fn only_sidecars_have_probes_among_init_containers() {
        let main = json!({"name": "a", "image": "b"});
        let probe = json!({"exec": {"command": ["x"]}});
        let init = json!({"name": "i", "image": "b", "readinessProbe": probe});
        assert_eq!(
            check(json!({"containers": [main], "initContainers": [init]})),
            [
                "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"
            ]
        );
    }
}
