//! Containers, init containers and ephemeral containers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{env, mounts, probes, resources, security};
use crate::shared::access::{at, has, list, text};
use crate::shared::rules::{invalid_each, one_of};

const MESSAGE_POLICIES: &str = "must be 'File' or 'FallbackToLogsOnError'";

/// Every error of the three lists of containers of a pod spec.
pub fn validate(spec: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let containers = list(spec, &["containers"]);
    let main = path.child("containers");
    if containers.is_empty() {
        errors.push(FieldError::required(&main, ""));
    }
    let mut names_seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = main.index(index);
        errors.extend(validate_one(container, volumes, &path));
        let name = text(container, &["name"]);
        if !names_seen.insert(name) && !name.is_empty() {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        if has(container, &["restartPolicy"]) {
            errors.extend(restart_policy(container, &["Always", "Never", "OnFailure"], &path));
        }
    }
    errors.extend(probes::validate_host_ports(containers, &main));
    let init = path.child("initContainers");
    for (index, container) in list(spec, &["initContainers"]).iter().enumerate() {
        let path = init.index(index);
        errors.extend(validate_one(container, volumes, &path));
        let name = text(container, &["name"]);
        if !name.is_empty() && !names_seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        if has(container, &["restartPolicy"]) {
            errors.extend(restart_policy(container, &["Always", "Never", "OnFailure"], &path));
        }
        if text(container, &["restartPolicy"]) != "Always" {
            for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if has(container, &[key]) {
                    let detail = "may not be set for init containers without restartPolicy=Always";
                    errors.push(FieldError::forbidden(&path.child(key), detail));
                }
            }
        }
    }
    errors.extend(validate_ephemeral(spec, volumes, &mut names_seen, path));
    errors
}

fn restart_policy(container: &Value, allowed: &[&str], path: &Path) -> Vec<FieldError> {
    one_of(container, "restartPolicy", allowed, path)
}

fn validate_one(container: &Value, volumes: &BTreeMap<&str, &Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match text(container, &["name"]) {
        "" => errors.push(FieldError::required(&path.child("name"), "")),
        name => errors.extend(invalid_each(&path.child("name"), name, names::is_dns1123_label(name))),
    }
    if text(container, &["image"]).is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    }
    match text(container, &["terminationMessagePolicy"]) {
        "File" | "FallbackToLogsOnError" => {}
        "" => errors.push(FieldError::required(&path.child("terminationMessagePolicy"), MESSAGE_POLICIES)),
        other => {
            errors.push(FieldError::invalid(
                &path.child("terminationMessagePolicy"),
                other,
                MESSAGE_POLICIES,
            ));
        }
    }
    errors.extend(probes::validate_ports(container, &path.child("ports")));
    errors.extend(env::validate_env(container, &path.child("env")));
    errors.extend(env::validate_env_from(container, &path.child("envFrom")));
    errors.extend(mounts::validate_mounts(container, volumes, path));
    errors.extend(one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path));
    errors.extend(resources::validate_requirements(at(container, &["resources"]), &path.child("resources")));
    errors.extend(security::validate_container(container, path));
    errors.extend(probes::validate_probes(container, path));
    errors
}

/// Fields a container added to a running pod cannot have.
const NOT_EPHEMERAL: &[&str] =
    &["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy"];

fn validate_ephemeral<'a>(
    spec: &'a Value,
    volumes: &BTreeMap<&str, &Value>,
    seen: &mut BTreeSet<&'a str>,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let containers = list(spec, &["containers"]);
    for (index, container) in list(spec, &["ephemeralContainers"]).iter().enumerate() {
        let path = path.child("ephemeralContainers").index(index);
        errors.extend(validate_one(container, volumes, &path));
        let name = text(container, &["name"]);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let target = text(container, &["targetContainerName"]);
        if !target.is_empty() && !containers.iter().any(|c| text(c, &["name"]) == target) {
            errors.push(FieldError::not_found(&path.child("targetContainerName"), target));
        }
        for key in NOT_EPHEMERAL {
            let value = at(container, &[key]);
            let empty = value.as_object().is_some_and(|map| map.is_empty());
            if !value.is_null() && !empty {
                let detail = format!("cannot be set for an Ephemeral Container; field {key} is not allowed");
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

/// What upstream checks on pods but not on templates: no white space around an image's name.
pub fn validate_only_for_pods(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["containers", "initContainers"] {
        for (index, container) in list(spec, &[key]).iter().enumerate() {
            let image = text(container, &["image"]);
            if image.trim() != image {
                let path = path.child(key).index(index).child("image");
                let detail = "must not have leading or trailing whitespace";
                errors.push(FieldError::invalid(&path, image, detail));
            }
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
