//! What clients are told of custom resources: `kubectl explain`, client-side validation, generators.
//!
//! Enters: definitions. Leaves: the v3 document of a group and version, and what a version adds to the one v2 document.
//! Called by the API server's discovery when a definition changes.
//!
//! Authority: apiextensions-apiserver, pkg/controller/openapi/{builder,v2}.

mod publish;
mod write;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use xebec_api::resource::Resource;
use xebec_kinds::openapi::custom::{self, Described};
use xebec_kinds::openapi::v2::Addition;

use crate::definition::Definition;

pub use publish::Form;

/// A version of a definition that is served: its resource row (see [`crate::served::resource`]) and its definition.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// The definition.
    pub definition: &'a Definition,
    /// The row of the version.
    pub resource: &'a Resource,
}

/// The name of a kind's schema: `com.example.stable.v1.CronTab`.
pub fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

/// A schema as JSON again, for readers of JSON schemas.
pub(crate) fn schema_json(schema: &crate::schema::Schema) -> Value {
    Value::Object(write::schema(schema))
}

/// The v3 document of a group and version with these resources.
pub fn v3(published: &[Published<'_>]) -> Value {
    let mut schemas = Map::new();
    let mut described = Vec::new();
    for one in published {
        schemas.extend(definitions(one, Form::V3));
        described.push(Described { resource: one.resource, list_kind: &one.definition.accepted.list_kind });
    }
    custom::document(&described, schemas)
}

/// What a resource adds to the v2 document.
pub fn v2(published: &Published<'_>) -> Addition {
    Addition { v3: v3(std::slice::from_ref(published)), definitions: definitions(published, Form::V2) }
}

/// The schemas of the kind and of its list.
fn definitions(published: &Published<'_>, form: Form) -> Map<String, Value> {
    let Published { definition, resource } = published;
    let (group, version) = (resource.group, resource.version);
    let Some(found) = definition.version(version) else { return Map::new() };
    let gvk = |kind: &str| json!([{"group": group, "version": version, "kind": kind}]);
    let names = &definition.accepted;
    let name = schema_name(group, version, &names.kind);
    let mut kind = publish::kind(found, definition.preserve_unknown, form);
    let mut list = publish::list(&name, names, form);
    for (schema, kind) in [(&mut kind, &names.kind), (&mut list, &names.list_kind)] {
        schema.insert("x-kubernetes-group-version-kind".to_owned(), gvk(kind));
        if !found.selectable.is_empty() {
            let fields: Vec<Value> = found
                .selectable
                .iter()
                .map(|path| json!({"fieldPath": path.strip_prefix('.').unwrap_or(path)}))
                .collect();
            schema.insert("x-kubernetes-selectable-fields".to_owned(), json!(fields));
        }
    }
    let list_name = schema_name(group, version, &names.list_kind);
    [(name, Value::Object(kind)), (list_name, Value::Object(list))].into_iter().collect()
}
