//! From JSON to the wire.

use super::wire::Writer;
use super::{MAGIC, ProtobufError, message_of};
use crate::types::{self, Field, Kind, Message, Scalar, Shape, Special};
use serde_json::{Map, Value};

fn bad(field: &str, message: impl ToString) -> ProtobufError {
    ProtobufError::Value { field: field.to_owned(), message: message.to_string() }
}

pub(super) fn envelope(object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let (api_version, kind) = (crate::meta::api_version(object), crate::meta::kind(object));
    let message = message_of(api_version, kind)?;
    let Value::Object(map) = object else { return Err(bad("", "not an object")) };
    let mut meta = Writer::default();
    meta.bytes(1, api_version.as_bytes());
    meta.bytes(2, kind.as_bytes());
    let mut unknown = Writer::default();
    unknown.bytes(1, &meta.finish());
    unknown.bytes(2, &structure(message, map)?);
    unknown.bytes(3, b"");
    unknown.bytes(4, b"");
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&unknown.finish());
    Ok(out)
}

fn structure(message: &'static Message, map: &Map<String, Value>) -> Result<Vec<u8>, ProtobufError> {
    let mut out = Writer::default();
    for field in &message.fields {
        if let (true, Shape::One(Kind::Message(id))) = (field.inline, field.shape) {
            out.bytes(field.number, &structure(types::message(id), map)?);
            continue;
        }
        match map.get(field.json) {
            None | Some(Value::Null) => {}
            Some(value) => self::field(field, value, &mut out)?,
        }
    }
    Ok(out.finish())
}

fn field(field: &'static Field, value: &Value, out: &mut Writer) -> Result<(), ProtobufError> {
    let name = field.json;
    match (field.shape, value) {
        (Shape::One(kind), value) => one(name, field.number, kind, value, out),
        (Shape::List(kind), Value::Array(list)) => {
            list.iter().try_for_each(|v| one(name, field.number, kind, v, out))
        }
        (Shape::Map(kind), Value::Object(map)) => map.iter().try_for_each(|(key, value)| {
            let mut entry = Writer::default();
            entry.bytes(1, key.as_bytes());
            one(name, 2, kind, value, &mut entry)?;
            out.bytes(field.number, &entry.finish());
            Ok(())
        }),
        (Shape::List(_), _) => Err(bad(name, "not a list")),
        (Shape::Map(_), _) => Err(bad(name, "not a map")),
    }
}

fn one(name: &str, number: u32, kind: Kind, value: &Value, out: &mut Writer) -> Result<(), ProtobufError> {
    match kind {
        Kind::Scalar(s) => scalar(name, number, s, value, out),
        Kind::Message(id) => {
            let message = types::message(id);
            let bytes = match (message.special, value) {
                (Some(special), value) => self::special(name, special, message, value)?,
                (None, Value::Object(map)) => structure(message, map)?,
                (None, Value::Null) => Vec::new(),
                (None, _) => return Err(bad(name, "not an object")),
            };
            out.bytes(number, &bytes);
            Ok(())
        }
    }
}

fn scalar(
    name: &str,
    number: u32,
    scalar: Scalar,
    value: &Value,
    out: &mut Writer,
) -> Result<(), ProtobufError> {
    match (scalar, value) {
        (Scalar::String, Value::String(s)) => out.bytes(number, s.as_bytes()),
        (Scalar::String | Scalar::Bytes, Value::Null) => out.bytes(number, b""),
        (Scalar::Bytes, Value::String(s)) => {
            out.bytes(number, &crate::schema::decode_base64(s).map_err(|e| bad(name, e))?);
        }
        (Scalar::Bool, Value::Bool(b)) => out.varint(number, u64::from(*b)),
        (Scalar::Int32 | Scalar::Int64, Value::Number(n)) => {
            let n = n.as_i64().ok_or_else(|| bad(name, "not an integer"))?;
            if scalar == Scalar::Int32 && i32::try_from(n).is_err() {
                return Err(bad(name, "out of range"));
            }
            out.varint(number, n as u64);
        }
        (Scalar::Double, Value::Number(n)) => {
            out.double(number, n.as_f64().ok_or_else(|| bad(name, "not a number"))?);
        }
        (_, other) => return Err(bad(name, format!("unexpected value {other}"))),
    }
    Ok(())
}

fn special(
    name: &str,
    special: Special,
    message: &'static Message,
    value: &Value,
) -> Result<Vec<u8>, ProtobufError> {
    let mut out = Writer::default();
    match (special, value) {
        (Special::RawJson, Value::Null) => {}
        (Special::RawJson, value) => out.bytes(1, value.to_string().as_bytes()),
        (_, Value::Null) => {}
        (Special::Time | Special::MicroTime, Value::String(text)) => {
            let at = crate::time::parse_rfc3339(text).ok_or_else(|| bad(name, "not an RFC 3339 time"))?;
            let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
            if nanos < 0 {
                seconds -= 1;
                nanos += 1_000_000_000;
            }
            let nanos = if special == Special::MicroTime { nanos / 1000 * 1000 } else { 0 };
            out.varint(1, seconds as u64);
            out.varint(2, nanos as u64);
        }
        (Special::Duration, Value::String(text)) => {
            let nanos = crate::time::parse_go_duration(text).ok_or_else(|| bad(name, "not a duration"))?;
            out.varint(1, nanos as u64);
        }
        (Special::Quantity, Value::String(_) | Value::Number(_)) => {
            let quantity = crate::quantity::from_json(value).map_err(|e| bad(name, e))?;
            out.bytes(1, quantity.to_string().as_bytes());
        }
        (Special::IntOrString, Value::String(text)) => {
            out.varint(1, 1);
            out.varint(2, 0);
            out.bytes(3, text.as_bytes());
        }
        (Special::IntOrString, Value::Number(n)) => {
            let n = n.as_i64().and_then(|n| i32::try_from(n).ok());
            out.varint(1, 0);
            out.varint(2, i64::from(n.ok_or_else(|| bad(name, "out of range"))?) as u64);
            out.bytes(3, b"");
        }
        (Special::StringList, Value::Array(list)) => {
            for item in list {
                out.bytes(1, item.as_str().ok_or_else(|| bad(name, "not a string"))?.as_bytes());
            }
        }
        (Special::SchemaOrBool, Value::Bool(allows)) => out.varint(1, u64::from(*allows)),
        (Special::SchemaOrArray | Special::SchemaOrStringArray, Value::Array(list)) => {
            let inner = message.field_by_number(2).ok_or_else(|| bad(name, "no list form"))?;
            for item in list {
                one(name, 2, inner.shape.kind(), item, &mut out)?;
            }
        }
        (Special::SchemaOrBool | Special::SchemaOrArray | Special::SchemaOrStringArray, Value::Object(_)) => {
            if special == Special::SchemaOrBool {
                out.varint(1, 1);
            }
            let schema =
                message.fields.iter().find(|f| f.json == "schema").ok_or_else(|| bad(name, "no schema"))?;
            one(name, schema.number, schema.shape.kind(), value, &mut out)?;
        }
        (_, other) => return Err(bad(name, format!("unexpected value {other}"))),
    }
    Ok(out.finish())
}
