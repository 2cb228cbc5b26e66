//! Reading fields and indexes. Costs: one for each step from a variable; a value that a call made counts as a variable.

use super::run::Evaluator;
use crate::error::{EvalError, EvalResult};
use crate::plan::Node;
use crate::value::{Object, Value};

impl<'a> Evaluator<'_, 'a> {
    /// The value that a field or an index is read from.
    fn operand(&mut self, operand: &Node) -> EvalResult<Value<'a>> {
        if !operand.is_attribute() {
            self.ctx.charge(1)?;
        }
        self.node(operand)
    }

    pub(super) fn select(&mut self, operand: &Node, field: &str) -> EvalResult<Value<'a>> {
        let value = self.operand(operand)?;
        self.ctx.charge(1)?;
        // Fields of an optional value are optional.
        if let Value::Optional(inner) = &value {
            return optional_field(inner.as_deref(), field);
        }
        field_of(&value, field)?.ok_or_else(|| no_such_key(field))
    }

    pub(super) fn has(&mut self, operand: &Node, field: &str) -> EvalResult<Value<'a>> {
        let value = self.operand(operand)?;
        let found = match &value {
            Value::Optional(None) => None,
            Value::Optional(Some(inner)) => present(inner, field)?,
            other => present(other, field)?,
        };
        Ok(Value::Bool(found.is_some()))
    }

    pub(super) fn optional_select(&mut self, operand: &Node, field: &str) -> EvalResult<Value<'a>> {
        let value = self.operand(operand)?;
        self.ctx.charge(1)?;
        match &value {
            Value::Optional(inner) => optional_field(inner.as_deref(), field),
            other => optional_field(Some(other), field),
        }
    }

    pub(super) fn index(&mut self, operand: &Node, index: &Node, optional: bool) -> EvalResult<Value<'a>> {
        let value = self.operand(operand)?;
        let key = self.node(index)?;
        if !index.is_attribute() {
            self.ctx.charge(1)?;
        }
        let (value, optional) = match &value {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => (&**inner, true),
            other => (other, optional),
        };
        match (element(value, &key, optional)?, optional) {
            (Some(found), true) => Ok(Value::some(found)),
            (None, true) => Ok(Value::Optional(None)),
            (Some(found), false) => Ok(found),
            (None, false) => Err(no_such_key(&show_key(&key))),
        }
    }
}

fn optional_field<'a>(value: Option<&Value<'a>>, field: &str) -> EvalResult<Value<'a>> {
    let found = match value {
        Some(value) => present(value, field)?,
        None => None,
    };
    Ok(match found {
        // A field that is itself an optional is not wrapped again.
        Some(found @ Value::Optional(_)) => found,
        Some(found) => Value::some(found),
        None => Value::Optional(None),
    })
}

fn no_such_key(key: &str) -> EvalError {
    EvalError::NoSuchKey(key.to_owned())
}

/// A field that is asked for by `has` or `.?`: what has no fields lacks it, which is no error.
fn present<'a>(value: &Value<'a>, field: &str) -> EvalResult<Option<Value<'a>>> {
    match value {
        Value::Map(_) | Value::Object(_) | Value::List(_) => field_of(value, field),
        _ => Ok(None),
    }
}

/// A field of a map or an object, or `None` if it is not there.
fn field_of<'a>(value: &Value<'a>, field: &str) -> EvalResult<Option<Value<'a>>> {
    match value {
        Value::Map(map) => map.field(field),
        Value::Object(object) => object_field(object, field),
        Value::List(_) => Err(EvalError::other("unsupported index type 'string' in list")),
        _ => Ok(None),
    }
}

fn object_field<'a>(object: &Object<'a>, field: &str) -> EvalResult<Option<Value<'a>>> {
    let found = object.fields.get(field).cloned();
    // A patch has all its fields: unset ones are empty.
    Ok(match (found, &*object.type_name, field) {
        (None, "JSONPatch", "op" | "path" | "from") => Some(Value::from("")),
        (found, ..) => found,
    })
}

/// An element of a list or a map. An index out of bounds is `None` if it may be absent, an error otherwise.
fn element<'a>(value: &Value<'a>, key: &Value<'_>, optional: bool) -> EvalResult<Option<Value<'a>>> {
    match value {
        Value::List(list) => {
            let index = match key {
                Value::Int(n) => usize::try_from(*n).ok(),
                Value::Uint(n) => usize::try_from(*n).ok(),
                Value::Double(d) if d.fract() == 0.0 && *d >= 0.0 && *d < 1e15 => Some(*d as usize),
                Value::Double(_) => {
                    return Err(EvalError::other(format_args!(
                        "unsupported index value {} in list",
                        show_key(key)
                    )));
                }
                _ => {
                    return Err(EvalError::other(format_args!(
                        "unsupported index type '{}' in list",
                        key.type_name()
                    )));
                }
            };
            match index.filter(|index| *index < list.len()) {
                Some(index) => list.get(index).map(Some),
                None if optional => Ok(None),
                None => Err(EvalError::other(format_args!("index out of bounds: {}", show_key(key)))),
            }
        }
        Value::Map(map) => map.find(key),
        Value::Object(object) => match key {
            Value::String(field) => object_field(object, field),
            _ => Err(EvalError::no_overload()),
        },
        // What has no elements lacks this one.
        _ => Ok(None),
    }
}

fn show_key(key: &Value<'_>) -> String {
    match key {
        Value::String(s) => s.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(d) => d.to_string(),
        other => other.type_name().to_owned(),
    }
}
