//! What calls cost when they run. Each cost follows from the arguments alone, so it is charged before the call is made.

use super::{AUTHORIZATION, LIST_COST, REGEX, STRUCT_COST, TRAVERSAL};
use crate::value::{List, Map, Opaque, Value};

/// A size times a factor, rounded up.
fn scaled(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// `==` and `!=`: the smaller side is read.
pub(crate) fn equality(left: &Value<'_>, right: &Value<'_>) -> u64 {
    if matches!(left, Value::Opaque(_)) {
        return 1;
    }
    scaled(left.cost_size().min(right.cost_size()), TRAVERSAL)
}

/// A call of a function.
pub(crate) fn call(function: &str, overload: Option<&'static str>, args: &[Value<'_>]) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, Value::cost_size);
    let read = |at: usize, times: f64| scaled(size(at), times * TRAVERSAL);
    match function {
        "check" => AUTHORIZATION,
        "fieldSelector" | "labelSelector" => selector(size(1)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => read(0, 1.0),
        "replace" | "split" | "ip.isCanonical" => read(0, 2.0),
        "join" => scaled(joined(args), 2.0 * TRAVERSAL),
        "find" | "findAll" => regex(size(0), size(1)),
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => read(0, 1.0),
        "ip" if !matches!(args.first(), Some(Value::Opaque(_))) => read(0, 1.0),
        "containsIP" => scaled(2 * size(0), TRAVERSAL) + text(args.get(1)),
        "containsCIDR" => scaled(2 * size(0), TRAVERSAL) + read(0, 1.0) + 1 + text(args.get(1)),
        "validate" => match args.first() {
            Some(Value::Opaque(Opaque::Format(format))) => regex(size(1), format.regex_size),
            _ => 1,
        },
        _ => standard(function, overload, args),
    }
}

/// A string argument that has to be parsed first.
fn text(arg: Option<&Value<'_>>) -> u64 {
    match arg {
        Some(value @ Value::String(_)) => scaled(value.cost_size(), TRAVERSAL),
        _ => 0,
    }
}

fn standard(function: &str, overload: Option<&'static str>, args: &[Value<'_>]) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, Value::cost_size);
    match (function, overload) {
        ("startsWith" | "endsWith" | "strings.quote" | "format", _)
        | (_, Some("string_to_bytes" | "bytes_to_string")) => scaled(size(0), TRAVERSAL),
        ("@in", Some("in_list")) => size(1),
        ("_<_" | "_<=_" | "_>_" | "_>=_", _) => match (args.first(), args.get(1)) {
            (Some(Value::String(_) | Value::Bytes(_)), Some(Value::String(_) | Value::Bytes(_))) => {
                scaled(size(0).min(size(1)), TRAVERSAL)
            }
            _ => 1,
        },
        ("_+_", _) => match args.first() {
            Some(Value::String(_) | Value::Bytes(_)) => scaled(size(0) + size(1), TRAVERSAL),
            _ => 1,
        },
        ("matches", _) => regex(size(0), size(1)),
        ("contains", Some("contains_string")) => scaled(size(0), TRAVERSAL) * scaled(size(1), TRAVERSAL),
        ("slice", _) => match (args.get(1), args.get(2)) {
            (Some(Value::Int(start)), Some(Value::Int(end))) => {
                list_call(1.0, end.saturating_sub(*start).max(0) as u64)
            }
            _ => 1,
        },
        ("lists.range", _) => match args.first() {
            Some(Value::Int(n)) => list_call(1.0, (*n).max(0) as u64),
            _ => 1,
        },
        ("reverse", _) => list_call(1.0, size(0)),
        ("flatten", _) => match args.get(1) {
            Some(Value::Int(depth)) => list_call((*depth).max(0) as f64, size(0)),
            _ => list_call(1.0, size(0)),
        },
        ("distinct" | "sort", _) => self_compare(args.first()),
        ("@sortByAssociatedKeys", _) => self_compare(args.get(1)),
        ("sets.contains" | "sets.intersects" | "sets.equivalent", _) => sets(function, args),
        _ => 1,
    }
}

/// Matching: the text once for each four characters of the pattern.
fn regex(text: u64, pattern: u64) -> u64 {
    scaled(text + 1, TRAVERSAL).saturating_mul(scaled(pattern, REGEX))
}

/// A selector is parsed into requirements, each at least two characters.
fn selector(size: u64) -> u64 {
    let requirements = scaled(scaled(size, 0.5), (LIST_COST + STRUCT_COST) as f64);
    LIST_COST + scaled(size, TRAVERSAL) + requirements
}

/// The size of what `join` makes.
fn joined(args: &[Value<'_>]) -> u64 {
    let Some(Value::List(list)) = args.first() else { return 0 };
    let items: u64 = list.iter().map(|item| item.map_or(0, |item| item.cost_size())).sum();
    let separators = (list.len() as u64).saturating_sub(1);
    items.saturating_add(separators.saturating_mul(args.get(1).map_or(0, Value::cost_size)))
}

fn list_call(factor: f64, size: u64) -> u64 {
    ((size as f64 * factor) as u64).saturating_add(1 + LIST_COST)
}

fn self_compare(list: Option<&Value<'_>>) -> u64 {
    let Some(Value::List(list)) = list else { return list_call(2.0, 0) };
    let factor = match list.get(0) {
        Ok(Value::String(_) | Value::Bytes(_)) => 2.0 + TRAVERSAL,
        _ => 2.0,
    };
    let size = list.len() as u64;
    list_call(factor, size.saturating_mul(size))
}

/// Each item of one list may be compared with each of the other.
fn sets(function: &str, args: &[Value<'_>]) -> u64 {
    let (a, b) = (args.first().map_or(1, Value::cost_size), args.get(1).map_or(1, Value::cost_size));
    let pairs = a.saturating_mul(b);
    if function == "sets.equivalent" {
        pairs.saturating_mul(2).saturating_add(1)
    } else {
        pairs.saturating_add(1)
    }
}

/// Reading a value as a tree.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(s) => (s.len() as f64 * TRAVERSAL) as u64,
        Value::Bytes(b) => (b.len() as f64 * TRAVERSAL) as u64,
        Value::List(list) => items(list),
        Value::Map(map) => entries(map),
        _ => 1,
    }
}

fn items(list: &List<'_>) -> u64 {
    list.iter().map(|item| item.map_or(1, |item| traversal(&item))).sum()
}

fn entries(map: &Map<'_>) -> u64 {
    let keys = map.keys();
    keys.iter()
        .map(|key| {
            let value = map.find(key).ok().flatten();
            traversal(key) + value.map_or(1, |value| traversal(&value))
        })
        .sum()
}
