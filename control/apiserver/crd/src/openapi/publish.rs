//! Schemas as they are published: with what every Kubernetes object has, without what a form cannot say.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::write;
use crate::definition::{Names, Version};
use crate::schema::{Additional, Schema, structural_errors};
use xebec_api::field::Path;

/// Which document it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/openapi/v2`
    V2,
    /// `/openapi/v3/apis/...`
    V3,
}

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const EMBEDDED_API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// A reference with a description. v3 ignores what stands beside a `$ref`, so there it moves into an `allOf`.
fn described(name: &str, description: &str, form: Form) -> Value {
    match form {
        Form::V2 => json!({"description": description, "$ref": format!("#/definitions/{name}")}),
        Form::V3 => json!({"description": description, "allOf": [reference(name, form)]}),
    }
}

fn reference(name: &str, form: Form) -> Value {
    let place = if form == Form::V2 { "#/definitions/" } else { "#/components/schemas/" };
    json!({"$ref": format!("{place}{name}")})
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// The schema of a kind.
pub fn kind(version: &Version, preserve_unknown: bool, form: Form) -> Map<String, Value> {
    let any = || Map::from_iter([("type".to_owned(), json!("object"))]);
    let published = version.schema.as_deref().filter(|schema| {
        schema.unsupported().is_none() && structural_errors(schema, &Path::root()).is_empty()
    });
    let Some(schema) = published else { return any() };
    // kubectl would take any field it is told of for all there are.
    if form == Form::V2 && (schema.preserves_unknown() || preserve_unknown) {
        return any();
    }
    let mut schema = schema.clone();
    schema.change(&mut unfold);
    if form == Form::V2 {
        schema.change(&mut for_v2);
    }
    let mut root = write::schema(&schema);
    add_embedded(&mut root, form);
    let properties = root.entry("properties").or_insert_with(|| json!({}));
    properties["apiVersion"] = text(API_VERSION);
    properties["kind"] = text(KIND);
    properties["metadata"] = described(OBJECT_META, METADATA, form);
    root
}

/// The schema of a list of kinds called `name`.
pub fn list(name: &str, names: &Names, form: Form) -> Map<String, Value> {
    let doc = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
        names.plural
    );
    let list = json!({
        "type": "object", "description": format!("{} is a list of {}", names.list_kind, names.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": text(API_VERSION), "kind": text(KIND), "metadata": described(LIST_META, LIST_METADATA, form),
            "items": {"type": "array", "description": doc, "items": reference(name, form)},
        },
    });
    list.as_object().cloned().unwrap_or_default()
}

/// Says in OpenAPI what `x-kubernetes-int-or-string` says.
fn unfold(schema: &mut Schema) {
    if !schema.ext.int_or_string || schema.is_int_or_string_any_of() || schema.is_int_or_string_all_of() {
        return;
    }
    let bare = |kind: &str| Schema { kind: kind.to_owned(), ..Schema::default() };
    let either = vec![bare("integer"), bare("string")];
    if schema.rules.any_of.is_empty() {
        schema.rules.any_of = either;
    } else {
        let mut first = Schema::default();
        first.rules.any_of = either;
        schema.rules.all_of.insert(0, first);
    }
}

/// Drops what v2 cannot say and what makes kubectl refuse good objects.
fn for_v2(schema: &mut Schema) {
    if !schema.rules.all_of.is_empty() || !schema.rules.one_of.is_empty() {
        schema.rules.all_of.clear();
        schema.rules.one_of.clear();
    }
    if !schema.rules.any_of.is_empty() || schema.rules.not.is_some() {
        schema.rules.any_of.clear();
        schema.rules.not = None;
    }
    if schema.nullable {
        schema.kind.clear();
        schema.nullable = false;
        schema.items = None;
        schema.properties.clear();
    }
    if schema.preserves_unknown() {
        schema.items = None;
        schema.properties.clear();
    }
    if schema.items.is_none() && schema.kind == "array"
        || schema.preserves_unknown() && schema.kind == "object"
    {
        schema.kind.clear();
    }
    let nullable: Vec<String> =
        schema.properties.iter().filter(|(_, one)| one.nullable).map(|(name, _)| name.clone()).collect();
    if !nullable.is_empty() && !schema.rules.required.is_empty() {
        schema.rules.required.retain(|name| !nullable.contains(name));
    }
    let other: Option<&Arc<Schema>> = match &schema.additional {
        Some(Additional::Schema(other)) => Some(other),
        _ => None,
    };
    if other.is_some_and(|other| other.nullable) && !schema.rules.required.is_empty() {
        schema.rules.required.clear();
    }
}

/// Embedded resources have a type and metadata.
fn add_embedded(schema: &mut Map<String, Value>, form: Form) {
    for key in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(key) {
            add_embedded(inner, form);
        }
    }
    for (_, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Value::Object(inner) = property {
            add_embedded(inner, form);
        }
    }
    let set = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    if !set("x-kubernetes-embedded-resource")
        || form == Form::V2 && set("x-kubernetes-preserve-unknown-fields")
    {
        return;
    }
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    properties["apiVersion"] = text(EMBEDDED_API_VERSION);
    properties["kind"] = text(EMBEDDED_KIND);
    properties["metadata"] = described(OBJECT_META, METADATA, form);
    let required = schema.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|known| known == name) {
                required.push(json!(name));
            }
        }
    }
}
