//! From the wire to JSON, with Go's rules for what JSON leaves out.

use super::wire::{Raw, Reader};
use super::{MAGIC, MAX_VALUES, ProtobufError, message_of};
use crate::schema::MAX_DEPTH;
use crate::types::{self, Field, Kind, Message, Scalar, Shape, Special};
use base64::Engine;
use serde_json::{Map, Number, Value};

/// What is left of the bounds on one object.
pub(super) struct Budget {
    values: usize,
    depth: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { values: MAX_VALUES, depth: MAX_DEPTH }
    }

    fn spend(&mut self) -> Result<(), ProtobufError> {
        self.values = self.values.checked_sub(1).ok_or(ProtobufError::TooLarge("large"))?;
        Ok(())
    }

    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ProtobufError>,
    ) -> Result<T, ProtobufError> {
        self.depth = self.depth.checked_sub(1).ok_or(ProtobufError::TooLarge("deep"))?;
        let result = inner(self);
        self.depth += 1;
        result
    }
}

fn bad(field: &str, message: impl ToString) -> ProtobufError {
    ProtobufError::Value { field: field.to_owned(), message: message.to_string() }
}

pub(super) fn text(field: &str, bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| bad(field, "invalid UTF-8"))
}

/// Reads the magic and the `Unknown` message, then the object inside.
pub(super) fn envelope(
    bytes: &[u8],
    api_version: &str,
    kind: &str,
    budget: &mut Budget,
) -> Result<Value, ProtobufError> {
    let unknown = bytes.strip_prefix(MAGIC.as_slice()).ok_or(ProtobufError::NoMagic)?;
    let (mut api_version, mut kind) = (api_version.to_owned(), kind.to_owned());
    let (mut raw, mut content_type): (&[u8], String) = (&[], String::new());
    let mut reader = Reader::new(unknown);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => {
                let mut meta = Reader::new(value.bytes()?);
                while let Some((number, value)) = meta.field()? {
                    match number {
                        1 if !value.bytes()?.is_empty() => api_version = text("apiVersion", value.bytes()?)?,
                        2 if !value.bytes()?.is_empty() => kind = text("kind", value.bytes()?)?,
                        _ => {}
                    }
                }
            }
            2 => raw = value.bytes()?,
            3 if !value.bytes()?.is_empty() => {
                return Err(ProtobufError::Unsupported(format!(
                    "encoding {}",
                    text("contentEncoding", value.bytes()?)?
                )));
            }
            4 => content_type = text("contentType", value.bytes()?)?,
            _ => {}
        }
    }
    match content_type.as_str() {
        "" | super::MEDIA_TYPE => {}
        "application/json" => return json("raw", raw, budget),
        other => return Err(ProtobufError::Unsupported(format!("type {other}"))),
    }
    let message = message_of(&api_version, &kind)?;
    let mut object = Map::new();
    budget.deeper(|budget| fields(message, raw, &mut object, budget))?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

/// Reads a structure's fields into a JSON object; inlined structures read into the same one.
fn fields(
    message: &'static Message,
    bytes: &[u8],
    out: &mut Map<String, Value>,
    budget: &mut Budget,
) -> Result<(), ProtobufError> {
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.field()? {
        if let Some(field) = message.field_by_number(number) {
            self::field(field, raw, out, budget)?;
        }
    }
    // Go writes plain zero values that are not marked omitempty.
    for field in &message.fields {
        if let (false, false, Shape::One(Kind::Scalar(scalar))) =
            (field.omit_empty, field.pointer, field.shape)
            && !out.contains_key(field.json)
            && let Some(zero) = zero(scalar)
        {
            budget.spend()?;
            out.insert(field.json.to_owned(), zero);
        }
    }
    Ok(())
}

fn zero(scalar: Scalar) -> Option<Value> {
    match scalar {
        Scalar::String => Some("".into()),
        Scalar::Bool => Some(false.into()),
        Scalar::Int32 | Scalar::Int64 | Scalar::Double => Some(0.into()),
        // A nil slice is null in JSON, which decodes like an absent field.
        Scalar::Bytes => None,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(s) => s.is_empty(),
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        _ => false,
    }
}

