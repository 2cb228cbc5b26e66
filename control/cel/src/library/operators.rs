//! Operators: arithmetic with overflow checks, order, membership. Equality and logic are steps of the evaluator; they are
//! declared here for the checker.

use std::cmp::Ordering;
use std::sync::Arc;

use super::bounded;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::equal::{compare, equal};
use crate::value::{Instant, Value};

pub(super) const DEFS: &[Def] = &[
    ("conditional", "_?_:_(bool, A, A): A", unreachable),
    ("logical_and", "_&&_(bool, bool): bool", unreachable),
    ("logical_or", "_||_(bool, bool): bool", unreachable),
    ("logical_not", "!_(bool): bool", not),
    ("not_strictly_false", "@not_strictly_false(bool): bool", unreachable),
    ("equals", "_==_(A, A): bool", unreachable),
    ("not_equals", "_!=_(A, A): bool", unreachable),
    ("add_bytes", "_+_(bytes, bytes): bytes", add),
    ("add_double", "_+_(double, double): double", add),
    ("add_duration_duration", "_+_(duration, duration): duration", add),
    ("add_duration_timestamp", "_+_(duration, timestamp): timestamp", add),
    ("add_timestamp_duration", "_+_(timestamp, duration): timestamp", add),
    ("add_int64", "_+_(int, int): int", add),
    ("add_list", "_+_(list(A), list(A)): list(A)", add),
    ("add_string", "_+_(string, string): string", add),
    ("add_uint64", "_+_(uint, uint): uint", add),
    ("divide_double", "_/_(double, double): double", divide),
    ("divide_int64", "_/_(int, int): int", divide),
    ("divide_uint64", "_/_(uint, uint): uint", divide),
    ("modulo_int64", "_%_(int, int): int", modulo),
    ("modulo_uint64", "_%_(uint, uint): uint", modulo),
    ("multiply_double", "_*_(double, double): double", multiply),
    ("multiply_int64", "_*_(int, int): int", multiply),
    ("multiply_uint64", "_*_(uint, uint): uint", multiply),
    ("negate_double", "-_(double): double", negate),
    ("negate_int64", "-_(int): int", negate),
    ("subtract_double", "_-_(double, double): double", subtract),
    ("subtract_duration_duration", "_-_(duration, duration): duration", subtract),
    ("subtract_int64", "_-_(int, int): int", subtract),
    ("subtract_timestamp_duration", "_-_(timestamp, duration): timestamp", subtract),
    ("subtract_timestamp_timestamp", "_-_(timestamp, timestamp): duration", subtract),
    ("subtract_uint64", "_-_(uint, uint): uint", subtract),
    ("less_bool", "_<_(bool, bool): bool", less),
    ("less_int64", "_<_(int, int): bool", less),
    ("less_int64_double", "_<_(int, double): bool", less),
    ("less_int64_uint64", "_<_(int, uint): bool", less),
    ("less_uint64", "_<_(uint, uint): bool", less),
    ("less_uint64_double", "_<_(uint, double): bool", less),
    ("less_uint64_int64", "_<_(uint, int): bool", less),
    ("less_double", "_<_(double, double): bool", less),
    ("less_double_int64", "_<_(double, int): bool", less),
    ("less_double_uint64", "_<_(double, uint): bool", less),
    ("less_string", "_<_(string, string): bool", less),
    ("less_bytes", "_<_(bytes, bytes): bool", less),
    ("less_timestamp", "_<_(timestamp, timestamp): bool", less),
    ("less_duration", "_<_(duration, duration): bool", less),
    ("less_equals_bool", "_<=_(bool, bool): bool", less_equals),
    ("less_equals_int64", "_<=_(int, int): bool", less_equals),
    ("less_equals_int64_double", "_<=_(int, double): bool", less_equals),
    ("less_equals_int64_uint64", "_<=_(int, uint): bool", less_equals),
    ("less_equals_uint64", "_<=_(uint, uint): bool", less_equals),
    ("less_equals_uint64_double", "_<=_(uint, double): bool", less_equals),
    ("less_equals_uint64_int64", "_<=_(uint, int): bool", less_equals),
    ("less_equals_double", "_<=_(double, double): bool", less_equals),
    ("less_equals_double_int64", "_<=_(double, int): bool", less_equals),
    ("less_equals_double_uint64", "_<=_(double, uint): bool", less_equals),
    ("less_equals_string", "_<=_(string, string): bool", less_equals),
    ("less_equals_bytes", "_<=_(bytes, bytes): bool", less_equals),
    ("less_equals_timestamp", "_<=_(timestamp, timestamp): bool", less_equals),
    ("less_equals_duration", "_<=_(duration, duration): bool", less_equals),
    ("greater_bool", "_>_(bool, bool): bool", greater),
    ("greater_int64", "_>_(int, int): bool", greater),
    ("greater_int64_double", "_>_(int, double): bool", greater),
    ("greater_int64_uint64", "_>_(int, uint): bool", greater),
    ("greater_uint64", "_>_(uint, uint): bool", greater),
    ("greater_uint64_double", "_>_(uint, double): bool", greater),
    ("greater_uint64_int64", "_>_(uint, int): bool", greater),
    ("greater_double", "_>_(double, double): bool", greater),
    ("greater_double_int64", "_>_(double, int): bool", greater),
    ("greater_double_uint64", "_>_(double, uint): bool", greater),
    ("greater_string", "_>_(string, string): bool", greater),
    ("greater_bytes", "_>_(bytes, bytes): bool", greater),
    ("greater_timestamp", "_>_(timestamp, timestamp): bool", greater),
    ("greater_duration", "_>_(duration, duration): bool", greater),
    ("greater_equals_bool", "_>=_(bool, bool): bool", greater_equals),
    ("greater_equals_int64", "_>=_(int, int): bool", greater_equals),
    ("greater_equals_int64_double", "_>=_(int, double): bool", greater_equals),
    ("greater_equals_int64_uint64", "_>=_(int, uint): bool", greater_equals),
    ("greater_equals_uint64", "_>=_(uint, uint): bool", greater_equals),
    ("greater_equals_uint64_double", "_>=_(uint, double): bool", greater_equals),
    ("greater_equals_uint64_int64", "_>=_(uint, int): bool", greater_equals),
    ("greater_equals_double", "_>=_(double, double): bool", greater_equals),
    ("greater_equals_double_int64", "_>=_(double, int): bool", greater_equals),
    ("greater_equals_double_uint64", "_>=_(double, uint): bool", greater_equals),
    ("greater_equals_string", "_>=_(string, string): bool", greater_equals),
    ("greater_equals_bytes", "_>=_(bytes, bytes): bool", greater_equals),
    ("greater_equals_timestamp", "_>=_(timestamp, timestamp): bool", greater_equals),
    ("greater_equals_duration", "_>=_(duration, duration): bool", greater_equals),
    ("index_list", "_[_](list(A), int): A", unreachable),
    ("index_map", "_[_](map(A, B), A): B", unreachable),
    ("optional_list_index_int", "_[_](optional(list(A)), int): optional(A)", unreachable),
    ("optional_map_index_value", "_[_](optional(map(A, B)), A): optional(B)", unreachable),
    ("list_optindex_optional_int", "_[?_](list(A), int): optional(A)", unreachable),
    ("optional_list_optindex_optional_int", "_[?_](optional(list(A)), int): optional(A)", unreachable),
    ("map_optindex_optional_value", "_[?_](map(A, B), A): optional(B)", unreachable),
    ("optional_map_optindex_optional_value", "_[?_](optional(map(A, B)), A): optional(B)", unreachable),
    ("in_list", "@in(A, list(A)): bool", contains),
    ("in_map", "@in(A, map(A, B)): bool", contains),
    ("@mapInsert_map_map", "cel.@mapInsert(map(A, B), map(A, B)): map(A, B)", unreachable),
    ("@mapInsert_map_key_value", "cel.@mapInsert(map(A, B), A, B): map(A, B)", unreachable),
];

