//! Warnings about pod specs: deprecated fields and settings that do not do what they seem to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::shared::access::{at, has, list, text};

/// Labels upstream renamed: old, new.
const RENAMED: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// The warnings of the pod spec at a path such as `spec` or `spec.template.spec`.
pub fn of_spec(spec: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (old, new) in RENAMED {
        if has(spec, &["nodeSelector", old]) {
            warnings
                .push(format!("{path}.nodeSelector[{old}]: deprecated since v1.14; use \"{new}\" instead"));
        }
    }
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        if has(volume, &["gitRepo"]) {
            warnings.push(format!(
                "{path}.volumes[{index}].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"
            ));
        }
    }
    let mut secrets = BTreeSet::new();
    for (index, secret) in list(spec, &["imagePullSecrets"]).iter().enumerate() {
        let name = text(secret, &["name"]);
        if name.is_empty() {
            warnings.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        } else if !secrets.insert(name) {
            warnings.push(format!("{path}.imagePullSecrets[{index}]: duplicate name \"{name}\""));
        }
    }
    for key in ["initContainers", "containers"] {
        for (index, container) in list(spec, &[key]).iter().enumerate() {
            let mut seen = BTreeSet::new();
            for (position, variable) in list(container, &["env"]).iter().enumerate() {
                let name = text(variable, &["name"]);
                if !seen.insert(name) {
                    warnings.push(format!(
                        "{path}.{key}[{index}].env[{position}]: hides previous definition of \"{name}\", which may be dropped when using apply"
                    ));
                }
            }
        }
    }
    if at(spec, &["terminationGracePeriodSeconds"]).as_i64().is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hidden_variables_and_old_labels_are_named() {
        let spec = json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "containers": [{"env": [{"name": "A"}, {"name": "A"}]}]
        });
        assert_eq!(
            of_spec(&spec, "spec"),
            [
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ]
        );
    }
}
