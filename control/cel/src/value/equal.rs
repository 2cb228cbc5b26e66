//! Equality and order of values, across numeric types, within a bound on the work.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{List, Map, Opaque, Value};
use crate::decl::ListKind;
use crate::error::{EvalError, EvalResult};

/// Steps that one evaluation may take inside functions whose cost upstream reckons by the outermost size alone. It is
/// a bound on time, not part of the cost: no honest expression comes near it.
#[derive(Debug)]
pub(crate) struct Work(u64);

impl Work {
    pub(crate) fn new(steps: u64) -> Self {
        Work(steps)
    }

    /// Takes `steps`, or stops the evaluation.
    pub(crate) fn take(&mut self, steps: u64) -> EvalResult<()> {
        self.0 = self.0.checked_sub(steps).ok_or(EvalError::CostLimit)?;
        Ok(())
    }
}

/// Whether two values are equal. Values of different types are not, but numbers are compared by their amount.
pub(crate) fn equal(work: &mut Work, a: &Value<'_>, b: &Value<'_>) -> EvalResult<bool> {
    work.take(1)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => {
            work.take(a.len().min(b.len()) as u64 / 16)?;
            **a == **b
        }
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::List(a), Value::List(b)) => lists(work, a, b)?,
        (Value::Map(a), Value::Map(b)) => maps(work, a, b)?,
        (Value::Object(a), Value::Object(b)) => {
            if a.type_name != b.type_name || a.fields.len() != b.fields.len() {
                return Ok(false);
            }
            for (name, value) in &a.fields {
                match b.fields.get(name) {
                    Some(other) if equal(work, value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(work, a, b)?,
            (None, None) => true,
            _ => false,
        },
        (Value::Opaque(a), Value::Opaque(b)) => opaque(a, b)?,
        _ => numbers(a, b) == Some(Ordering::Equal),
    })
}

fn opaque(a: &Opaque, b: &Opaque) -> EvalResult<bool> {
    Ok(match (a, b) {
        (Opaque::Quantity(a), Opaque::Quantity(b)) => a == b,
        (Opaque::Url(a), Opaque::Url(b)) => a.text() == b.text(),
        (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
        (Opaque::Cidr(a), Opaque::Cidr(b)) => a == b,
        // Build metadata does not order versions, and does not tell them apart.
        (Opaque::Semver(a), Opaque::Semver(b)) => a.cmp_precedence(b) == Ordering::Equal,
        (Opaque::Format(a), Opaque::Format(b)) => a.name == b.name,
        (Opaque::Authorizer(a), Opaque::Authorizer(b)) => std::sync::Arc::ptr_eq(a, b),
        (Opaque::Decision(a), Opaque::Decision(b)) => std::sync::Arc::ptr_eq(a, b),
        _ => return Err(EvalError::no_overload()),
    })
}

fn lists<'a>(work: &mut Work, a: &List<'a>, b: &List<'_>) -> EvalResult<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if let List::Json(items, Some(decl)) = a {
        match decl.list_kind() {
            ListKind::Atomic => {}
            ListKind::Set => return includes_all(work, a, b),
            ListKind::Map(keys) => return map_lists(work, items, a, b, keys),
        }
    }
    for (x, y) in a.iter().zip(b.iter()) {
        if !equal(work, &x?, &y?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lists of one length that are sets: the order does not matter. The items of a set are scalars; short sets are compared
/// pair by pair, long ones by hash of their JSON.
fn includes_all(work: &mut Work, a: &List<'_>, b: &List<'_>) -> EvalResult<bool> {
    for x in a.iter() {
        let x = x?;
        let mut found = false;
        for y in b.iter() {
            if equal(work, &x, &y?)? {
                found = true;
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lists of one length whose items are known by keys: items of the same keys are compared, in any order.
fn map_lists(
    work: &mut Work,
    items: &[Json],
    a: &List<'_>,
    b: &List<'_>,
    keys: &[String],
) -> EvalResult<bool> {
    let index: std::collections::HashMap<String, usize> =
        items.iter().enumerate().map(|(at, item)| (item_key(item, keys), at)).collect();
    let mut seen = std::collections::HashSet::new();
    for (at, y) in b.iter().enumerate() {
        let y = y?;
        let key = match b {
            List::Json(items, _) => item_key(&items[at], keys),
            _ => item_key(&y.to_json()?, keys),
        };
        let Some(at) = index.get(&key) else { return Ok(false) };
        if !equal(work, &a.get(*at)?, &y)? {
            return Ok(false);
        }
        seen.insert(*at);
    }
    Ok(seen.len() == index.len())
}

/// The keys of an item of a list of maps, as text that tells different keys apart.
pub(crate) fn item_key(item: &Json, keys: &[String]) -> String {
    let values: Vec<&Json> = keys.iter().map(|key| item.get(key).unwrap_or(&Json::Null)).collect();
    serde_json::to_string(&values).unwrap_or_default()
}

fn maps<'a>(work: &mut Work, a: &Map<'a>, b: &Map<'_>) -> EvalResult<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for key in a.keys() {
        let (x, y) = (a.find(&key)?, b.find(&key)?);
        match (x, y) {
            (Some(x), Some(y)) => {
                if !equal(work, &x, &y)? {
                    return Ok(false);
                }
            }
            (None, None) => {}
            _ => return Ok(false),
        }
    }
    // Fields that the schema does not expose are compared as they are.
    if let (Map::Json(x, Some(decl)), Map::Json(y, _)) = (a, b) {
        for (name, value) in x.iter() {
            if decl.property(name).is_none() && y.get(name).is_some_and(|other| other != value) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The order of two numbers of any type, `None` for a NaN or something that is no number.
pub(crate) fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), _) => float_integer(*a, integer(b)?),
        (_, Value::Double(b)) => float_integer(*b, integer(a)?).map(Ordering::reverse),
        _ => Some(integer(a)?.cmp(&integer(b)?)),
    }
}

fn integer(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(n) => Some(i128::from(*n)),
        Value::Uint(n) => Some(i128::from(*n)),
        _ => None,
    }
}

fn float_integer(float: f64, integer: i128) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Beyond the range of both integer types any double decides by its sign.
    if float.abs() >= 3.7e19 {
        return Some(if float > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    // A 64-bit integer as a double may round; the whole part is compared exactly, then the rest.
    let whole = float.trunc();
    Some((whole as i128).cmp(&integer).then_with(|| float.partial_cmp(&whole).unwrap_or(Ordering::Equal)))
}

/// The order of two values for `<` and the like. Errors: they have none, or a NaN.
pub(crate) fn compare(work: &mut Work, a: &Value<'_>, b: &Value<'_>) -> EvalResult<Ordering> {
    work.take(1)?;
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::String(a), Value::String(b)) => {
            work.take(a.len().min(b.len()) as u64 / 16)?;
            Ok((**a).cmp(&**b))
        }
        (Value::Bytes(a), Value::Bytes(b)) => Ok(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Ok(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Ok(a.cmp(b)),
        (Value::Double(x), _) | (_, Value::Double(x)) if x.is_nan() => {
            Err(EvalError::other("NaN values cannot be ordered"))
        }
        _ => numbers(a, b).ok_or_else(EvalError::no_overload),
    }
}
