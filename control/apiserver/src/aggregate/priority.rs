//! In which order groups and versions are shown, and which APIServices there are of themselves. Pure.
//!
//! Authority: k8s.io/kubernetes/pkg/controlplane/apiserver/aggregator.go, pkg/controlplane/apiserver/... priorities,
//! k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Value, json};
use xebec_crd::served::compare_versions;

/// The label that says who keeps an APIService.
pub const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Its value for built-in groups: made at the start, then an operator's.
pub const ON_START: &str = "onstart";
/// Its value for groups of definitions: kept for as long as they are served.
pub const ALWAYS: &str = "true";

/// Of groups made by definitions: they go last, their versions by their names.
const CUSTOM: (i64, i64) = (1000, 100);
/// The aggregator's own group goes first and has no APIService.
const OWN: (&str, i64) = ("apiregistration.k8s.io", 20_001);

/// Group, version, the group's priority, the version's. A version that is not listed has no APIService upstream.
const BUILT_IN: [(&str, &str, i64, i64); 46] = [
    ("", "v1", 18_000, 1),
    ("apps", "v1", 17_800, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("events.k8s.io", "v1beta1", 17_750, 5),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authentication.k8s.io", "v1beta1", 17_700, 9),
    ("authentication.k8s.io", "v1alpha1", 17_700, 1),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("batch", "v1beta1", 17_400, 9),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("certificates.k8s.io", "v1beta1", 17_300, 9),
    ("certificates.k8s.io", "v1alpha1", 17_300, 1),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("networking.k8s.io", "v1beta1", 17_200, 9),
    ("policy", "v1", 17_100, 15),
    ("policy", "v1beta1", 17_100, 9),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
    ("storage.k8s.io", "v1beta1", 16_800, 9),
    ("storage.k8s.io", "v1alpha1", 16_800, 1),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("admissionregistration.k8s.io", "v1beta1", 16_700, 12),
    ("admissionregistration.k8s.io", "v1alpha1", 16_700, 9),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("scheduling.k8s.io", "v1alpha2", 16_600, 9),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("coordination.k8s.io", "v1beta1", 16_500, 13),
    ("coordination.k8s.io", "v1alpha2", 16_500, 12),
    ("node.k8s.io", "v1", 16_300, 15),
    ("node.k8s.io", "v1beta1", 16_300, 9),
    ("node.k8s.io", "v1alpha1", 16_300, 1),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("discovery.k8s.io", "v1beta1", 16_200, 12),
    ("resource.k8s.io", "v1", 16_200, 20),
    ("resource.k8s.io", "v1beta2", 16_200, 15),
    ("resource.k8s.io", "v1beta1", 16_200, 9),
    ("resource.k8s.io", "v1alpha3", 16_200, 1),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", 16_100, 18),
    ("internal.apiserver.k8s.io", "v1alpha1", 16_000, 9),
    ("storagemigration.k8s.io", "v1beta1", 15_800, 10),
    ("storagemigration.k8s.io", "v1alpha1", 15_800, 9),
];

/// The priorities of a group and version this server serves itself.
#[must_use]
pub fn local(group: &str, version: &str, custom: bool) -> (i64, i64) {
    if group == OWN.0 {
        return (OWN.1, 100);
    }
    let listed = BUILT_IN.iter().find(|row| (row.0, row.1) == (group, version)).filter(|_| !custom);
    listed.map_or(CUSTOM, |row| (row.2, row.3))
}

/// The APIService this server makes for a group and version of its own; none for those upstream makes none for.
#[must_use]
pub fn automatic(group: &str, version: &str, custom: bool) -> Option<Value> {
    let listed = BUILT_IN.iter().any(|row| (row.0, row.1) == (group, version));
    if group == OWN.0 || !(custom || listed) {
        return None;
    }
    let (group_priority, version_priority) = local(group, version, custom);
    let mut spec = json!({
        "version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority,
    });
    if !group.is_empty() {
        spec["group"] = json!(group);
    }
    Some(json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {
            "name": format!("{version}.{group}"),
            "labels": {MANAGED: if custom { ALWAYS } else { ON_START }},
        },
        "spec": spec,
    }))
}

/// A group and version with its priorities.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ranked {
    /// Group.
    pub group: String,
    /// Version.
    pub version: String,
    /// `groupPriorityMinimum`.
    pub group_priority: i64,
    /// `versionPriority`.
    pub version_priority: i64,
}

/// Groups in the order clients look in, each with its versions, the preferred one first.
#[must_use]
pub fn ordered(entries: impl IntoIterator<Item = Ranked>) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<String, Vec<Ranked>> = BTreeMap::new();
    for entry in entries {
        groups.entry(entry.group.clone()).or_default().push(entry);
    }
    let mut groups: Vec<(String, Vec<Ranked>)> = groups.into_iter().collect();
    // A stable sort: equal priorities stay in the order of their names.
    groups.sort_by_key(|(_, versions)| Reverse(versions.iter().map(|v| v.group_priority).max()));
    let names = |mut versions: Vec<Ranked>| {
        versions.sort_by(|a, b| {
            let by_name = compare_versions(&b.version, &a.version);
            b.version_priority.cmp(&a.version_priority).then(by_name)
        });
        versions.into_iter().map(|ranked| ranked.version).collect()
    };
    groups.into_iter().map(|(group, versions)| (group, names(versions))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(group: &str, version: &str, priorities: (i64, i64)) -> Ranked {
        let (group_priority, version_priority) = priorities;
        Ranked { group: group.into(), version: version.into(), group_priority, version_priority }
    }

    #[test]
    fn every_built_in_version_has_its_place() {
        for served in crate::resources::built_in() {
            let (group, _) = local(served.group, served.version, false);
            assert!(group > 15_000, "{}/{} is not listed", served.group, served.version);
        }
        assert_eq!(local("example.com", "v1", true), (1000, 100));
        assert_eq!(automatic("apiregistration.k8s.io", "v1", false), None);
        let apps = automatic("apps", "v1", false).unwrap();
        assert_eq!(
            (&apps["metadata"]["name"], &apps["metadata"]["labels"][MANAGED]),
            (&json!("v1.apps"), &json!("onstart"))
        );
        assert_eq!(
            apps["spec"],
            json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
        );
        assert_eq!(automatic("", "v1", false).unwrap()["metadata"]["name"], "v1.");
        let custom = automatic("example.com", "v1", true).unwrap();
        assert_eq!(custom["metadata"]["labels"][MANAGED], "true");
    }

    #[test]
    fn groups_and_versions_are_in_order() {
        let order = ordered([
            ranked("metrics.k8s.io", "v1beta1", (100, 100)),
            ranked("b.example", "v1", (1000, 100)),
            ranked("a.example", "v1beta1", (1000, 100)),
            ranked("a.example", "v2", (900, 100)),
            ranked("a.example", "v1", (900, 100)),
            ranked("autoscaling", "v1", (17_500, 15)),
            ranked("autoscaling", "v2", (17_500, 30)),
            ranked("apiregistration.k8s.io", "v1", local("apiregistration.k8s.io", "v1", false)),
        ]);
        let shown: Vec<String> = order.iter().map(|(g, v)| format!("{g}: {}", v.join(" "))).collect();
        assert_eq!(
            shown,
            [
                "apiregistration.k8s.io: v1",
                "autoscaling: v2 v1",
                "a.example: v2 v1 v1beta1",
                "b.example: v1",
                "metrics.k8s.io: v1beta1",
            ]
        );
    }
}
