//! Kubernetes' list library: isSorted, sum, min, max, indexOf, lastIndexOf; and adding lists.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::Args;
use crate::decl::ListKind;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::equal::{compare, equal, item_key};
use crate::value::{List, Value};

pub(super) const DEFS: &[Def] = &[
    ("list_int_is_sorted_bool", "list(int)!isSorted(): bool", is_sorted),
    ("list_uint_is_sorted_bool", "list(uint)!isSorted(): bool", is_sorted),
    ("list_double_is_sorted_bool", "list(double)!isSorted(): bool", is_sorted),
    ("list_bool_is_sorted_bool", "list(bool)!isSorted(): bool", is_sorted),
    ("list_duration_is_sorted_bool", "list(duration)!isSorted(): bool", is_sorted),
    ("list_timestamp_is_sorted_bool", "list(timestamp)!isSorted(): bool", is_sorted),
    ("list_string_is_sorted_bool", "list(string)!isSorted(): bool", is_sorted),
    ("list_bytes_is_sorted_bool", "list(bytes)!isSorted(): bool", is_sorted),
    ("list_int_sum_int", "list(int)!sum(): int", sum_int),
    ("list_uint_sum_uint", "list(uint)!sum(): uint", sum_uint),
    ("list_double_sum_double", "list(double)!sum(): double", sum_double),
    ("list_duration_sum_duration", "list(duration)!sum(): duration", sum_duration),
    ("list_int_max_int", "list(int)!max(): int", max),
    ("list_uint_max_uint", "list(uint)!max(): uint", max),
    ("list_double_max_double", "list(double)!max(): double", max),
    ("list_bool_max_bool", "list(bool)!max(): bool", max),
    ("list_duration_max_duration", "list(duration)!max(): duration", max),
    ("list_timestamp_max_timestamp", "list(timestamp)!max(): timestamp", max),
    ("list_string_max_string", "list(string)!max(): string", max),
    ("list_bytes_max_bytes", "list(bytes)!max(): bytes", max),
    ("list_int_min_int", "list(int)!min(): int", min),
    ("list_uint_min_uint", "list(uint)!min(): uint", min),
    ("list_double_min_double", "list(double)!min(): double", min),
    ("list_bool_min_bool", "list(bool)!min(): bool", min),
    ("list_duration_min_duration", "list(duration)!min(): duration", min),
    ("list_timestamp_min_timestamp", "list(timestamp)!min(): timestamp", min),
    ("list_string_min_string", "list(string)!min(): string", min),
    ("list_bytes_min_bytes", "list(bytes)!min(): bytes", min),
    ("list_a_index_of_int", "list(A)!indexOf(A): int", index_of),
    ("list_a_last_index_of_int", "list(A)!lastIndexOf(A): int", last_index_of),
];

fn is_sorted<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let mut before: Option<Value<'a>> = None;
    for item in args.list(0)?.iter() {
        let item = item?;
        if let Some(before) = &before
            && compare(&mut ctx.work, before, &item)? == Ordering::Greater
        {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum_int<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let mut sum = 0i64;
    for item in args.list(0)?.iter() {
        let Value::Int(n) = item? else { return Err(EvalError::no_overload()) };
        sum = sum.checked_add(n).ok_or_else(|| EvalError::other("integer overflow"))?;
    }
    Ok(Value::Int(sum))
}

fn sum_uint<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let mut sum = 0u64;
    for item in args.list(0)?.iter() {
        let Value::Uint(n) = item? else { return Err(EvalError::no_overload()) };
        sum = sum.checked_add(n).ok_or_else(|| EvalError::other("unsigned integer overflow"))?;
    }
    Ok(Value::Uint(sum))
}

fn sum_double<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let mut sum = 0.0;
    for item in args.list(0)?.iter() {
        let Value::Double(n) = item? else { return Err(EvalError::no_overload()) };
        sum += n;
    }
    Ok(Value::Double(sum))
}

fn sum_duration<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let mut sum = 0i64;
    for item in args.list(0)?.iter() {
        let Value::Duration(n) = item? else { return Err(EvalError::no_overload()) };
        sum = sum.checked_add(n).ok_or_else(|| EvalError::other("duration overflow"))?;
    }
    Ok(Value::Duration(sum))
}

fn extreme<'a>(ctx: &mut Ctx, list: &List<'a>, name: &str, better: Ordering) -> EvalResult<Value<'a>> {
    let mut best: Option<Value<'a>> = None;
    for item in list.iter() {
        let item = item?;
        best = Some(match best {
            Some(best) if compare(&mut ctx.work, &item, &best)? != better => best,
            _ => item,
        });
    }
    best.ok_or_else(|| EvalError::other(format_args!("{name} called on empty list")))
}

fn max<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    extreme(ctx, args.list(0)?, "max", Ordering::Greater)
}

fn min<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    extreme(ctx, args.list(0)?, "min", Ordering::Less)
}

fn index_of<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (list, wanted) = (args.list(0)?, args.value(1)?);
    for (at, item) in list.iter().enumerate() {
        if equal(&mut ctx.work, &item?, wanted)? {
            return Ok(Value::Int(at as i64));
        }
    }
    Ok(Value::Int(-1))
}

fn last_index_of<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (list, wanted) = (args.list(0)?, args.value(1)?);
    for at in (0..list.len()).rev() {
        if equal(&mut ctx.work, &list.get(at)?, wanted)? {
            return Ok(Value::Int(at as i64));
        }
    }
    Ok(Value::Int(-1))
}

/// `a + b`. Lists that a schema calls sets or maps keep the positions of `a`: a set takes from `b` what it lacks, a map
/// takes the items of `b` in place of its own with the same keys, and then the rest.
pub(super) fn concat<'a>(a: &List<'a>, b: &List<'a>) -> EvalResult<Value<'a>> {
    let List::Json(items, Some(decl)) = a else { return a.clone().concat(b.clone()).map(Value::List) };
    let keys: &[String] = match decl.list_kind() {
        ListKind::Atomic => return a.clone().concat(b.clone()).map(Value::List),
        ListKind::Set => &[],
        ListKind::Map(keys) => keys,
    };
    let key_of = |item: &Json| if keys.is_empty() { item.to_string() } else { item_key(item, keys) };
    let mut out = a.to_vec()?;
    let mut index: std::collections::HashMap<String, usize> =
        items.iter().enumerate().map(|(at, item)| (key_of(item), at)).collect();
    for (at, item) in b.iter().enumerate() {
        let item = item?;
        let key = match b {
            List::Json(items, _) => key_of(&items[at]),
            _ => key_of(&item.to_json()?),
        };
        match index.get(&key) {
            Some(at) if !keys.is_empty() => out[*at] = item,
            Some(_) => {}
            None => {
                index.insert(key, out.len());
                out.push(item);
            }
        }
    }
    Ok(Value::list(out))
}
