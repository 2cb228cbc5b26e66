//! Discovery of this server and of remote ones in one. Pure over JSON documents.
//!
//! Authority: k8s.io/kube-aggregator/pkg/apiserver (handler_apis.go, handler_discovery.go), KEP-3352.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// A group and version.
pub type GroupVersion = (String, String);

/// What is known of versions.
pub type Versions = HashMap<GroupVersion, Value>;

/// `/apis`: the groups in this order; `groups` are this server's, which tell more than names.
#[must_use]
pub fn group_list(order: &[(String, Vec<String>)]) -> Value {
    let groups: Vec<Value> =
        order.iter().filter(|(group, _)| !group.is_empty()).map(|(g, v)| describe(g, v)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/G`.
#[must_use]
pub fn group(order: &[(String, Vec<String>)], name: &str) -> Option<Value> {
    let (group, versions) = order.iter().find(|(group, _)| group == name && !name.is_empty())?;
    let mut value = describe(group, versions);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Some(value)
}

fn describe(group: &str, versions: &[String]) -> Value {
    let version =
        |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(version).collect::<Value>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// `/apis` as APIGroupDiscoveryList: `own` is this server's, `remote` what is known of the others.
#[must_use]
pub fn aggregated(mut own: Value, order: &[(String, Vec<String>)], remote: &Versions) -> Value {
    let mut known: Versions = HashMap::new();
    for item in own["items"].as_array().into_iter().flatten() {
        let group = item["metadata"]["name"].as_str().unwrap_or_default();
        for version in item["versions"].as_array().into_iter().flatten() {
            let name = version["version"].as_str().unwrap_or_default();
            known.insert((group.to_owned(), name.to_owned()), version.clone());
        }
    }
    known.extend(remote.iter().map(|(key, value)| (key.clone(), value.clone())));
    let items = order.iter().filter(|(group, _)| !group.is_empty()).filter_map(|(group, versions)| {
        let versions: Vec<Value> = versions
            .iter()
            .filter_map(|version| known.get(&(group.clone(), version.clone())).cloned())
            .collect();
        let metadata = json!({"name": group, "creationTimestamp": null});
        (!versions.is_empty()).then(|| json!({"metadata": metadata, "versions": versions}))
    });
    own["items"] = items.collect();
    own
}

/// What a remote server's APIGroupDiscoveryList says of each version.
#[must_use]
pub fn versions(list: &Value) -> Versions {
    let mut found = HashMap::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let group = item["metadata"]["name"].as_str().unwrap_or_default();
        for version in item["versions"].as_array().into_iter().flatten() {
            if let Some(name) = version["version"].as_str() {
                found.insert((group.to_owned(), name.to_owned()), version.clone());
            }
        }
    }
    found
}

/// A remote version as it is shown: `Current` with its resources, or `Stale` with those it had when it last answered (it
/// may never have).
#[must_use]
pub fn entry(version: &str, known: Option<&Value>, current: bool) -> Value {
    let mut entry = known.cloned().unwrap_or_else(|| json!({ "version": version }));
    entry["version"] = json!(version);
    entry["freshness"] = json!(if current && known.is_some() { "Current" } else { "Stale" });
    entry
}

/// The resources of an APIResourceList (`/apis/G/V` of a server without aggregated discovery).
#[must_use]
pub fn from_resource_list(list: &Value, group: &str, version: &str) -> Value {
    let mut resources: Vec<Map<String, Value>> = Vec::new();
    let all = list["resources"].as_array().cloned().unwrap_or_default();
    for resource in &all {
        let name = resource["name"].as_str().unwrap_or_default();
        let text = |key: &str, default: &str| {
            resource[key].as_str().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
        };
        let kind = json!({"group": text("group", group), "version": text("version", version),
            "kind": text("kind", "")});
        let verbs = resource["verbs"].clone();
        let (parent, sub) = name.split_once('/').map_or((name, None), |(parent, sub)| (parent, Some(sub)));
        let at = resources.iter().position(|known| known.get("resource") == Some(&json!(parent)));
        let at = at.unwrap_or_else(|| {
            let scope = if resource["namespaced"] == true { "Namespaced" } else { "Cluster" };
            let new = json!({"resource": parent, "scope": scope, "verbs": []});
            resources.push(new.as_object().cloned().unwrap_or_default());
            resources.len() - 1
        });
        let known = &mut resources[at];
        if let Some(sub) = sub {
            let list = known.entry("subresources").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(json!({"subresource": sub, "responseKind": kind, "verbs": verbs}));
            }
            continue;
        }
        known.insert("responseKind".to_owned(), kind);
        known.insert("verbs".to_owned(), verbs);
        for (from, to) in
            [("singularName", "singularResource"), ("shortNames", "shortNames"), ("categories", "categories")]
        {
            if !resource[from].is_null() {
                known.insert(to.to_owned(), resource[from].clone());
            }
        }
    }
    json!({"version": version, "resources": resources})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Vec<(String, Vec<String>)> {
        let of = |group: &str, versions: &[&str]| {
            (group.to_owned(), versions.iter().map(|v| (*v).to_owned()).collect())
        };
        vec![of("", &["v1"]), of("apps", &["v1"]), of("far.example", &["v1", "v1beta1"])]
    }

    #[test]
    fn groups_are_listed_in_order() {
        let list = group_list(&order());
        assert_eq!(list["groups"].as_array().unwrap().len(), 2);
        assert_eq!(list["groups"][1]["preferredVersion"]["groupVersion"], "far.example/v1");
        assert_eq!(group(&order(), "far.example").unwrap()["kind"], "APIGroup");
        assert!(group(&order(), "").is_none() && group(&order(), "none").is_none());
    }

    #[test]
    fn remote_versions_stand_beside_our_own() {
        let own = json!({"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": "apps"},
            "versions": [{"version": "v1", "resources": [{"resource": "deployments"}], "freshness": "Current"}]}]});
        let far = |version: &str| ("far.example".to_owned(), version.to_owned());
        let known = json!({"version": "v1", "resources": [{"resource": "stars"}], "freshness": "Current"});
        let remote = HashMap::from([
            (far("v1"), entry("v1", Some(&known), false)),
            (far("v1beta1"), entry("v1beta1", None, false)),
        ]);
        let merged = aggregated(own, &order(), &remote);
        assert_eq!(merged["items"][0]["versions"][0]["resources"][0]["resource"], "deployments");
        assert_eq!(
            merged["items"][1]["versions"],
            json!([
                {"version": "v1", "resources": [{"resource": "stars"}], "freshness": "Stale"},
                {"version": "v1beta1", "freshness": "Stale"}
            ])
        );
        assert_eq!(versions(&merged)[&far("v1")]["freshness"], "Stale");
    }

    #[test]
    fn old_lists_are_converted() {
        let list = json!({"resources": [
            {"name": "stars/status", "namespaced": true, "kind": "Star", "verbs": ["get"]},
            {"name": "stars", "singularName": "star", "namespaced": true, "kind": "Star", "verbs": ["list"],
                "shortNames": ["st"]},
            {"name": "stars/scale", "namespaced": true, "group": "autoscaling", "version": "v1", "kind": "Scale",
                "verbs": ["get"]}]});
        let version = from_resource_list(&list, "far.example", "v1");
        let star = json!({"group": "far.example", "version": "v1", "kind": "Star"});
        assert_eq!(
            version["resources"],
            json!([{"resource": "stars", "scope": "Namespaced", "singularResource": "star", "responseKind": star,
                "verbs": ["list"], "shortNames": ["st"], "subresources": [
                    {"subresource": "status", "responseKind": star, "verbs": ["get"]},
                    {"subresource": "scale", "verbs": ["get"],
                        "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}]}])
        );
    }
}
