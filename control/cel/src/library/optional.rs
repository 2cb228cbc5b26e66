//! Optional values. `or`, `orValue`, `.?` and `[?]` are steps of the evaluator; they are declared for the checker.

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::Value;

pub(super) const DEFS: &[Def] = &[
    ("optional_of", "optional.of(V): optional(V)", of),
    ("optional_ofNonZeroValue", "optional.ofNonZeroValue(V): optional(V)", of_non_zero),
    ("optional_none", "optional.none(): optional(V)", none),
    ("optional_value", "optional(V)!value(): V", value),
    ("optional_hasValue", "optional(V)!hasValue(): bool", has_value),
    ("optional_or_optional", "optional(V)!or(optional(V)): optional(V)", evaluated_elsewhere),
    ("optional_orValue_value", "optional(V)!orValue(V): V", evaluated_elsewhere),
    ("list_last", "list(V)!last(): optional(V)", last),
    ("list_first", "list(V)!first(): optional(V)", first),
    ("optional_unwrap", "optional.unwrap(list(optional(V))): list(V)", unwrap),
    ("optional_unwrapOpt", "list(optional(V))!unwrapOpt(): list(V)", unwrap),
];

fn evaluated_elsewhere<'a>(_: &mut Ctx, _: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Err(EvalError::no_overload())
}

fn of<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::some(args.value(0)?.clone()))
}

fn of_non_zero<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let value = args.value(0)?;
    Ok(if value.is_zero() { Value::Optional(None) } else { Value::some(value.clone()) })
}

fn none<'a>(_: &mut Ctx, _: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Optional(None))
}

fn value<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args.value(0)? {
        Value::Optional(Some(inner)) => Ok((**inner).clone()),
        Value::Optional(None) => Err(EvalError::other("optional.none() dereference")),
        _ => Err(EvalError::no_overload()),
    }
}

fn has_value<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args.value(0)? {
        Value::Optional(inner) => Ok(Value::Bool(inner.is_some())),
        _ => Err(EvalError::no_overload()),
    }
}

fn last<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let list = args.list(0)?;
    match list.len().checked_sub(1) {
        Some(at) => list.get(at).map(Value::some),
        None => Ok(Value::Optional(None)),
    }
}

fn first<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let list = args.list(0)?;
    if list.is_empty() { Ok(Value::Optional(None)) } else { list.get(0).map(Value::some) }
}

fn unwrap<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let list = args.list(0)?;
    ctx.work.take(list.len() as u64)?;
    let mut out = Vec::new();
    for item in list.iter() {
        match item? {
            Value::Optional(inner) => out.extend(inner.map(|inner| (*inner).clone())),
            other => {
                return Err(EvalError::other(format_args!(
                    "value of type {} is not optional",
                    other.type_name()
                )));
            }
        }
    }
    Ok(Value::list(out))
}