fn field(
    field: &'static Field,
    raw: Raw<'_>,
    out: &mut Map<String, Value>,
    budget: &mut Budget,
) -> Result<(), ProtobufError> {
    budget.spend()?;
    match field.shape {
        Shape::One(Kind::Scalar(s)) => {
            let value = scalar(field.json, s, raw)?;
            if field.omit_empty && !field.pointer && is_zero(&value) {
                out.remove(field.json);
            } else {
                out.insert(field.json.to_owned(), value);
            }
        }
        Shape::One(Kind::Message(id)) if field.inline => {
            budget.deeper(|budget| fields(types::message(id), raw.bytes()?, out, budget))?;
        }
        Shape::One(Kind::Message(id)) => {
            let before = out.remove(field.json);
            if let Some(value) = self::message(field.json, types::message(id), raw.bytes()?, before, budget)?
            {
                out.insert(field.json.to_owned(), value);
            }
        }
        Shape::List(kind) => {
            let entry = out.entry(field.json).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = entry {
                elements(field.json, kind, raw, list, budget)?;
            }
        }
        Shape::Map(kind) => {
            let (key, value) = entry(field.json, kind, raw.bytes()?, budget)?;
            let entry = out.entry(field.json).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = entry {
                map.insert(key, value);
            }
        }
    }
    Ok(())
}

/// One element of a list, or a whole packed list of numbers.
fn elements(
    name: &str,
    kind: Kind,
    raw: Raw<'_>,
    list: &mut Vec<Value>,
    budget: &mut Budget,
) -> Result<(), ProtobufError> {
    match (kind, raw) {
        (Kind::Scalar(Scalar::Bool | Scalar::Int32 | Scalar::Int64), Raw::Bytes(packed)) => {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                budget.spend()?;
                let raw = Raw::Varint(reader.varint()?);
                if let Kind::Scalar(s) = kind {
                    list.push(scalar(name, s, raw)?);
                }
            }
        }
        (Kind::Scalar(Scalar::Double), Raw::Bytes(packed)) => {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                budget.spend()?;
                list.push(scalar(name, Scalar::Double, Raw::Fixed64(u64::from_le_bytes(reader.array()?)))?);
            }
        }
        (Kind::Scalar(s), raw) => list.push(scalar(name, s, raw)?),
        (Kind::Message(id), raw) => {
            let value = message(name, types::message(id), raw.bytes()?, None, budget)?;
            list.push(value.unwrap_or(Value::Null));
        }
    }
    Ok(())
}

/// A map's entry: field 1 is the key, field 2 the value; either may be absent when empty.
fn entry(
    name: &str,
    kind: Kind,
    bytes: &[u8],
    budget: &mut Budget,
) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut raw_value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.field()? {
        match number {
            1 => key = text(name, raw.bytes()?)?,
            2 => raw_value = Some(raw),
            _ => {}
        }
    }
    let value = match (kind, raw_value) {
        (Kind::Scalar(s), Some(raw)) => scalar(name, s, raw)?,
        (Kind::Scalar(s), None) => zero(s).unwrap_or_else(|| "".into()),
        (Kind::Message(id), raw) => {
            let bytes = raw.map_or(Ok(&[][..]), Raw::bytes)?;
            message(name, types::message(id), bytes, None, budget)?.unwrap_or(Value::Null)
        }
    };
    Ok((key, value))
}

fn scalar(name: &str, scalar: Scalar, raw: Raw<'_>) -> Result<Value, ProtobufError> {
    Ok(match scalar {
        Scalar::String => text(name, raw.bytes()?)?.into(),
        Scalar::Bytes => base64::engine::general_purpose::STANDARD.encode(raw.bytes()?).into(),
        Scalar::Bool => (raw.varint()? != 0).into(),
        Scalar::Int32 => (raw.varint()? as i32).into(),
        Scalar::Int64 => (raw.varint()? as i64).into(),
        Scalar::Double => {
            let value = raw.double()?;
            // Go writes whole floats without a fraction.
            if value.fract() == 0.0 && value.abs() < 1e15 {
                (value as i64).into()
            } else {
                Value::Number(Number::from_f64(value).ok_or_else(|| bad(name, "not a finite number"))?)
            }
        }
    })
}

