//! From JSON to a [`Schema`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use xebec_kinds::shared::access::{flag, text, texts};

use super::{Additional, Extensions, Pattern, Refused, Rule, Rules, Schema};

/// How deep a schema may nest, `allOf` and the like included. Each property is two levels of JSON, and a definition is
/// at most [`xebec_api::schema::MAX_DEPTH`] levels deep: only lists of lists could ever reach it. It bounds the stack
/// of every walk over a schema.
pub const MAX_DEPTH: usize = 50;

/// Why JSON is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It nests too deeply.
    #[error("must not nest deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl Schema {
    /// Reads a schema. Values of another type than the API says are read as missing: the definition's own decoding
    /// has refused them before.
    pub fn parse(value: &Value) -> Result<Self, ParseError> {
        schema(value, MAX_DEPTH)
    }
}

fn schema(value: &Value, left: usize) -> Result<Schema, ParseError> {
    let Some(left) = left.checked_sub(1) else { return Err(ParseError::TooDeep) };
    let given = |key: &str| value.get(key).filter(|value| !value.is_null()).cloned();
    let (items, items_list) = match value.get("items") {
        Some(Value::Array(list)) => (None, schemas(list, left)?),
        Some(one @ Value::Object(_)) => (Some(Arc::new(schema(one, left)?)), Vec::new()),
        _ => (None, Vec::new()),
    };
    Ok(Schema {
        kind: text(value, &["type"]).to_owned(),
        title: text(value, &["title"]).to_owned(),
        description: text(value, &["description"]).to_owned(),
        format: text(value, &["format"]).to_owned(),
        default: given("default"),
        example: given("example"),
        external_docs: given("externalDocs"),
        nullable: flag(value, &["nullable"]),
        rules: rules(value, left)?.into(),
        items,
        properties: named(value, "properties", left)?,
        additional: additional(value.get("additionalProperties"), left)?,
        ext: extensions(value).into(),
        refused: refused(value, items_list, left)?.into(),
    })
}

fn schemas(list: &[Value], left: usize) -> Result<Vec<Schema>, ParseError> {
    list.iter().map(|value| schema(value, left)).collect()
}

fn list(value: &Value, key: &str, left: usize) -> Result<Vec<Schema>, ParseError> {
    schemas(value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default(), left)
}

fn object<'a>(value: &'a Value, key: &str) -> Option<&'a Map<String, Value>> {
    value.get(key).and_then(Value::as_object)
}

fn named(value: &Value, key: &str, left: usize) -> Result<BTreeMap<String, Schema>, ParseError> {
    object(value, key)
        .into_iter()
        .flatten()
        .map(|(name, value)| Ok((name.clone(), schema(value, left)?)))
        .collect()
}

fn additional(value: Option<&Value>, left: usize) -> Result<Option<Additional>, ParseError> {
    Ok(match value {
        Some(Value::Bool(allowed)) => Some(Additional::Allowed(*allowed)),
        Some(value @ Value::Object(_)) => Some(Additional::Schema(Arc::new(schema(value, left)?))),
        _ => None,
    })
}

fn rules(value: &Value, left: usize) -> Result<Rules, ParseError> {
    let float = |key: &str| value.get(key).and_then(Value::as_f64);
    let int = |key: &str| value.get(key).and_then(Value::as_i64);
    let pattern = text(value, &["pattern"]);
    let not = match value.get("not") {
        Some(not @ Value::Object(_)) => Some(Arc::new(schema(not, left)?)),
        _ => None,
    };
    Ok(Rules {
        maximum: float("maximum"),
        exclusive_maximum: flag(value, &["exclusiveMaximum"]),
        minimum: float("minimum"),
        exclusive_minimum: flag(value, &["exclusiveMinimum"]),
        max_length: int("maxLength"),
        min_length: int("minLength"),
        pattern: (!pattern.is_empty()).then(|| Pattern::new(pattern)),
        max_items: int("maxItems"),
        min_items: int("minItems"),
        unique_items: flag(value, &["uniqueItems"]),
        multiple_of: float("multipleOf"),
        allowed: value.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        max_properties: int("maxProperties"),
        min_properties: int("minProperties"),
        required: strings(value, "required"),
        all_of: list(value, "allOf", left)?,
        one_of: list(value, "oneOf", left)?,
        any_of: list(value, "anyOf", left)?,
        not,
    })
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    texts(value, &[key]).into_iter().map(str::to_owned).collect()
}

fn extensions(value: &Value) -> Extensions {
    let optional = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Extensions {
        preserve_unknown: value.get("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool),
        embedded: flag(value, &["x-kubernetes-embedded-resource"]),
        int_or_string: flag(value, &["x-kubernetes-int-or-string"]),
        list_map_keys: strings(value, "x-kubernetes-list-map-keys"),
        list_type: optional("x-kubernetes-list-type"),
        map_type: optional("x-kubernetes-map-type"),
        validations: value
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(rule)
            .collect(),
    }
}

fn rule(value: &Value) -> Rule {
    let own = |key: &str| text(value, &[key]).to_owned();
    Rule {
        rule: own("rule"),
        message: own("message"),
        message_expression: own("messageExpression"),
        reason: value.get("reason").and_then(Value::as_str).map(str::to_owned),
        field_path: own("fieldPath"),
        optional_old_self: value.get("optionalOldSelf").and_then(Value::as_bool),
        source: value.clone(),
    }
}

fn refused(value: &Value, items_list: Vec<Schema>, left: usize) -> Result<Refused, ParseError> {
    let dependencies = match object(value, "dependencies") {
        None => None,
        Some(map) => Some(
            map.iter()
                .map(|(name, value)| {
                    let dependency = value.is_object().then(|| schema(value, left)).transpose()?;
                    Ok((name.clone(), dependency))
                })
                .collect::<Result<_, ParseError>>()?,
        ),
    };
    Ok(Refused {
        id: !text(value, &["id"]).is_empty(),
        schema: !text(value, &["$schema"]).is_empty(),
        reference: value.get("$ref").is_some_and(Value::is_string),
        pattern_properties: named(value, "patternProperties", left)?,
        dependencies,
        additional_items: additional(value.get("additionalItems"), left)?,
        definitions: named(value, "definitions", left)?,
        items_list,
    })
}
