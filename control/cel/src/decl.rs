//! Declarations from schemas: the type of a value, how large it can be, and how its JSON is read.
//!
//! Enters: a structural OpenAPI v3 schema. Leaves: a [`Decl`]. Callers: whoever compiles expressions against a custom
//! resource or a built-in type, and the views in [`crate::value`]. Authority: Kubernetes' documentation of CEL, "Type
//! system integration" and "Resource constraints".

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::error::EvalResult;
use crate::escape::escape;
use crate::types::{Fields, ObjectType, Type};
use crate::value::Value;
use crate::value::json::typed;

/// Octets of the largest request that the API server takes: the bound of every size that the schema does not bound.
pub const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;
/// The longest RFC 3339 time or duration in JSON, quotes included.
const MAX_TIME_BYTES: u64 = 32;
/// A date in JSON, quotes included.
const DATE_BYTES: u64 = 12;
/// Schemas nest at most this deep: deeper parts are not exposed. The API server's own limits are far below.
const MAX_DEPTH: usize = 128;

/// What a schema says about a value.
#[derive(Debug)]
pub struct Decl {
    pub(crate) kind: Kind,
    /// Whether null is a value of it.
    pub(crate) nullable: bool,
    /// The most characters, octets, items or entries, where there is something to count.
    pub(crate) max_elements: Option<u64>,
    /// The octets of its smallest JSON.
    min_bytes: u64,
    ty: Type,
}

/// The kinds of declaration.
#[derive(Debug)]
pub(crate) enum Kind {
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Date,
    DateTime,
    Duration,
    IntOrString,
    /// Preserved without a schema; no expression reaches it, but it takes part in equality.
    Preserved,
    List {
        item: Arc<Decl>,
        kind: ListKind,
    },
    Map(Arc<Decl>),
    Object(Object),
}

/// What a list's order and repetitions mean.
#[derive(Debug)]
pub(crate) enum ListKind {
    Atomic,
    Set,
    /// Items are known by these properties.
    Map(Vec<String>),
}

/// The properties of an object, by their JSON names, each with the name that expressions use.
#[derive(Debug)]
pub(crate) struct Object {
    properties: BTreeMap<String, (Option<String>, Arc<Decl>)>,
}

impl Decl {
    /// The declaration of a schema, or `None` where upstream exposes none (no type, or an array without items).
    ///
    /// `name` names the object types in it: `name.spec.@idx` for the items of a list `spec`. `resource` is for the root
    /// of a custom resource: `apiVersion`, `kind`, `metadata.name` and `metadata.generateName` are there in any case.
    pub fn from_schema(schema: &Json, name: &str, resource: bool) -> Option<Arc<Decl>> {
        Self::exposed(schema, name, resource, 0)
    }

    fn exposed(schema: &Json, name: &str, resource: bool, depth: usize) -> Option<Arc<Decl>> {
        if depth > MAX_DEPTH {
            return None;
        }
        if flag(schema, "x-kubernetes-int-or-string") {
            let most = max_length(schema).unwrap_or(MAX_REQUEST_BYTES - 2);
            return Some(leaf(schema, Kind::IntOrString, Type::Dyn, 1, Some(most)));
        }
        let with_meta = resource.then(|| with_object_meta(schema));
        let schema = with_meta.as_ref().unwrap_or(schema);
        match schema.get("type").and_then(Json::as_str)? {
            "boolean" => Some(leaf(schema, Kind::Bool, Type::Bool, 4, None)),
            "integer" => Some(leaf(schema, Kind::Int, Type::Int, 1, None)),
            "number" => Some(leaf(schema, Kind::Double, Type::Double, 1, None)),
            "string" => Some(string(schema)),
            "array" => {
                let items = schema.get("items")?;
                let item_name = format!("{name}.@idx");
                let item = Self::exposed(items, &item_name, flag(items, EMBEDDED), depth + 1)?;
                let most =
                    limit(schema, "maxItems").unwrap_or((MAX_REQUEST_BYTES - 2) / (item.min_bytes + 1));
                let ty = Type::list(item.ty.clone());
                Some(leaf(schema, Kind::List { item, kind: list_kind(schema) }, ty, 2, Some(most)))
            }
            "object" => {
                match schema.get("additionalProperties").filter(|additional| additional.is_object()) {
                    Some(additional) => {
                        let value_name = format!("{name}.@elem");
                        let value =
                            Self::exposed(additional, &value_name, flag(additional, EMBEDDED), depth + 1)?;
                        let most = limit(schema, "maxProperties")
                            .unwrap_or((MAX_REQUEST_BYTES - 2) / (value.min_bytes + 6));
                        let ty = Type::map(Type::String, value.ty.clone());
                        Some(leaf(schema, Kind::Map(value), ty, 2, Some(most)))
                    }
                    None => Some(Self::object(schema, name, depth)),
                }
            }
            _ => None,
        }
    }

