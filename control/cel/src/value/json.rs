//! Between JSON and values: views of the input, by schema or without; and results as JSON.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map as JsonMap, Number, Value as Json};

use super::{Instant, List, Map, Opaque, Str, Value, time};
use crate::decl::{Decl, Kind};
use crate::error::{EvalError, EvalResult};

/// A result deeper than this is not turned into JSON.
const MAX_DEPTH: usize = 512;

impl<'a> Value<'a> {
    /// A view of JSON that has no schema: whole numbers are `int`, others `double`, objects are maps.
    pub fn from_json(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => number(n),
            Json::String(s) => Value::from(s.as_str()),
            Json::Array(items) => Value::List(List::Json(items, None)),
            Json::Object(map) => Value::Map(Map::Json(map, None)),
        }
    }

    /// The value as JSON: timestamps and durations as strings, octets in base64, an absent optional as null. Errors: it
    /// holds something that JSON cannot, such as a type, or a map key that is no string, or a number that is not finite.
    pub fn to_json(&self) -> EvalResult<Json> {
        to_json(self, 0)
    }
}

fn number<'a>(n: &Number) -> Value<'a> {
    match n.as_i64() {
        Some(n) => Value::Int(n),
        None => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
    }
}

/// A view of JSON under its declaration. Errors: the JSON does not match it.
pub(crate) fn typed<'a>(json: &'a Json, decl: Option<&Arc<Decl>>) -> EvalResult<Value<'a>> {
    let Some(decl) = decl else { return Ok(Value::from_json(json)) };
    if json.is_null() {
        return match decl.nullable || matches!(decl.kind, Kind::Preserved) {
            true => Ok(Value::Null),
            false => Err(EvalError::other("invalid data, got null for schema with nullable=false")),
        };
    }
    let invalid =
        |wanted: &str| EvalError::other(format_args!("invalid data, expected {wanted}, got {}", kind(json)));
    match (&decl.kind, json) {
        (Kind::Preserved, _) => Ok(Value::from_json(json)),
        (Kind::IntOrString, Json::String(s)) => Ok(Value::from(s.as_str())),
        (Kind::IntOrString, Json::Number(n)) if n.is_i64() => Ok(number(n)),
        (Kind::IntOrString, _) => Err(EvalError::other(
            "invalid data, expected XIntOrString value to be either a string or integer",
        )),
        (Kind::Object(_) | Kind::Map(_), Json::Object(map)) => {
            Ok(Value::Map(Map::Json(map, Some(decl.clone()))))
        }
        (Kind::Object(_) | Kind::Map(_), _) => {
            Err(EvalError::other("invalid data, expected a map for the provided schema with type=object"))
        }
        (Kind::List { .. }, Json::Array(items)) => Ok(Value::List(List::Json(items, Some(decl.clone())))),
        (Kind::List { .. }, _) => {
            Err(EvalError::other("invalid data, expected an array for the provided schema with type=array"))
        }
        (Kind::Bool, Json::Bool(b)) => Ok(Value::Bool(*b)),
        (Kind::Bool, _) => Err(invalid("bool")),
        (Kind::Int, Json::Number(n)) => match n.as_i64() {
            Some(n) => Ok(Value::Int(n)),
            None => Err(invalid("int")),
        },
        (Kind::Int, _) => Err(invalid("int")),
        (Kind::Double, Json::Number(n)) => Ok(Value::Double(n.as_f64().unwrap_or(f64::NAN))),
        (Kind::Double, _) => Err(invalid("float")),
        (_, Json::String(s)) => typed_string(s, &decl.kind),
        _ => Err(invalid("string")),
    }
}

fn typed_string<'a>(s: &'a str, kind: &Kind) -> EvalResult<Value<'a>> {
    match kind {
        Kind::Duration => match time::parse_strfmt_duration(s) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => Err(EvalError::other(format_args!("Invalid duration {s}: unable to parse {s:?}"))),
        },
        Kind::Date => match s.parse::<jiff::civil::Date>().ok().filter(|_| s.len() == 10) {
            Some(date) => match Instant::from_civil(date.at(0, 0, 0, 0), 0) {
                Some(instant) => Ok(Value::Timestamp(instant)),
                None => {
                    Err(EvalError::other(format_args!("Invalid date formatted string {s}: out of range")))
                }
            },
            None => Err(EvalError::other(format_args!("Invalid date formatted string {s}: not YYYY-MM-DD"))),
        },
        Kind::DateTime => match time::parse_timestamp(s) {
            Some(instant) => Ok(Value::Timestamp(instant)),
            None => {
                Err(EvalError::other(format_args!("Invalid date-time formatted string {s}: not RFC 3339")))
            }
        },
        Kind::Bytes => match STANDARD.decode(s) {
            Ok(bytes) => Ok(Value::Bytes(bytes.into())),
            Err(error) => Err(EvalError::other(format_args!("Invalid byte formatted string {s}: {error}"))),
        },
        _ => Ok(Value::String(Str::Borrowed(s))),
    }
}

/// What upstream calls the Go type of decoded JSON.
fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(n) if n.is_i64() => "int64",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

fn to_json(value: &Value<'_>, depth: usize) -> EvalResult<Json> {
    if depth > MAX_DEPTH {
        return Err(EvalError::other("the value is nested too deeply to be JSON"));
    }
    Ok(match value {
        Value::Null | Value::Optional(None) => Json::Null,
        Value::Optional(Some(value)) => to_json(value, depth + 1)?,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(n) => Json::from(*n),
        Value::Uint(n) => Json::from(*n),
        Value::Double(d) => match Number::from_f64(*d) {
            Some(n) => Json::Number(n),
            None => return Err(EvalError::other(format_args!("{d} is no JSON number"))),
        },
        Value::String(s) => Json::String(s.to_string()),
        Value::Bytes(b) => Json::String(STANDARD.encode(b)),
        Value::Timestamp(t) => Json::String(time::format_timestamp(*t)),
        Value::Duration(d) => Json::String(time::format_duration(*d)),
        Value::List(List::Json(items, _)) => Json::Array(items.to_vec()),
        Value::List(list) => {
            let items: EvalResult<Vec<Json>> = list.iter().map(|item| to_json(&item?, depth + 1)).collect();
            Json::Array(items?)
        }
        Value::Map(Map::Json(map, _)) => Json::Object((*map).clone()),
        Value::Map(Map::Owned(map)) => {
            let mut out = JsonMap::new();
            for (key, value) in map.values() {
                let Value::String(key) = key else {
                    let name = key.type_name();
                    return Err(EvalError::other(format_args!(
                        "a map key of type {name} is no JSON object key"
                    )));
                };
                out.insert(key.to_string(), to_json(value, depth + 1)?);
            }
            Json::Object(out)
        }
        Value::Object(object) => {
            let mut out = JsonMap::new();
            for (name, value) in &object.fields {
                out.insert(name.clone(), to_json(value, depth + 1)?);
            }
            Json::Object(out)
        }
        Value::Opaque(Opaque::Quantity(quantity)) => Json::String(quantity.to_string()),
        Value::Opaque(Opaque::Ip(ip)) => Json::String(ip.to_string()),
        Value::Opaque(Opaque::Cidr(cidr)) => Json::String(cidr.to_string()),
        Value::Opaque(Opaque::Url(url)) => Json::String(url.text().to_owned()),
        Value::Opaque(Opaque::Semver(version)) => Json::String(version.to_string()),
        Value::Type(_) | Value::Opaque(_) => {
            return Err(EvalError::other(format_args!("a {} is no JSON value", value.type_name())));
        }
    })
}
