//! Aggregated discovery (KEP-3352): everything in two documents.

use serde_json::{Value, json};
use xebec_api::resource::Resource;

use super::Group;

/// The exact Content-Type clients look for.
pub fn content_type(version: &str) -> String {
    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
}

/// The list of the core group (`/api`) or of all others (`/apis`).
pub fn list(groups: &[Group], core: bool, version: &str) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(|group| {
            let mut metadata = json!({ "creationTimestamp": null });
            if !core {
                metadata["name"] = json!(group.name);
            }
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|(version, resources)| {
                    let resources: Vec<Value> = resources.iter().map(|served| resource(served)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn resource(served: &Resource) -> Value {
    let mut value = json!({
        "resource": served.plural,
        "responseKind": kind(served.group, served.version, served.kind),
        "scope": if served.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": served.singular,
        "verbs": served.verbs,
    });
    if !served.short_names.is_empty() {
        value["shortNames"] = json!(served.short_names);
    }
    if !served.categories.is_empty() {
        value["categories"] = json!(served.categories);
    }
    if !served.subresources.is_empty() {
        let subresources = served.subresources.iter().map(|sub| {
            json!({
                "subresource": sub.name,
                "responseKind": kind(sub.group, sub.version, sub.kind),
                "verbs": sub.verbs,
            })
        });
        value["subresources"] = subresources.collect();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_and_groups() {
        let groups = super::super::groups(crate::resources::built_in());
        let core = list(&groups, true, "v2");
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        let resources = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
        let pods = resources.iter().find(|r| r["resource"] == "pods").unwrap();
        assert_eq!(pods["shortNames"], json!(["po"]));
        let eviction =
            pods["subresources"].as_array().unwrap().iter().find(|s| s["subresource"] == "eviction").unwrap();
        assert_eq!(eviction["responseKind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
        assert_eq!(list(&groups, false, "v2beta1")["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    }
}
