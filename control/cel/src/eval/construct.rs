//! Making lists, maps and objects.

use std::sync::Arc;

use indexmap::IndexMap;

use super::run::Evaluator;
use crate::cost::{LIST_COST, MAP_COST, STRUCT_COST};
use crate::error::{EvalError, EvalResult};
use crate::plan::Node;
use crate::value::map::Key;
use crate::value::{Map, Object, Value};

impl<'a> Evaluator<'_, 'a> {
    pub(super) fn list(&mut self, items: &[Node], optional: &[bool]) -> EvalResult<Value<'a>> {
        let mut out = Vec::with_capacity(items.len());
        for (item, optional) in items.iter().zip(optional) {
            match (self.node(item)?, optional) {
                (Value::Optional(Some(inner)), true) => out.push((*inner).clone()),
                (Value::Optional(None), true) => {}
                (other, true) => {
                    let name = other.type_name();
                    let message = format!(
                        "cannot initialize optional list element from non-optional value of type {name}"
                    );
                    return Err(EvalError::Other(message));
                }
                (value, false) => out.push(value),
            }
        }
        self.ctx.charge(LIST_COST)?;
        Ok(Value::list(out))
    }

    pub(super) fn map(&mut self, entries: &[(Node, Node, bool)]) -> EvalResult<Value<'a>> {
        let mut out = IndexMap::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let key = self.node(key)?;
            let value = self.node(value)?;
            // Of a key that is written twice the last value counts, and an absent one takes it away.
            match given(value, *optional, key.as_str().unwrap_or_default())? {
                Some(value) => {
                    let at = key_of(&key)?;
                    out.insert(at, (key, value));
                }
                None => {
                    out.shift_remove(&key_of(&key)?);
                }
            }
        }
        self.ctx.charge(MAP_COST)?;
        Ok(Value::Map(Map::Owned(Arc::new(out))))
    }

    pub(super) fn object(
        &mut self,
        name: &Arc<str>,
        fields: &[(String, Node, bool)],
    ) -> EvalResult<Value<'a>> {
        let mut out = IndexMap::with_capacity(fields.len());
        for (field, value, optional) in fields {
            let value = self.node(value)?;
            if let Some(value) = given(value, *optional, field)? {
                out.insert(field.clone(), value);
            }
        }
        self.ctx.charge(STRUCT_COST)?;
        Ok(Value::Object(Arc::new(Object { type_name: name.clone(), fields: out })))
    }
}

/// The value of an entry, or `None` if it is optional and absent.
fn given<'a>(value: Value<'a>, optional: bool, field: &str) -> EvalResult<Option<Value<'a>>> {
    match (value, optional) {
        (value, false) => Ok(Some(value)),
        (Value::Optional(inner), true) => Ok(inner.map(|inner| (*inner).clone())),
        (other, true) => {
            let name = other.type_name();
            Err(EvalError::other(format_args!(
                "cannot initialize optional entry '{field}' from non-optional value of type {name}"
            )))
        }
    }
}

/// The key that a value is. Errors: its type cannot be one.
fn key_of(key: &Value<'_>) -> EvalResult<Key> {
    let found = match key {
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_) => Key::find(key),
        _ => None,
    };
    found.ok_or_else(|| EvalError::other(format_args!("unsupported key type: {}", key.type_name())))
}

/// Adds an entry; false if the key is there already.
pub(crate) fn insert<'a>(
    map: &mut IndexMap<Key, (Value<'a>, Value<'a>)>,
    key: Value<'a>,
    value: Value<'a>,
) -> EvalResult<bool> {
    let at = key_of(&key)?;
    let fresh = !map.contains_key(&at);
    if fresh {
        map.insert(at, (key, value));
    }
    Ok(fresh)
}
