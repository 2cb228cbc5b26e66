//! What is served of a definition: its resources, as routing and discovery see them, and what their use is warned of.
//!
//! Enters: a [`Definition`]. Leaves: [`Resource`] rows. Called by the API server's loop over definitions.
//!
//! Authority: apiextensions-apiserver, customresource_discovery_controller.go and customresource_handler.go.

use std::cmp::Ordering;

use xebec_api::resource::{self, Resource, Subresource};

use crate::definition::{Definition, Version};

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// A definition that goes lets nothing new come.
const LAST_VERBS: [&str; 5] = ["delete", "deletecollection", "get", "list", "watch"];

/// The resource of one version, under the accepted names; `None` when the version is not served or no names have been
/// accepted. Its verbs shrink when the definition is terminating.
pub fn resource(
    definition: &Definition,
    version: &str,
    terminating: bool,
    intern: &dyn Fn(&str) -> &'static str,
) -> Option<Resource> {
    let found = definition.version(version).filter(|version| version.served)?;
    let names = &definition.accepted;
    if [&names.plural, &names.singular, &names.kind, &names.list_kind].into_iter().any(String::is_empty) {
        return None;
    }
    let all = |names: &[String]| names.iter().map(|name| intern(name)).collect();
    Some(Resource {
        group: intern(&definition.group),
        version: intern(version),
        kind: intern(&names.kind),
        plural: intern(&names.plural),
        singular: names.singular.clone(),
        short_names: all(&names.short_names),
        namespaced: definition.namespaced,
        subresources: subresources(definition, found, intern),
        verbs: if terminating { LAST_VERBS.to_vec() } else { VERBS.to_vec() },
        categories: all(&names.categories),
        storage: true,
        default_on: true,
    })
}

fn subresources(
    definition: &Definition,
    version: &Version,
    intern: &dyn Fn(&str) -> &'static str,
) -> Vec<Subresource> {
    let verbs = || vec!["get", "patch", "update"];
    let status = version.has_status().then(|| Subresource {
        name: "status",
        kind: intern(&definition.accepted.kind),
        group: intern(&definition.group),
        version: intern(&version.name),
        verbs: verbs(),
    });
    let scale = version.scale().map(|_| Subresource {
        name: "scale",
        kind: "Scale",
        group: "autoscaling",
        version: "v1",
        verbs: verbs(),
    });
    status.into_iter().chain(scale).collect()
}

/// The hash discovery shows for every version: that of the storage version, if it is served.
pub fn storage_version_hash(definition: &Definition) -> Option<String> {
    let storage = definition.storage().filter(|version| version.served)?;
    let kind = &definition.names.kind;
    Some(resource::storage_version_hash(&definition.group, &storage.name, kind))
}

/// The `Warning` of every answer about a deprecated version.
pub fn deprecation_warning(definition: &Definition, version: &str) -> Option<String> {
    let found = definition.version(version).filter(|version| version.deprecated)?;
    if let Some(warning) = &found.deprecation_warning {
        return Some(warning.clone());
    }
    let kind = &definition.names.kind;
    let mut text = format!("{} {kind} is deprecated", definition.api_version(version));
    let newer = definition
        .versions
        .iter()
        .filter(|other| other.served && !other.deprecated)
        .map(|other| other.name.as_str())
        .filter(|other| compare_versions(version, other).is_lt())
        .max_by(|a, b| compare_versions(a, b));
    if let Some(newer) = newer {
        text.push_str(&format!("; use {} {kind}", definition.api_version(newer)));
    }
    Some(text)
}

/// The order of versions by stability: `v2` > `v1` > `v1beta2` > `v1beta1` > `v1alpha1` > anything else, by name.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parsed(a), parsed(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        // Names in alphabetical order come first, that is, are the greater.
        (None, None) => b.cmp(a),
    }
}

/// Stability, major, minor.
fn parsed(version: &str) -> Option<(u8, u64, u64)> {
    let digits = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with(['+', '0']));
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(end);
    let major = digits(major)?;
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (level, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(minor), _) => (1, minor),
        (_, Some(minor)) => (0, minor),
        _ => return None,
    };
    Some((level, major, digits(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> Definition {
        Definition::read(&json!({"metadata": {"name": "tabs.g.io"},
            "spec": {"group": "g.io", "scope": "Cluster", "names": {"plural": "tabs", "kind": "Tab"}, "versions": [
                {"name": "v1beta1", "served": true, "deprecated": true},
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {},
                    "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}},
                {"name": "v2alpha1", "served": true}, {"name": "v3", "served": false},
                {"name": "v0", "served": true, "deprecated": true, "deprecationWarning": "too old"}]},
            "status": {"acceptedNames": {"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList", "shortNames": ["t"], "categories": ["all"]}}}))
    }

    fn leak(text: &str) -> &'static str {
        Box::leak(text.to_owned().into_boxed_str())
    }

    #[test]
    fn served_versions_are_resources() {
        let definition = definition();
        let tabs = resource(&definition, "v1", false, &leak).unwrap();
        assert_eq!((tabs.api_version().as_str(), tabs.plural, tabs.namespaced), ("g.io/v1", "tabs", false));
        assert_eq!((&tabs.short_names, &tabs.categories), (&vec!["t"], &vec!["all"]));
        let parts: Vec<String> = tabs
            .subresources
            .iter()
            .map(|part| format!("{} {}/{} {}", part.name, part.group, part.version, part.kind))
            .collect();
        assert_eq!(parts, ["status g.io/v1 Tab", "scale autoscaling/v1 Scale"]);
        assert!(!resource(&definition, "v1", true, &leak).unwrap().has_verb("create"));
        assert_eq!(resource(&definition, "v3", false, &leak), None);
        assert_eq!(
            storage_version_hash(&definition),
            Some(resource::storage_version_hash("g.io", "v1", "Tab"))
        );
    }

    #[test]
    fn deprecated_versions_are_warned_of() {
        let definition = definition();
        let warning = |version: &str| deprecation_warning(&definition, version);
        assert_eq!(warning("v1beta1").as_deref(), Some("g.io/v1beta1 Tab is deprecated; use g.io/v1 Tab"));
        assert_eq!(warning("v0").as_deref(), Some("too old"));
        assert_eq!(warning("v1"), None);
    }

    #[test]
    fn versions_are_ordered_by_stability() {
        let mut versions = ["foo1", "v1alpha1", "v10", "v2", "v1beta1", "v11alpha2", "v1beta2", "bar", "v1"];
        versions.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v1beta2", "v1beta1", "v11alpha2", "v1alpha1", "bar", "foo1"]
        );
    }
}
