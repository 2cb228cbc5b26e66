//! Conversions, sizes, types, and the string functions of the language itself.

use super::{Args, regex};
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::types::Type;
use crate::value::{Instant, Opaque, Str, Value, time};

pub(super) const DEFS: &[Def] = &[
    ("size_bytes", "size(bytes): int", size),
    ("bytes_size", "bytes!size(): int", size),
    ("size_list", "size(list(A)): int", size),
    ("list_size", "list(A)!size(): int", size),
    ("size_map", "size(map(A, B)): int", size),
    ("map_size", "map(A, B)!size(): int", size),
    ("size_string", "size(string): int", size),
    ("string_size", "string!size(): int", size),
    ("type", "type(A): type(A)", type_of),
    ("bool_to_bool", "bool(bool): bool", same),
    ("string_to_bool", "bool(string): bool", to_bool),
    ("bytes_to_bytes", "bytes(bytes): bytes", same),
    ("string_to_bytes", "bytes(string): bytes", to_bytes),
    ("double_to_double", "double(double): double", same),
    ("int64_to_double", "double(int): double", to_double),
    ("string_to_double", "double(string): double", to_double),
    ("uint64_to_double", "double(uint): double", to_double),
    ("duration_to_duration", "duration(duration): duration", same),
    ("string_to_duration", "duration(string): duration", to_duration),
    ("to_dyn", "dyn(A): dyn", same),
    ("int64_to_int64", "int(int): int", same),
    ("double_to_int64", "int(double): int", to_int),
    ("duration_to_int64", "int(duration): int", to_int),
    ("string_to_int64", "int(string): int", to_int),
    ("timestamp_to_int64", "int(timestamp): int", to_int),
    ("uint64_to_int64", "int(uint): int", to_int),
    ("string_to_string", "string(string): string", same),
    ("bool_to_string", "string(bool): string", to_string),
    ("bytes_to_string", "string(bytes): string", to_string),
    ("double_to_string", "string(double): string", to_string),
    ("duration_to_string", "string(duration): string", to_string),
    ("int64_to_string", "string(int): string", to_string),
    ("timestamp_to_string", "string(timestamp): string", to_string),
    ("uint64_to_string", "string(uint): string", to_string),
    ("ip_to_string", "string(net.IP): string", to_string),
    ("cidr_to_string", "string(net.CIDR): string", to_string),
    ("timestamp_to_timestamp", "timestamp(timestamp): timestamp", same),
    ("int64_to_timestamp", "timestamp(int): timestamp", to_timestamp),
    ("string_to_timestamp", "timestamp(string): timestamp", to_timestamp),
    ("uint64_to_uint64", "uint(uint): uint", same),
    ("double_to_uint64", "uint(double): uint", to_uint),
    ("int64_to_uint64", "uint(int): uint", to_uint),
    ("string_to_uint64", "uint(string): uint", to_uint),
    ("contains_string", "string!contains(string): bool", contains),
    ("ends_with_string", "string!endsWith(string): bool", ends_with),
    ("starts_with_string", "string!startsWith(string): bool", starts_with),
    ("matches", "matches(string, string): bool", regex::matches),
    ("matches_string", "string!matches(string): bool", regex::matches),
];

/// A type as a value: what `type(x)` gives, and what a type's name stands for.
pub(crate) fn type_value(ty: &Type) -> Value<'static> {
    let name = match ty {
        Type::Null => "null_type",
        Type::Timestamp => "google.protobuf.Timestamp",
        Type::Duration => "google.protobuf.Duration",
        Type::Type(_) => "type",
        Type::List(_) => "list",
        Type::Map(..) => "map",
        Type::Optional(_) => "optional_type",
        other => return Value::Type(other.to_string().into()),
    };
    Value::Type(name.into())
}

fn same<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    args.value(0).cloned()
}

fn size<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let size = match args.value(0)? {
        Value::String(s) => {
            // Counting characters reads the string, which costs one in upstream's units however long it is.
            ctx.work.take(s.len() as u64 / 64)?;
            s.chars().count()
        }
        Value::Bytes(b) => b.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Value::Int(size as i64))
}

fn type_of<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Type(args.value(0)?.type_name().into()))
}

fn to_bool<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match args.string(0)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
        other => Err(syntax("ParseBool", other)),
    }
}

/// The error of Go's strconv, which upstream passes on.
fn syntax(function: &str, text: &str) -> EvalError {
    EvalError::other(format_args!(
        "strconv.{function}: parsing {}: invalid syntax",
        xebec_api::gotext::quote(text)
    ))
}

fn out_of_range(function: &str, text: &str) -> EvalError {
    EvalError::other(format_args!(
        "strconv.{function}: parsing {}: value out of range",
        xebec_api::gotext::quote(text)
    ))
}

