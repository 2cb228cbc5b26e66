//! Schemas of versions that k8s-openapi has no types for, from those of the version their objects are stored in.
//!
//! The table of types (`xebec_api::types`) knows which types such a version has of its own and which fields they have;
//! what a field says is the stored version's word, but for what stands in [`FIELDS`]. Called by the schemas' builder.

use schemars::generate::SchemaGenerator;
use serde_json::{Map, Value, json};
use xebec_api::resource::{self, Resource};
use xebec_api::types::{self, Message};

use super::{kinds, schemas::REFERENCE};

/// Fields with a meaning of their own: type, field, what is said of it (replaces what the stored version says).
///
/// Authority: k8s.io/api/discovery/v1beta1/types.go, k8s.io/api/policy/v1beta1/types.go.
const FIELDS: [(&str, &str, &str); 2] = [
    (
        "io.k8s.api.discovery.v1beta1.Endpoint",
        "topology",
        "Where the endpoint is, as key/value pairs; at most 16, with the syntax of labels. Well-known keys are \
         kubernetes.io/hostname (the node's name) and topology.kubernetes.io/zone. In discovery.k8s.io/v1 these are the \
         fields nodeName and zone.",
    ),
    (
        "io.k8s.api.policy.v1beta1.PodDisruptionBudgetSpec",
        "selector",
        "Label query over the pods whose evictions the budget manages. A null selector selects no pods, and so does an \
         empty selector ({}); in policy/v1 an empty selector selects all pods of the namespace.",
    ),
];

/// Registers the types behind an older form of a built-in kind; the name its schema gets by [`adapt`]. `None` when the
/// kind is no older form.
pub fn register(generator: &mut SchemaGenerator, group: &str, version: &str, kind: &str) -> Option<String> {
    let row = resource::by_kind(group, version, kind).filter(|row| row.is_older_form())?;
    let (group, stored) = row.storage_version();
    kinds::find(group, stored, kind)?(generator);
    Some(types::by_kind(group, version, kind)?.openapi_name())
}

/// Makes the types an older form has of its own from those of the stored form: their names, their fields, and what
/// refers to them.
pub fn adapt(schemas: &mut Map<String, Value>, older: &Resource) {
    let (_, stored) = older.storage_version();
    let package = |version: &str| {
        let name = types::by_kind(older.group, version, older.kind)?.openapi_name();
        name.strip_suffix(older.kind).map(str::to_owned)
    };
    let (Some(from), Some(to)) = (package(stored), package(older.version)) else { return };
    let renamed: Vec<(String, &'static Message)> = schemas
        .keys()
        .filter_map(|name| {
            let short = name.strip_prefix(&from)?;
            Some((name.clone(), types::by_name(&format!("{to}{short}"))?))
        })
        .collect();
    for (name, message) in &renamed {
        let Some(mut schema) = schemas.remove(name) else { continue };
        fit(&mut schema, message);
        schemas.insert(message.openapi_name(), schema);
    }
    let target = |reference: &str| {
        let name = reference.strip_prefix(REFERENCE)?;
        let (_, message) = renamed.iter().find(|(old, _)| old == name)?;
        Some(format!("{REFERENCE}{}", message.openapi_name()))
    };
    schemas.values_mut().for_each(|schema| refer(schema, &target));
}

/// Gives a schema the fields of this type and no others.
fn fit(schema: &mut Value, message: &Message) {
    let type_name = message.openapi_name();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    let type_meta = |field: &str| message.has_type_meta && matches!(field, "apiVersion" | "kind");
    properties.retain(|field, _| type_meta(field) || message.field_by_json(field).is_some());
    for (_, field, description) in FIELDS.iter().filter(|(of, ..)| *of == type_name) {
        let property = properties.entry(*field);
        let property =
            property.or_insert_with(|| json!({"type": "object", "additionalProperties": {"type": "string"}}));
        property["description"] = json!(description);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| field.as_str().is_some_and(|field| message.field_by_json(field).is_some()));
    }
}

fn refer(value: &mut Value, target: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::Object(map) => {
            if let Some(new) = map.get("$ref").and_then(Value::as_str).and_then(target) {
                map.insert("$ref".to_owned(), json!(new));
            }
            map.values_mut().for_each(|value| refer(value, target));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| refer(value, target)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::openapi::v3_document;

    fn older() -> impl Iterator<Item = &'static Resource> {
        resource::servable().filter(|row| row.is_older_form())
    }

    fn schemas(row: &Resource) -> Map<String, Value> {
        let document = v3_document(row.group, row.version).expect("a document");
        document["components"]["schemas"].as_object().expect("schemas").clone()
    }

    #[test]
    fn older_types_have_exactly_their_own_fields() {
        let mut seen = 0;
        for row in older() {
            let kind = types::by_kind(row.group, row.version, row.kind).expect("a type").openapi_name();
            let package = kind.strip_suffix(row.kind).expect("the kind's name");
            for (name, schema) in schemas(row).iter().filter(|(name, _)| name.starts_with(package)) {
                let message = types::by_name(name).unwrap_or_else(|| panic!("{name} is no type"));
                let mut expected: BTreeSet<&str> = message.fields.iter().map(|field| field.json).collect();
                if message.has_type_meta {
                    expected.extend(["apiVersion", "kind"]);
                }
                let described = schema["properties"].as_object().into_iter().flatten();
                assert_eq!(
                    described.map(|(field, _)| field.as_str()).collect::<BTreeSet<_>>(),
                    expected,
                    "{name}"
                );
                seen += 1;
            }
        }
        assert!(seen >= 12, "{seen}");
    }

    #[test]
    fn nothing_of_the_stored_form_is_left_but_what_both_share() {
        let batch: Vec<String> = older()
            .find(|row| row.group == "batch")
            .map(schemas)
            .expect("batch")
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name.contains("CronJob") || name.contains(".Job"))
            .collect();
        assert_eq!(
            batch,
            [
                "io.k8s.api.batch.v1.JobSpec",
                "io.k8s.api.batch.v1beta1.CronJob",
                "io.k8s.api.batch.v1beta1.CronJobList",
                "io.k8s.api.batch.v1beta1.CronJobSpec",
                "io.k8s.api.batch.v1beta1.CronJobStatus",
                "io.k8s.api.batch.v1beta1.JobTemplateSpec",
            ]
        );
    }

    #[test]
    fn fields_with_a_meaning_of_their_own_say_so() {
        for (name, field, description) in FIELDS {
            let row = older().find(|row| schemas(row).contains_key(name)).expect("its version is served");
            assert_eq!(schemas(row)[name]["properties"][field]["description"], description);
        }
        let endpoint = older().find(|row| row.group == "discovery.k8s.io").map(schemas).expect("discovery");
        let topology = &endpoint["io.k8s.api.discovery.v1beta1.Endpoint"]["properties"]["topology"];
        assert_eq!(topology["additionalProperties"], json!({"type": "string"}));
        let ports = &endpoint["io.k8s.api.discovery.v1beta1.EndpointPort"];
        assert_eq!(ports.get("x-kubernetes-map-type"), None, "atomic in v1 only");
    }
}
