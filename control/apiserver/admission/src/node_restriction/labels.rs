//! Which labels of its node a kubelet may set.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::meta;

/// Labels a kubelet may set within the reserved domains.
const ALLOWED: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// The labels that differ and are not a kubelet's to change.
pub(super) fn forbidden(node: &Value, old: &Value) -> Vec<String> {
    let (after, before) = (meta::labels(node), meta::labels(old));
    let changed = after.keys().chain(before.keys()).filter(|key| after.get(*key) != before.get(*key));
    let forbidden: BTreeSet<String> = changed.filter(|key| !is_allowed(key)).cloned().collect();
    forbidden.into_iter().collect()
}

fn is_allowed(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within =
        |suffix: &str| domain.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    ALLOWED.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved() {
        for allowed in [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
            "example.com/x",
            "plain",
            "a.kubelet.kubernetes.io/b",
            "node.kubernetes.io/b",
            "notkubernetes.io/b",
        ] {
            assert!(is_allowed(allowed), "{allowed}");
        }
        for refused in [
            "node-restriction.kubernetes.io/a",
            "x.node-restriction.kubernetes.io/a",
            "kubernetes.io/role",
            "node-role.kubernetes.io/x",
            "k8s.io/a",
            "x.k8s.io/a",
        ] {
            assert!(!is_allowed(refused), "{refused}");
        }
    }
}
