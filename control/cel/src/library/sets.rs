//! cel-go's set extension: lists as sets.

use super::Args;
use crate::error::EvalResult;
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::equal::equal;
use crate::value::{List, Value};

pub(super) const DEFS: &[Def] = &[
    ("list_sets_contains_list", "sets.contains(list(T), list(T)): bool", contains),
    ("list_sets_equivalent_list", "sets.equivalent(list(T), list(T)): bool", equivalent),
    ("list_sets_intersects_list", "sets.intersects(list(T), list(T)): bool", intersects),
];

fn has(ctx: &mut Ctx, list: &List<'_>, wanted: &Value<'_>) -> EvalResult<bool> {
    for item in list.iter() {
        if equal(&mut ctx.work, &item?, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_all(ctx: &mut Ctx, list: &List<'_>, wanted: &List<'_>) -> EvalResult<bool> {
    for item in wanted.iter() {
        if !has(ctx, list, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    has_all(ctx, args.list(0)?, args.list(1)?).map(Value::Bool)
}

fn equivalent<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (a, b) = (args.list(0)?, args.list(1)?);
    Ok(Value::Bool(has_all(ctx, a, b)? && has_all(ctx, b, a)?))
}

fn intersects<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (a, b) = (args.list(0)?, args.list(1)?);
    for item in a.iter() {
        if has(ctx, b, &item?)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