/// A structure's JSON; `None` for a zero time and the like, which JSON leaves out. A structure that comes twice merges.
fn message(
    name: &str,
    message: &'static Message,
    bytes: &[u8],
    before: Option<Value>,
    budget: &mut Budget,
) -> Result<Option<Value>, ProtobufError> {
    budget.spend()?;
    budget.deeper(|budget| match message.special {
        Some(special) => self::special(name, special, message, bytes, budget),
        None => {
            let mut map = if let Some(Value::Object(map)) = before { map } else { Map::new() };
            fields(message, bytes, &mut map, budget)?;
            Ok(Some(Value::Object(map)))
        }
    })
}

fn special(
    name: &str,
    special: Special,
    message: &'static Message,
    bytes: &[u8],
    budget: &mut Budget,
) -> Result<Option<Value>, ProtobufError> {
    let mut numbers = [0u64; 4];
    let mut last: &[u8] = &[];
    if matches!(
        special,
        Special::Time
            | Special::MicroTime
            | Special::Duration
            | Special::IntOrString
            | Special::Quantity
            | Special::RawJson
    ) {
        let mut reader = Reader::new(bytes);
        while let Some((number, raw)) = reader.field()? {
            match raw {
                Raw::Varint(n) if number < 4 => numbers[number as usize] = n,
                Raw::Bytes(b) => last = b,
                _ => {}
            }
        }
    }
    match special {
        Special::Time | Special::MicroTime if bytes.is_empty() => Ok(None),
        Special::Time | Special::MicroTime => {
            let at = jiff::Timestamp::new(numbers[1] as i64, numbers[2] as i32)
                .map_err(|_| bad(name, "time out of range"))?;
            let micro = special == Special::MicroTime;
            let text = if micro { crate::time::micro(at) } else { crate::time::format_rfc3339_seconds(at) };
            // A year beyond 0..9999 has no RFC 3339 form that could be read back.
            match crate::time::parse_rfc3339(&text) {
                Some(_) => Ok(Some(text.into())),
                None => Err(bad(name, "time out of range")),
            }
        }
        Special::Duration => Ok(Some(crate::time::format_go_duration(numbers[1] as i64).into())),
        Special::IntOrString if numbers[1] == 1 => Ok(Some(text(name, last)?.into())),
        Special::IntOrString => Ok(Some((numbers[2] as i32).into())),
        Special::Quantity if last.is_empty() => Ok(Some("0".into())),
        Special::Quantity => {
            let quantity = text(name, last)?;
            crate::quantity::Quantity::parse(&quantity).map_err(|e| bad(name, e))?;
            Ok(Some(quantity.into()))
        }
        Special::RawJson if last.is_empty() => Ok(None),
        Special::RawJson if last.starts_with(MAGIC) => envelope(last, "", "", budget).map(Some),
        Special::RawJson => json(name, last, budget).map(Some),
        Special::StringList => {
            let mut map = Map::new();
            fields(message, bytes, &mut map, budget)?;
            Ok(Some(map.remove("items").unwrap_or_else(|| Value::Array(Vec::new()))))
        }
        Special::SchemaOrBool | Special::SchemaOrArray | Special::SchemaOrStringArray => {
            let mut map = Map::new();
            fields(message, bytes, &mut map, budget)?;
            let lists = ["jSONSchemas", "property"].into_iter().find_map(|list| map.remove(list));
            Ok(Some(match (lists, map.remove("schema"), map.remove("allows")) {
                (Some(list), ..) => list,
                (None, Some(schema), _) => schema,
                (None, None, Some(allows)) => allows,
                (None, None, None) => return Ok(None),
            }))
        }
    }
}

/// Raw JSON inside a message; serde_json bounds its depth, its values count against the budget.
fn json(name: &str, bytes: &[u8], budget: &mut Budget) -> Result<Value, ProtobufError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| bad(name, e))?;
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }
    budget.values = budget.values.checked_sub(count(&value)).ok_or(ProtobufError::TooLarge("large"))?;
    Ok(value)
}
