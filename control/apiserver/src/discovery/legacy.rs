//! Discovery as it was before aggregation: one document per version.

use serde_json::{Value, json};
use xebec_api::resource::Resource;

use super::Group;

/// GET /api.
pub fn versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// GET /api/v1 and /apis/G/V.
///
/// `hash_of` names the version a resource is stored in.
pub fn resources(
    groups: &[Group],
    group: &str,
    version: &str,
    hash_of: &dyn Fn(&Resource) -> Option<String>,
) -> Option<Value> {
    let group = groups.iter().find(|candidate| candidate.name == group)?;
    let (_, resources) = group.versions.iter().find(|(candidate, _)| *candidate == version)?;
    let mut list = Vec::new();
    for served in resources {
        list.push(main(served, hash_of(served)));
        list.extend(served.subresources.iter().map(|sub| {
            let mut value = json!({
                "name": format!("{}/{}", served.plural, sub.name), "singularName": "",
                "namespaced": served.namespaced, "kind": sub.kind, "verbs": sub.verbs,
            });
            if (sub.group, sub.version) != (served.group, served.version) {
                value["group"] = json!(sub.group);
                value["version"] = json!(sub.version);
            }
            value
        }));
    }
    let group_version =
        if group.name.is_empty() { version.to_owned() } else { format!("{}/{version}", group.name) };
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    }))
}

fn main(served: &Resource, hash: Option<String>) -> Value {
    let mut value = json!({
        "name": served.plural, "singularName": served.singular, "namespaced": served.namespaced,
        "kind": served.kind, "verbs": served.verbs,
    });
    if !served.short_names.is_empty() {
        value["shortNames"] = json!(served.short_names);
    }
    if !served.categories.is_empty() {
        value["categories"] = json!(served.categories);
    }
    if let Some(hash) = hash.filter(|_| served.storage) {
        value["storageVersionHash"] = json!(hash);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_resources_with_subresources() {
        let groups = super::super::groups(crate::resources::built_in());
        let apps = resources(&groups, "apps", "v1", &|_| None).unwrap();
        let names: Vec<&str> =
            apps["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(names.contains(&"deployments/scale") && names.contains(&"statefulsets"));
        assert!(resources(&groups, "apps", "v2", &|_| None).is_none());
    }
}
