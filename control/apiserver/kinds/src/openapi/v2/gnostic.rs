//! A v2 document in gnostic's protobuf form.
//!
//! Authority: openapiv2/OpenAPIv2.proto of google/gnostic-models; the numbers below are its field numbers. Its `Any`
//! holds YAML, which JSON text is.

use serde_json::Value;

use super::wire::Message;

/// What a field of a message is made from.
enum Field {
    Text,
    Texts,
    Flag,
    Integer,
    Double,
    Any,
    Anys,
    Make(fn(&Value) -> Message),
    Each(fn(&Value) -> Message),
}
use Field::{Any, Anys, Double, Each, Flag, Integer, Make, Text, Texts};

/// The fields of a message: key in the JSON form, field number, form.
type Fields = &'static [(&'static str, u32, Field)];

const DOCUMENT: Fields = &[
    ("swagger", 1, Text),
    ("info", 2, Make(|value| fields(value, INFO, Some(7)))),
    ("paths", 8, Make(|value| named(value, 2, path_item))),
    ("definitions", 9, Make(|value| named(value, 1, schema))),
    ("security", 12, Each(|value| named(value, 1, string_array))),
    ("securityDefinitions", 13, Make(|value| named(value, 1, api_key))),
];
const INFO: Fields = &[("title", 1, Text), ("version", 2, Text), ("description", 3, Text)];
const API_KEY: Fields = &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)];
const PATH_ITEM: Fields = &[
    ("get", 2, Make(operation)),
    ("put", 3, Make(operation)),
    ("post", 4, Make(operation)),
    ("delete", 5, Make(operation)),
    ("options", 6, Make(operation)),
    ("head", 7, Make(operation)),
    ("patch", 8, Make(operation)),
    ("parameters", 9, Each(parameter)),
];
const OPERATION: Fields = &[
    ("tags", 1, Texts),
    ("summary", 2, Text),
    ("description", 3, Text),
    ("operationId", 5, Text),
    ("produces", 6, Texts),
    ("consumes", 7, Texts),
    ("parameters", 8, Each(parameter)),
    ("responses", 9, Make(|value| named(value, 1, response))),
    ("schemes", 10, Texts),
    ("deprecated", 11, Flag),
];
const BODY: Fields = &[
    ("description", 1, Text),
    ("name", 2, Text),
    ("in", 3, Text),
    ("required", 4, Flag),
    ("schema", 5, Make(schema)),
];
const QUERY: Fields = &[
    ("required", 1, Flag),
    ("in", 2, Text),
    ("description", 3, Text),
    ("name", 4, Text),
    ("type", 6, Text),
    ("format", 7, Text),
    ("default", 10, Any),
    ("uniqueItems", 20, Flag),
];
const PATH: Fields = &[
    ("required", 1, Flag),
    ("in", 2, Text),
    ("description", 3, Text),
    ("name", 4, Text),
    ("type", 5, Text),
    ("format", 6, Text),
    ("default", 9, Any),
    ("uniqueItems", 19, Flag),
];
const RESPONSE: Fields = &[("description", 1, Text), ("schema", 2, Make(|value| wrap(1, &schema(value))))];
const SCHEMA: Fields = &[
    ("$ref", 1, Text),
    ("format", 2, Text),
    ("title", 3, Text),
    ("description", 4, Text),
    ("default", 5, Any),
    ("multipleOf", 6, Double),
    ("maximum", 7, Double),
    ("exclusiveMaximum", 8, Flag),
    ("minimum", 9, Double),
    ("exclusiveMinimum", 10, Flag),
    ("maxLength", 11, Integer),
    ("minLength", 12, Integer),
    ("pattern", 13, Text),
    ("maxItems", 14, Integer),
    ("minItems", 15, Integer),
    ("uniqueItems", 16, Flag),
    ("maxProperties", 17, Integer),
    ("minProperties", 18, Integer),
    ("required", 19, Texts),
    ("enum", 20, Anys),
    ("additionalProperties", 21, Make(additional)),
    ("type", 22, Make(type_item)),
    ("items", 23, Make(|value| wrap(1, &schema(value)))),
    ("allOf", 24, Each(schema)),
    ("properties", 25, Make(|value| named(value, 1, schema))),
    ("discriminator", 26, Text),
    ("readOnly", 27, Flag),
    ("example", 30, Any),
];