/// What the evaluator does itself never comes here.
fn unreachable<'a>(_: &mut Ctx, _: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Err(EvalError::no_overload())
}

fn not<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args {
        [Value::Bool(b)] => Ok(Value::Bool(!b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn checked<'a, T>(value: Option<T>, make: fn(T) -> Value<'a>, what: &str) -> EvalResult<Value<'a>> {
    value.map(make).ok_or_else(|| EvalError::other(format_args!("{what} overflow")))
}

const INT: &str = "integer";
const UINT: &str = "unsigned integer";
const DURATION: &str = "duration";

fn shifted<'a>(instant: Instant, nanos: i128) -> EvalResult<Value<'a>> {
    checked(Instant::from_nanos(instant.nanos() + nanos), Value::Timestamp, "timestamp")
}

fn add<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args {
        [Value::Int(a), Value::Int(b)] => checked(a.checked_add(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => checked(a.checked_add(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::Duration(a), Value::Duration(b)] => checked(a.checked_add(*b), Value::Duration, DURATION),
        [Value::Timestamp(t), Value::Duration(d)] | [Value::Duration(d), Value::Timestamp(t)] => {
            shifted(*t, i128::from(*d))
        }
        [Value::String(a), Value::String(b)] => {
            bounded(a.len() + b.len())?;
            Ok(Value::from([&**a, &**b].concat()))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            bounded(a.len() + b.len())?;
            Ok(Value::Bytes(Arc::from([&**a, &**b].concat())))
        }
        [Value::List(a), Value::List(b)] => super::lists::concat(a, b),
        _ => Err(EvalError::no_overload()),
    }
}

fn subtract<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args {
        [Value::Int(a), Value::Int(b)] => checked(a.checked_sub(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => checked(a.checked_sub(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => checked(a.checked_sub(*b), Value::Duration, DURATION),
        [Value::Timestamp(t), Value::Duration(d)] => shifted(*t, -i128::from(*d)),
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            let nanos = a.nanos() - b.nanos();
            checked(i64::try_from(nanos).ok(), Value::Duration, DURATION)
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn multiply<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args {
        [Value::Int(a), Value::Int(b)] => checked(a.checked_mul(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => checked(a.checked_mul(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn divide<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvalError::other("division by zero"))
        }
        [Value::Int(a), Value::Int(b)] => checked(a.checked_div(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a / b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn modulo<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvalError::other("modulus by zero"))
        }
        [Value::Int(a), Value::Int(b)] => checked(a.checked_rem(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a % b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn negate<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args {
        [Value::Int(n)] => checked(n.checked_neg(), Value::Int, INT),
        [Value::Double(d)] => Ok(Value::Double(-d)),
        _ => Err(EvalError::no_overload()),
    }
}

fn order<'a>(ctx: &mut Ctx, args: &[Value<'a>], holds: fn(Ordering) -> bool) -> EvalResult<Value<'a>> {
    match args {
        [a, b] => Ok(Value::Bool(holds(compare(&mut ctx.work, a, b)?))),
        _ => Err(EvalError::no_overload()),
    }
}

fn less<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    order(ctx, args, Ordering::is_lt)
}

fn less_equals<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    order(ctx, args, Ordering::is_le)
}

fn greater<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    order(ctx, args, Ordering::is_gt)
}

fn greater_equals<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    order(ctx, args, Ordering::is_ge)
}

fn contains<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args {
        [item, Value::List(list)] => {
            for candidate in list.iter() {
                if equal(&mut ctx.work, item, &candidate?)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [key, Value::Map(map)] => Ok(Value::Bool(map.find(key)?.is_some())),
        _ => Err(EvalError::no_overload()),
    }
}
