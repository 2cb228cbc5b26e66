//! OpenAPI documents of this server and of remote ones in one. Pure over JSON documents.
//!
//! Authority: k8s.io/kube-aggregator/pkg/controllers/openapi{,v3}, k8s.io/kube-openapi/pkg/aggregator.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::merge::GroupVersion;

/// The index of /openapi/v3 with the documents of remote servers, of their own groups only: a server must not describe
/// another's.
pub fn add_v3(index: &mut Value, remote: &Value, own: &[GroupVersion]) {
    let Some(paths) = index["paths"].as_object_mut() else { return };
    for (group, version) in own {
        let key = format!("apis/{group}/{version}");
        if let Some(entry) = remote["paths"].get(&key).filter(|entry| entry["serverRelativeURL"].is_string())
        {
            paths.insert(key, entry.clone());
        }
    }
}

const REFERENCE: &str = "#/definitions/";

/// Adds a remote server's v2 document to `merged`: the paths below `/apis/G/V/` and the definitions they need.
///
/// A path that is there already stays. A definition of a name that means something else is renamed with `_v2`, `_v3`.
pub fn add_v2(merged: &mut Value, remote: &Value, group: &str, version: &str) {
    let prefix = format!("/apis/{group}/{version}/");
    let present = |path: &String| merged["paths"].get(path).is_some();
    let paths: Map<String, Value> = remote["paths"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(path, _)| path.starts_with(&prefix) && !present(path))
        .map(|(path, value)| (path.clone(), value.clone()))
        .collect();
    if paths.is_empty() {
        return;
    }
    let mut needed = BTreeSet::new();
    let empty = Map::new();
    let definitions = remote["definitions"].as_object().unwrap_or(&empty);
    let mut paths = Value::Object(paths);
    collect(&paths, definitions, &mut needed);
    let names = renamed(&needed, definitions, merged["definitions"].as_object().unwrap_or(&empty));
    rename(&mut paths, &names);
    let mut added = Map::new();
    for name in &needed {
        let mut definition = definitions.get(name).cloned().unwrap_or_default();
        rename(&mut definition, &names);
        added.insert(names.get(name).unwrap_or(name).clone(), definition);
    }
    for (key, values) in [("definitions", Value::Object(added)), ("paths", paths)] {
        if !merged[key].is_object() {
            merged[key] = Value::Object(Map::new());
        }
        if let (Some(target), Value::Object(values)) = (merged[key].as_object_mut(), values) {
            target.extend(values);
        }
    }
}

/// The names of the definitions that `value` leads to, directly or through others.
fn collect(value: &Value, definitions: &Map<String, Value>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(REFERENCE));
            if let Some(name) = name
                && let Some(definition) = definitions.get(name)
                && found.insert(name.to_owned())
            {
                collect(definition, definitions, found);
            }
            map.values().for_each(|value| collect(value, definitions, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, definitions, found)),
        _ => {}
    }
}

/// New names for those that mean something else in `present`.
fn renamed(
    needed: &BTreeSet<String>,
    definitions: &Map<String, Value>,
    present: &Map<String, Value>,
) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let mut taken: BTreeSet<String> = present.keys().chain(needed).cloned().collect();
    for name in needed {
        if present.get(name).is_none_or(|there| definitions.get(name) == Some(there)) {
            continue;
        }
        let mut number = 2_u32;
        let new = loop {
            let candidate = format!("{name}_v{number}");
            // The same meaning under a name given before is used again.
            if !taken.contains(&candidate) || present.get(&candidate) == definitions.get(name) {
                break candidate;
            }
            number += 1;
        };
        taken.insert(new.clone());
        names.insert(name.clone(), new);
    }
    names
}

fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(new) = reference.strip_prefix(REFERENCE).and_then(|name| names.get(name))
            {
                *reference = format!("{REFERENCE}{new}");
            }
            map.values_mut().for_each(|value| rename(value, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| rename(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn indexes_take_a_servers_own_groups() {
        let mut index = json!({"paths": {"apis/apps/v1": {"serverRelativeURL": "ours"}}});
        let remote = json!({"paths": {"apis/apps/v1": {"serverRelativeURL": "theirs"},
            "apis/far.example/v1": {"serverRelativeURL": "/openapi/v3/apis/far.example/v1?hash=1"}}});
        add_v3(
            &mut index,
            &remote,
            &[("far.example".into(), "v1".into()), ("far.example".into(), "v2".into())],
        );
        assert_eq!(
            index["paths"],
            json!({"apis/apps/v1": {"serverRelativeURL": "ours"},
                "apis/far.example/v1": {"serverRelativeURL": "/openapi/v3/apis/far.example/v1?hash=1"}})
        );
    }

    #[test]
    fn definitions_of_another_meaning_are_renamed() {
        let to = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let mut merged = json!({"paths": {"/apis/apps/v1/": {"get": to("Meta")}}, "definitions": {
            "Meta": {"type": "object"}, "Same": {"type": "string"}, "Meta_v2": {"type": "number"}}});
        let remote = json!({
            "paths": {
                "/apis/far.example/v1/stars": {"get": {"schema": to("Star")}},
                "/apis/apps/v1/": {"get": to("Evil")},
                "/apis/other/v1/x": {"get": to("Unused")}
            },
            "definitions": {
                "Star": {"properties": {"meta": to("Meta"), "same": to("Same"), "self": to("Star")}},
                "Meta": {"type": "array"}, "Same": {"type": "string"}, "Evil": {}, "Unused": {}
            }
        });
        add_v2(&mut merged, &remote, "far.example", "v1");
        let first = merged.clone();
        assert_eq!(merged["paths"].as_object().unwrap().len(), 2);
        assert_eq!(merged["definitions"]["Star"]["properties"]["meta"], to("Meta_v3"));
        assert_eq!(merged["definitions"]["Meta_v3"], json!({"type": "array"}));
        assert_eq!(merged["definitions"]["Star"]["properties"]["self"], to("Star"));
        assert!(merged["definitions"].get("Evil").is_none() && merged["definitions"].get("Unused").is_none());
        add_v2(&mut merged, &remote, "far.example", "v1");
        assert_eq!(merged, first);
    }
}
