//! Node labels that have a new name or no meaning any more, and the warnings about them.
//!
//! Authority: pkg/api/node/util.go.

use serde_json::Value;
use xebec_api::field::Path;
use xebec_api::names;

use super::access::{entries, list, text};

const DEPRECATED: &[(&str, &str)] = &[
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
];

/// What is said about a deprecated label; `None` for any other.
pub fn deprecation(label: &str) -> Option<&'static str> {
    DEPRECATED.iter().find(|(key, _)| *key == label).map(|(_, message)| *message)
}

/// The warnings about the expressions of a label selector or of a node selector's term; `with_values`, also about values
/// that no node's label can have.
pub fn expression_warnings(holder: &Value, with_values: bool, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, expression) in list(holder, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let key = text(expression, &["key"]);
        if let Some(message) = deprecation(key) {
            warnings.push(format!("{}: {key} is {message}", path.child("key")));
        }
        for (index, value) in list(expression, &["values"]).iter().enumerate().filter(|_| with_values) {
            let value = value.as_str().unwrap_or_default();
            for message in names::is_label_value(value) {
                warnings
                    .push(format!("{}: {value} is invalid, {message}", path.child("values").index(index)));
            }
        }
    }
    warnings
}

/// The warnings about a label selector that selects nodes.
pub fn selector_warnings(selector: &Value, path: &Path) -> Vec<String> {
    let mut warnings = expression_warnings(selector, false, path);
    for (label, _) in entries(selector, &["matchLabels"]) {
        if let Some(message) = deprecation(label) {
            warnings.push(format!("{}: {message}", path.child("matchLabels").child(label)));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_expressions_are_warned_of() {
        let selector = json!({
            "matchLabels": {"beta.kubernetes.io/os": "linux", "zone": "z"},
            "matchExpressions": [{"key": "a", "operator": "Exists"},
                {"key": "failure-domain.beta.kubernetes.io/zone", "operator": "Exists"}],
        });
        assert_eq!(
            selector_warnings(&selector, &Path::new("s")),
            [
                "s.matchExpressions[1].key: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
                "s.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ]
        );
    }
}
