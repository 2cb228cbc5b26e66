//! Maps: a view of a JSON object, or entries that an expression made; and objects that an expression made.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map as JsonMap, Value as Json};

use super::{Str, Value, json};
use crate::decl::Decl;
use crate::error::{EvalError, EvalResult};
use crate::escape::unescape;

/// A map.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// An object of the input, with its declaration if it has a schema.
    Json(&'a JsonMap<String, Json>, Option<Arc<Decl>>),
    /// Entries that an expression made, in the order in which it made them.
    Owned(Arc<IndexMap<Key, (Value<'a>, Value<'a>)>>),
}

/// An object that an expression made.
#[derive(Debug)]
pub struct Object<'a> {
    /// The name of its type: `Object.spec`, `JSONPatch`.
    pub type_name: Arc<str>,
    /// The fields that were set.
    pub fields: IndexMap<String, Value<'a>>,
}

/// A key, so that numbers that are equal are one key whatever their type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A boolean.
    Bool(bool),
    /// An integer of either sign.
    Number(i128),
    /// A string.
    String(Arc<str>),
}

impl Key {
    /// The key that a value is, if its type can be one. A double that is a whole number finds integer keys.
    pub(crate) fn find(value: &Value<'_>) -> Option<Key> {
        Some(match value {
            Value::Bool(b) => Key::Bool(*b),
            Value::Int(n) => Key::Number(i128::from(*n)),
            Value::Uint(n) => Key::Number(i128::from(*n)),
            Value::Double(d) if d.fract() == 0.0 && d.abs() < 1e20 => Key::Number(*d as i128),
            Value::String(Str::Shared(s)) => Key::String(s.clone()),
            Value::String(Str::Borrowed(s)) => Key::String((*s).into()),
            _ => return None,
        })
    }
}

impl<'a> Map<'a> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Json(map, _) => map.len(),
            Map::Owned(map) => map.len(),
        }
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `key`, or `None`. A key of a type that no key has is an error, as is a value that does not match its
    /// schema. An object of a schema is read by escaped names, and a null in it is an absent field.
    pub fn find(&self, key: &Value<'_>) -> EvalResult<Option<Value<'a>>> {
        match self {
            Map::Json(map, decl) => match key {
                Value::String(key) => find_json(map, decl.as_ref(), key),
                Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) if decl.is_none() => {
                    Ok(None)
                }
                _ => Err(EvalError::no_overload()),
            },
            Map::Owned(map) => match Key::find(key) {
                Some(key) => Ok(map.get(&key).map(|(_, value)| value.clone())),
                None if matches!(key, Value::Double(_)) => Ok(None),
                None => Err(EvalError::other(format_args!("unsupported key type: {}", key.type_name()))),
            },
        }
    }

    /// [`Map::find`] by a name that is known to be a string.
    pub fn field(&self, name: &str) -> EvalResult<Option<Value<'a>>> {
        match self {
            Map::Json(map, decl) => find_json(map, decl.as_ref(), name),
            Map::Owned(_) => self.find(&Value::from(name)),
        }
    }

    /// The key at `index` in the order of iteration.
    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Json(map, None) => map.keys().map(|key| Value::from(key.as_str())).collect(),
            Map::Json(map, Some(decl)) => map
                .keys()
                .filter_map(|key| match decl.property(key) {
                    Some((Some(escaped), _)) if escaped != key => Some(Value::from(escaped.to_owned())),
                    Some(_) => Some(Value::from(key.as_str())),
                    None => None,
                })
                .collect(),
            Map::Owned(map) => map.values().map(|(key, _)| key.clone()).collect(),
        }
    }
}

fn find_json<'a>(
    map: &'a JsonMap<String, Json>,
    decl: Option<&Arc<Decl>>,
    key: &str,
) -> EvalResult<Option<Value<'a>>> {
    let Some(decl) = decl else {
        return map.get(key).map(|value| json::typed(value, None)).transpose();
    };
    let name = if !decl.is_object() {
        key.to_owned()
    } else {
        let Some(name) = unescape(key) else { return Ok(None) };
        name
    };
    let Some(value) = map.get(&name) else { return Ok(None) };
    if decl.is_object() && value.is_null() {
        return Ok(None);
    }
    match decl.property(&name) {
        Some((_, property)) => json::typed(value, Some(property)).map(Some),
        None => Ok(None),
    }
}