    fn object(schema: &Json, name: &str, depth: usize) -> Arc<Decl> {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        let mut min_bytes = 2;
        let mut fields = BTreeMap::new();
        let mut properties = BTreeMap::new();
        for (property, sub) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let escaped = escape(property);
            let field_name = format!("{name}.{}", escaped.as_deref().unwrap_or(property));
            let Some(decl) = Self::exposed(sub, &field_name, flag(sub, EMBEDDED), depth + 1) else {
                if sub.get("type").is_none() {
                    let decl = leaf(sub, Kind::Preserved, Type::Dyn, 1, None);
                    properties.insert(property.clone(), (None, decl));
                }
                continue;
            };
            if required.contains(&property.as_str()) && sub.get("default").is_none() {
                min_bytes += property.len() as u64 + decl.min_bytes + 4;
            }
            if let Some(escaped) = &escaped {
                fields.insert(escaped.clone(), decl.ty.clone());
            }
            properties.insert(property.clone(), (escaped, decl));
        }
        let ty = Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields: Fields::Known(fields) }));
        leaf(schema, Kind::Object(Object { properties }), ty, min_bytes, None)
    }

    /// The type of its values.
    pub fn type_of(&self) -> Type {
        self.ty.clone()
    }

    /// The octets of its smallest JSON: how often it can be there in a request is [`MAX_REQUEST_BYTES`] by this and one
    /// comma.
    pub fn min_bytes(&self) -> u64 {
        self.min_bytes
    }

    /// The most characters, octets, items or entries that it can have, if there is something to count.
    pub fn max_elements(&self) -> Option<u64> {
        self.max_elements
    }

    /// A view of `json` under this declaration; it copies nothing. Errors: the JSON does not match it.
    pub fn value<'a>(self: &Arc<Self>, json: &'a Json) -> EvalResult<Value<'a>> {
        typed(json, Some(self))
    }

    /// The declaration one step down a path: a field's name, `@items`, `@values`, `@keys`.
    pub(crate) fn step(&self, step: &str) -> Option<&Arc<Decl>> {
        match (&self.kind, step) {
            (Kind::List { item, .. }, "@items") | (Kind::Map(item), "@values") => Some(item),
            (Kind::Object(object), name) => {
                let by_name =
                    object.properties.get(name).filter(|(escaped, _)| escaped.as_deref() == Some(name));
                let found = by_name.or_else(|| object.properties.get(&crate::escape::unescape(name)?));
                found.map(|(_, decl)| decl)
            }
            _ => None,
        }
    }

    pub(crate) fn item(&self) -> Option<&Arc<Decl>> {
        match &self.kind {
            Kind::List { item, .. } => Some(item),
            _ => None,
        }
    }

    pub(crate) fn list_kind(&self) -> &ListKind {
        match &self.kind {
            Kind::List { kind, .. } => kind,
            _ => &ListKind::Atomic,
        }
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self.kind, Kind::Object(_))
    }

    /// What a property is called in expressions, if it can be, and its declaration.
    pub(crate) fn property(&self, name: &str) -> Option<(Option<&str>, &Arc<Decl>)> {
        match &self.kind {
            Kind::Object(object) => {
                let (escaped, decl) = object.properties.get(name)?;
                (!matches!(decl.kind, Kind::Preserved)).then_some((escaped.as_deref(), decl))
            }
            Kind::Map(value) => Some((None, value)),
            _ => None,
        }
    }
}

const EMBEDDED: &str = "x-kubernetes-embedded-resource";

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or(false)
}

fn limit(schema: &Json, name: &str) -> Option<u64> {
    schema.get(name).and_then(Json::as_i64).map(|n| n.max(0) as u64)
}

/// `maxLength` counts characters, sizes count octets: up to four each.
fn max_length(schema: &Json) -> Option<u64> {
    limit(schema, "maxLength").map(|n| n.saturating_mul(4))
}

fn leaf(schema: &Json, kind: Kind, ty: Type, min_bytes: u64, max_elements: Option<u64>) -> Arc<Decl> {
    Arc::new(Decl { kind, nullable: flag(schema, "nullable"), max_elements, min_bytes, ty })
}

fn string(schema: &Json) -> Arc<Decl> {
    let longest_enum = || {
        let values = schema.get("enum").and_then(Json::as_array).filter(|values| !values.is_empty())?;
        Some(values.iter().filter_map(Json::as_str).map(|s| s.len() as u64).max().unwrap_or(0))
    };
    match schema.get("format").and_then(Json::as_str) {
        Some("byte") => {
            let most = limit(schema, "maxLength").unwrap_or(MAX_REQUEST_BYTES - 2);
            leaf(schema, Kind::Bytes, Type::Bytes, 2, Some(most))
        }
        Some("duration") => leaf(schema, Kind::Duration, Type::Duration, 3, Some(MAX_TIME_BYTES)),
        Some("date") => leaf(schema, Kind::Date, Type::Timestamp, DATE_BYTES, Some(DATE_BYTES)),
        Some("date-time") => leaf(schema, Kind::DateTime, Type::Timestamp, 21, Some(MAX_TIME_BYTES)),
        _ => {
            let most = max_length(schema).or_else(longest_enum).unwrap_or(MAX_REQUEST_BYTES - 2);
            leaf(schema, Kind::String, Type::String, 2, Some(most))
        }
    }
}

fn list_kind(schema: &Json) -> ListKind {
    match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array);
            ListKind::Map(
                keys.into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect(),
            )
        }
        _ => ListKind::Atomic,
    }
}

/// The schema with what every resource has.
fn with_object_meta(schema: &Json) -> Json {
    let mut schema = schema.clone();
    let Some(object) = schema.as_object_mut() else { return schema };
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    let is =
        |property: Option<&Json>, ty: &str| property.and_then(|p| p.get("type")).is_some_and(|t| t == ty);
    let metadata = properties.pointer("/metadata/properties");
    let complete = is(properties.get("kind"), "string")
        && is(properties.get("apiVersion"), "string")
        && is(properties.get("metadata"), "object")
        && is(metadata.and_then(|m| m.get("name")), "string")
        && is(metadata.and_then(|m| m.get("generateName")), "string");
    if !complete {
        let string = json!({ "type": "string" });
        properties["kind"] = string.clone();
        properties["apiVersion"] = string.clone();
        let names = json!({ "name": string, "generateName": string });
        properties["metadata"] = json!({ "type": "object", "properties": names });
    }
    schema
}
