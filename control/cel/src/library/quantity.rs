//! Kubernetes' quantity library.

use std::cmp::Ordering;

use xebec_api::quantity::{Format, Quantity};

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::{Opaque, Value};

pub(super) const DEFS: &[Def] = &[
    ("string_to_quantity", "quantity(string): kubernetes.Quantity", quantity),
    ("is_quantity_string", "isQuantity(string): bool", is_quantity),
    // Upstream declares it a function while its documentation shows a method; both are taken.
    ("quantity_sign", "sign(kubernetes.Quantity): int", sign),
    ("quantity_get_sign", "kubernetes.Quantity!sign(): int", sign),
    (
        "quantity_is_greater_than",
        "kubernetes.Quantity!isGreaterThan(kubernetes.Quantity): bool",
        is_greater_than,
    ),
    ("quantity_is_less_than", "kubernetes.Quantity!isLessThan(kubernetes.Quantity): bool", is_less_than),
    ("quantity_compare_to", "kubernetes.Quantity!compareTo(kubernetes.Quantity): int", compare_to),
    ("quantity_get_float", "kubernetes.Quantity!asApproximateFloat(): double", as_approximate_float),
    ("quantity_get_int", "kubernetes.Quantity!asInteger(): int", as_integer),
    ("quantity_is_integer", "kubernetes.Quantity!isInteger(): bool", is_integer),
    ("quantity_add", "kubernetes.Quantity!add(kubernetes.Quantity): kubernetes.Quantity", add),
    ("quantity_add_int", "kubernetes.Quantity!add(int): kubernetes.Quantity", add),
    ("quantity_sub", "kubernetes.Quantity!sub(kubernetes.Quantity): kubernetes.Quantity", sub),
    ("quantity_sub_int", "kubernetes.Quantity!sub(int): kubernetes.Quantity", sub),
];

fn get(args: &[Value<'_>], at: usize) -> EvalResult<Quantity> {
    match args.value(at)? {
        Value::Opaque(Opaque::Quantity(quantity)) => Ok(*quantity),
        Value::Int(n) => Ok(Quantity::from_value(*n, Format::DecimalSi)),
        _ => Err(EvalError::no_overload()),
    }
}

fn value<'a>(quantity: Quantity) -> Value<'a> {
    Value::Opaque(Opaque::Quantity(quantity))
}

fn quantity<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Quantity::parse(args.string(0)?).map(value).map_err(EvalError::other)
}

fn is_quantity<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(Quantity::parse(args.string(0)?).is_ok()))
}

fn sign<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Int(get(args, 0)?.sign().into()))
}

fn is_greater_than<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(get(args, 0)? > get(args, 1)?))
}

fn is_less_than<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(get(args, 0)? < get(args, 1)?))
}

fn compare_to<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Int(match get(args, 0)?.cmp(&get(args, 1)?) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }))
}

fn as_approximate_float<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Double(get(args, 0)?.as_f64()))
}

/// The whole amount, if it is one and 64 bits hold it.
fn whole(quantity: Quantity) -> Option<i64> {
    let nanos = quantity.nano_value();
    (nanos % 1_000_000_000 == 0).then(|| i64::try_from(nanos / 1_000_000_000).ok())?
}

fn as_integer<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    whole(get(args, 0)?).map(Value::Int).ok_or_else(|| EvalError::other("cannot convert value to integer"))
}

fn is_integer<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(whole(get(args, 0)?).is_some()))
}

fn add<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(value(get(args, 0)?.saturating_add(get(args, 1)?)))
}

fn sub<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(value(get(args, 0)?.saturating_add(-get(args, 1)?)))
}