fn to_bytes<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bytes(args.string(0)?.as_bytes().into()))
}

fn to_double<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let double = match args.value(0)? {
        Value::Int(n) => *n as f64,
        Value::Uint(n) => *n as f64,
        Value::String(s) => parse_double(s)?,
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Value::Double(double))
}

fn parse_double(text: &str) -> EvalResult<f64> {
    let parsed: f64 = match text.parse() {
        Ok(parsed) => parsed,
        Err(_) => return Err(syntax("ParseFloat", text)),
    };
    // Text that stands for a finite number must give one.
    if parsed.is_infinite() && !text.to_ascii_lowercase().contains("inf") {
        return Err(out_of_range("ParseFloat", text));
    }
    Ok(parsed)
}

fn overflow(what: &str) -> EvalError {
    EvalError::other(format_args!("{what} overflow"))
}

fn to_int<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let int = match args.value(0)? {
        Value::Uint(n) => i64::try_from(*n).map_err(|_| overflow("integer"))?,
        // The bounds themselves are refused: a double so large may have been rounded to them.
        Value::Double(d) if *d > i64::MIN as f64 && *d < i64::MAX as f64 => *d as i64,
        Value::Double(_) => return Err(overflow("integer")),
        Value::Duration(nanos) => *nanos,
        Value::Timestamp(instant) => instant.seconds(),
        Value::String(s) => parse_integer(s, "ParseInt")?,
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Value::Int(int))
}

fn parse_integer<T: std::str::FromStr<Err = std::num::ParseIntError>>(
    text: &str,
    function: &str,
) -> EvalResult<T> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        PosOverflow | NegOverflow => out_of_range(function, text),
        _ => syntax(function, text),
    })
}

fn to_uint<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let uint = match args.value(0)? {
        Value::Int(n) => u64::try_from(*n).map_err(|_| overflow("unsigned integer"))?,
        Value::Double(d) if *d >= 0.0 && *d < u64::MAX as f64 => *d as u64,
        Value::Double(_) => return Err(overflow("unsigned integer")),
        Value::String(s) if s.starts_with('+') => return Err(syntax("ParseUint", s)),
        Value::String(s) => parse_integer(s, "ParseUint")?,
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Value::Uint(uint))
}

fn to_string<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::String(text_of(args.value(0)?)?))
}

/// What `string(x)` gives.
pub(super) fn text_of<'a>(value: &Value<'a>) -> EvalResult<Str<'a>> {
    let text = match value {
        Value::String(s) => return Ok(s.clone()),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(d) => format_double(*d),
        Value::Duration(nanos) => time::format_duration(*nanos),
        Value::Timestamp(instant) => time::format_timestamp(*instant),
        Value::Type(name) => name.to_string(),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return Err(EvalError::other("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Value::Opaque(Opaque::Ip(ip)) => ip.to_string(),
        Value::Opaque(Opaque::Cidr(cidr)) => cidr.to_string(),
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Str::Shared(text.into()))
}

/// The shortest text of a double, with an exponent where Go's `%g` has one: below 1e-4, and from 1e6 on.
pub(super) fn format_double(d: f64) -> String {
    if d.is_nan() {
        return "NaN".to_owned();
    }
    if d.is_infinite() {
        return if d > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{d:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if d == 0.0 || (-4..6).contains(&exponent) {
        return format!("{d}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn to_duration<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    parse_duration(args.string(0)?).map(Value::Duration)
}

/// Reads Go's form of a duration, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> EvalResult<i64> {
    xebec_api::time::parse_go_duration(text).ok_or_else(|| {
        EvalError::other(format_args!("time: invalid duration {}", xebec_api::gotext::quote(text)))
    })
}

fn to_timestamp<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let instant = match args.value(0)? {
        Value::Int(seconds) => Instant::from_nanos(i128::from(*seconds) * 1_000_000_000),
        Value::String(text) => return parse_timestamp(text).map(Value::Timestamp),
        _ => return Err(EvalError::no_overload()),
    };
    instant.map(Value::Timestamp).ok_or_else(|| overflow("timestamp"))
}

/// Reads RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> EvalResult<Instant> {
    time::parse_timestamp(text).ok_or_else(|| {
        let quoted = xebec_api::gotext::quote(text);
        EvalError::other(format_args!(
            "parsing time {quoted} as \"2006-01-02T15:04:05Z07:00\": cannot parse {quoted}"
        ))
    })
}

fn contains<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(args.string(0)?.contains(args.string(1)?)))
}

fn ends_with<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(args.string(0)?.ends_with(args.string(1)?)))
}

fn starts_with<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(args.string(0)?.starts_with(args.string(1)?)))
}