/// The message `Document`.
pub fn document(value: &Value) -> Vec<u8> {
    fields(value, DOCUMENT, Some(16)).finish()
}

fn fields(value: &Value, known: Fields, extensions: Option<u32>) -> Message {
    let mut message = Message::default();
    for (key, number, form) in known {
        let Some(value) = value.get(key) else { continue };
        let each = || value.as_array().into_iter().flatten();
        match form {
            Text => message.text(*number, value.as_str().unwrap_or_default()),
            Texts => each().for_each(|one| message.repeated(*number, one.as_str().unwrap_or_default())),
            Flag => message.flag(*number, value.as_bool().unwrap_or_default()),
            Integer => message.integer(*number, value.as_i64().unwrap_or_default()),
            Double => message.double(*number, value.as_f64().unwrap_or_default()),
            Any => message.message(*number, &any(value)),
            Anys => each().for_each(|one| message.message(*number, &any(one))),
            Make(make) => message.message(*number, &make(value)),
            Each(make) => each().for_each(|one| message.message(*number, &make(one))),
        }
    }
    if let Some(number) = extensions {
        for (name, value) in value.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-"))
        {
            message.message(number, &pair(name, &any(value)));
        }
    }
    message
}

fn wrap(number: u32, inner: &Message) -> Message {
    let mut message = Message::default();
    message.message(number, inner);
    message
}

fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.text(2, &value.to_string());
    message
}

fn pair(name: &str, value: &Message) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    message.message(2, value);
    message
}

/// A map, as gnostic has it: pairs of a name and a value.
fn named(value: &Value, number: u32, make: fn(&Value) -> Message) -> Message {
    let mut message = Message::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        message.message(number, &pair(name, &make(value)));
    }
    message
}

fn string_array(value: &Value) -> Message {
    let mut message = Message::default();
    for one in value.as_array().into_iter().flatten() {
        message.repeated(1, one.as_str().unwrap_or_default());
    }
    message
}

fn api_key(value: &Value) -> Message {
    wrap(2, &fields(value, API_KEY, Some(5)))
}

fn path_item(value: &Value) -> Message {
    fields(value, PATH_ITEM, Some(10))
}

fn operation(value: &Value) -> Message {
    fields(value, OPERATION, Some(13))
}

fn response(value: &Value) -> Message {
    wrap(1, &fields(value, RESPONSE, Some(5)))
}

/// The message `ParametersItem`: of a body, of the path, or of the query.
fn parameter(value: &Value) -> Message {
    let parameter = match value["in"].as_str() {
        Some("body") => wrap(1, &fields(value, BODY, Some(6))),
        Some("path") => wrap(2, &wrap(4, &fields(value, PATH, Some(22)))),
        _ => wrap(2, &wrap(3, &fields(value, QUERY, Some(23)))),
    };
    wrap(1, &parameter)
}

fn schema(value: &Value) -> Message {
    fields(value, SCHEMA, Some(31))
}

fn additional(value: &Value) -> Message {
    if let Some(allowed) = value.as_bool() {
        let mut message = Message::default();
        message.chosen_flag(2, allowed);
        return message;
    }
    wrap(1, &schema(value))
}

/// The message `TypeItem`: one type or several.
fn type_item(value: &Value) -> Message {
    let mut message = Message::default();
    match value.as_array() {
        Some(_) => return string_array(value),
        None => message.repeated(1, value.as_str().unwrap_or_default()),
    }
    message
}
