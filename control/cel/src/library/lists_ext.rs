//! cel-go's list extension, version 3: slice, flatten, sort, sortBy, range, reverse, distinct.

use std::cmp::Ordering;
use std::mem::discriminant;

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::equal::{compare, equal};
use crate::value::{List, Value};

pub(super) const DEFS: &[Def] = &[
    ("list_slice", "list(T)!slice(int, int): list(T)", slice),
    ("list_flatten", "list(list(T))!flatten(): list(T)", flatten),
    ("list_flatten_int", "list(dyn)!flatten(int): list(dyn)", flatten),
    ("list_int_sort", "list(int)!sort(): list(int)", sort),
    ("list_uint_sort", "list(uint)!sort(): list(uint)", sort),
    ("list_double_sort", "list(double)!sort(): list(double)", sort),
    ("list_bool_sort", "list(bool)!sort(): list(bool)", sort),
    ("list_google.protobuf.Duration_sort", "list(duration)!sort(): list(duration)", sort),
    ("list_google.protobuf.Timestamp_sort", "list(timestamp)!sort(): list(timestamp)", sort),
    ("list_string_sort", "list(string)!sort(): list(string)", sort),
    ("list_bytes_sort", "list(bytes)!sort(): list(bytes)", sort),
    ("list_int_sortByAssociatedKeys", "list(T)!@sortByAssociatedKeys(list(int)): list(T)", sort_by),
    ("list_uint_sortByAssociatedKeys", "list(T)!@sortByAssociatedKeys(list(uint)): list(T)", sort_by),
    ("list_double_sortByAssociatedKeys", "list(T)!@sortByAssociatedKeys(list(double)): list(T)", sort_by),
    ("list_bool_sortByAssociatedKeys", "list(T)!@sortByAssociatedKeys(list(bool)): list(T)", sort_by),
    ("list_duration_sortByAssociatedKeys", "list(T)!@sortByAssociatedKeys(list(duration)): list(T)", sort_by),
    (
        "list_timestamp_sortByAssociatedKeys",
        "list(T)!@sortByAssociatedKeys(list(timestamp)): list(T)",
        sort_by,
    ),
    ("list_string_sortByAssociatedKeys", "list(T)!@sortByAssociatedKeys(list(string)): list(T)", sort_by),
    ("list_bytes_sortByAssociatedKeys", "list(T)!@sortByAssociatedKeys(list(bytes)): list(T)", sort_by),
    ("lists_range", "lists.range(int): list(int)", range),
    ("list_reverse", "list(T)!reverse(): list(T)", reverse),
    ("list_distinct", "list(T)!distinct(): list(T)", distinct),
];

fn slice<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (list, start, end) = (args.list(0)?, args.int(1)?, args.int(2)?);
    let refuse = |why: String| Err(EvalError::other(format_args!("cannot slice({start}, {end}), {why}")));
    if start < 0 || end < 0 {
        return refuse("negative indexes not supported".to_owned());
    }
    if start > end {
        return refuse("start index must be less than or equal to end index".to_owned());
    }
    if end as u64 > list.len() as u64 {
        return refuse(format!("list is length {}", list.len()));
    }
    let items: EvalResult<Vec<_>> = (start as usize..end as usize).map(|at| list.get(at)).collect();
    Ok(Value::list(items?))
}

fn flatten<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let depth = if args.len() > 1 { args.int(1)? } else { 1 };
    if depth < 0 {
        return Err(EvalError::other("level must be non-negative"));
    }
    let mut out = Vec::new();
    // Values nest as deep as the input and the expression let them; the stack is kept in a list all the same.
    let mut open: Vec<(List<'a>, usize, i64)> = vec![(args.list(0)?.clone(), 0, depth)];
    while let Some((list, at, depth)) = open.pop() {
        if at >= list.len() {
            continue;
        }
        ctx.work.take(1)?;
        let item = list.get(at)?;
        open.push((list, at + 1, depth));
        match item {
            Value::List(inner) if depth > 0 => open.push((inner, 0, depth - 1)),
            other => out.push(other),
        }
    }
    Ok(Value::list(out))
}

fn sort<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let list = args.list(0)?;
    sorted(ctx, list, list)
}

fn sort_by<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    sorted(ctx, args.list(0)?, args.list(1)?)
}

fn sorted<'a>(ctx: &mut Ctx, list: &List<'a>, keys: &List<'a>) -> EvalResult<Value<'a>> {
    let (items, keys) = (list.to_vec()?, keys.to_vec()?);
    if items.len() != keys.len() {
        return Err(EvalError::other(format_args!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        )));
    }
    if let Some(first) = keys.first()
        && keys.iter().any(|key| discriminant(key) != discriminant(first))
    {
        return Err(EvalError::other("list elements must have the same type"));
    }
    let mut failed = None;
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(items).collect();
    pairs.sort_by(|(a, _), (b, _)| match compare(&mut ctx.work, a, b) {
        Ok(order) => order,
        Err(error) => {
            failed = Some(error);
            Ordering::Equal
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect())),
    }
}

fn range<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    // The cost was charged by the length, which bounds it.
    Ok(Value::list((0..args.int(0)?).map(Value::Int).collect()))
}

fn reverse<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let mut items = args.list(0)?.to_vec()?;
    items.reverse();
    Ok(Value::list(items))
}

fn distinct<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let mut out: Vec<Value<'a>> = Vec::new();
    'items: for item in args.list(0)?.iter() {
        let item = item?;
        for seen in &out {
            if equal(&mut ctx.work, &item, seen)? {
                continue 'items;
            }
        }
        out.push(item);
    }
    Ok(Value::list(out))
}
