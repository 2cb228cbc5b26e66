//! Estimates of calls: Kubernetes' libraries by the name of the function, the standard library by overload.

use super::range::{CostEstimate, SizeEstimate};
use super::{AUTHORIZATION, FORMAT_REGEX, LIST_COST, REGEX, STRUCT_COST, SizeHints, TRAVERSAL};
use crate::ast::{Expr, Kind};
use crate::types::Type;
use crate::value::Value;

/// An argument: what is known of it.
pub(super) struct Arg<'e> {
    pub(super) expr: &'e Expr,
    pub(super) ty: Type,
    /// The way to it from a variable; empty if there is none.
    pub(super) path: Vec<String>,
    /// Its size, if it is known.
    pub(super) size: Option<SizeEstimate>,
}

/// What a call costs, and the size of its result if it has one.
pub(super) struct CallEstimate {
    pub(super) cost: CostEstimate,
    pub(super) result: Option<SizeEstimate>,
}

impl From<CostEstimate> for CallEstimate {
    fn from(cost: CostEstimate) -> Self {
        CallEstimate { cost, result: None }
    }
}

const ONE: SizeEstimate = SizeEstimate::fixed(1);

impl Arg<'_> {
    fn size(&self) -> SizeEstimate {
        self.size.unwrap_or(SizeEstimate::UNKNOWN)
    }

    /// The type and the size of its items, if it is a list.
    fn items(&self, hints: &SizeHints) -> Option<(Type, SizeEstimate)> {
        let Type::List(item) = &self.ty else { return None };
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push("@items".to_owned());
        }
        Some(((**item).clone(), hints.size(&path).unwrap_or(SizeEstimate::UNKNOWN)))
    }

    /// The number that it is written as.
    fn literal(&self) -> Option<u64> {
        match self.expr.kind {
            Kind::Literal(Value::Int(n)) => u64::try_from(n).ok(),
            _ => None,
        }
    }
}

/// The functions of Kubernetes and its extensions; `None` for all others.
pub(super) fn kubernetes(
    hints: &SizeHints,
    function: &str,
    overload: &str,
    target: Option<&Arg<'_>>,
    args: &[Arg<'_>],
) -> Option<CallEstimate> {
    let fixed = |cost| Some(CallEstimate::from(CostEstimate::fixed(cost)));
    let read = |arg: &Arg<'_>, times: f64| CallEstimate::from(arg.size().cost(times * TRAVERSAL));
    match function {
        "check" => fixed(AUTHORIZATION),
        "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name"
        | "allowed" | "reason" | "error" | "errored" => fixed(1),
        "fieldSelector" | "labelSelector" => args.first().map(|arg| selector(arg.size())),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            target.map(|list| traversal(hints, list))
        }
        "url" | "jsonpatch.escapeKey" => {
            args.first().map(|arg| CallEstimate { result: Some(arg.size()), ..read(arg, 1.0) })
        }
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            target.map(|text| CallEstimate { result: Some(text.size()), ..read(text, 1.0) })
        }
        "replace" => match (target, args) {
            (Some(text), [from, to, ..]) => Some(replace(text.size(), from.size(), to.size())),
            _ => None,
        },
        "split" => target.map(|text| {
            let max = args.get(1).and_then(Arg::literal).unwrap_or(text.size().max);
            CallEstimate { result: Some(SizeEstimate { min: 0, max }), ..read(text, 2.0) }
        }),
        "join" => target.map(|list| join(hints, list, args.first())),
        "find" | "findAll" => match (target, args) {
            (Some(text), [pattern, ..]) => Some(CallEstimate {
                cost: regex(text.size(), pattern.size()),
                result: Some(SizeEstimate { min: 0, max: text.size().max }),
            }),
            _ => None,
        },
        "ip" if overload == "cidr_ip" => fixed(1),
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            args.first().map(|arg| read(arg, 1.0))
        }
        "ip.isCanonical" => args.first().map(|arg| read(arg, 2.0)),
        "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => fixed(1),
        "containsIP" | "containsCIDR" => args.first().map(|arg| contains(function, overload, arg)),
        "validate" => {
            args.first().map(|arg| arg.size().cost(TRAVERSAL).scale(FORMAT_REGEX as f64 * REGEX).into())
        }
        "_==_" => match args {
            [left, right] if left.ty == right.ty => equality_of_library_types(left, right),
            _ => None,
        },
        _ if function.starts_with("format.") => fixed(1),
        _ => lists(overload, target, args),
    }
}

/// Values of the libraries are compared as a whole.
fn equality_of_library_types(left: &Arg<'_>, right: &Arg<'_>) -> Option<CallEstimate> {
    let Type::Opaque(name) = &left.ty else { return None };
    let cost = match *name {
        "kubernetes.NamedFormat" => CostEstimate { min: 1, max: 64 }.scale(TRAVERSAL),
        "kubernetes.URL" => {
            let max = right.size.map_or(1, |size| size.max);
            CostEstimate { min: 1, max }.scale(TRAVERSAL)
        }
        _ => CostEstimate::fixed(1),
    };
    Some(cost.into())
}

/// A selector: a list, and for each two characters a requirement.
fn selector(size: SizeEstimate) -> CallEstimate {
    let requirements = size.cost(0.5).scale((LIST_COST + STRUCT_COST) as f64);
    CostEstimate::fixed(LIST_COST).add(size.cost(TRAVERSAL)).add(requirements).into()
}

/// A function that looks at each item once.
fn traversal(hints: &SizeHints, list: &Arg<'_>) -> CallEstimate {
    let Some((item, size)) = list.items(hints) else {
        return list.size().cost(TRAVERSAL).into();
    };
    let mut each = CostEstimate::fixed(1);
    if matches!(item, Type::String | Type::Bytes) {
        each = each.add(size.cost(TRAVERSAL));
    }
    list.size().each(each).into()
}

fn replace(text: SizeEstimate, from: SizeEstimate, to: SizeEstimate) -> CallEstimate {
    let (mut count, mut kept) = (SizeEstimate::fixed(0), SizeEstimate::fixed(0));
    if from.min == 0 {
        // Replacing nothing puts the replacement around each character.
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if to.max <= from.min {
        kept.max = text.max;
    } else {
        count.max = (text.max as f64 / from.min as f64).ceil() as u64;
    }
    if from.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if from.max <= to.min {
        kept.min = text.min;
    } else {
        count.min = (text.min as f64 / from.max as f64).ceil() as u64;
    }
    CallEstimate { cost: text.cost(2.0 * TRAVERSAL), result: Some(count.times(to).add(kept)) }
}

fn join(hints: &SizeHints, list: &Arg<'_>, separator: Option<&Arg<'_>>) -> CallEstimate {
    let count = list.size();
    let mut size = list.items(hints).map_or(SizeEstimate::fixed(0), |(_, item)| count.times(item));
    if let Some(separator) = separator {
        let gaps = SizeEstimate { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
        size = size.add(separator.size().times(gaps));
    }
    CallEstimate { cost: size.cost(TRAVERSAL), result: Some(size) }
}

fn regex(text: SizeEstimate, pattern: SizeEstimate) -> CostEstimate {
    text.add(ONE).cost(TRAVERSAL).times(pattern.cost(REGEX))
}

fn contains(function: &str, overload: &str, arg: &Arg<'_>) -> CallEstimate {
    let octets = SizeEstimate { min: 4, max: 16 };
    let mut cost = octets.add(octets).cost(TRAVERSAL);
    if function == "containsCIDR" {
        cost = cost.add(octets.cost(TRAVERSAL)).add(CostEstimate::fixed(1));
    }
    if overload.ends_with("_string") {
        cost = cost.add(arg.size().cost(TRAVERSAL));
    }
    cost.into()
}

/// The extension library of lists, by overload: each makes a list.
fn lists(overload: &str, target: Option<&Arg<'_>>, args: &[Arg<'_>]) -> Option<CallEstimate> {
    let made = |factor: f64, size: SizeEstimate| {
        let cost = size.cost(factor).add(CostEstimate::fixed(1 + LIST_COST));
        Some(CallEstimate { cost, result: Some(size) })
    };
    let number = |at: usize, otherwise: u64| args.get(at).and_then(Arg::literal).unwrap_or(otherwise);
    let quadratic = |list: &Arg<'_>, text: bool| {
        made(if text { 2.0 + TRAVERSAL } else { 2.0 }, list.size().times(list.size()))
    };
    match (overload, target) {
        ("list_slice", Some(list)) => {
            let size = number(1, list.size().max).saturating_sub(number(0, 0));
            made(1.0, SizeEstimate::fixed(size))
        }
        ("lists_range", None) => made(1.0, SizeEstimate::fixed(number(0, u64::MAX))),
        ("list_reverse", Some(list)) => made(1.0, list.size()),
        ("list_flatten", Some(list)) => made(1.0, list.size()),
        ("list_flatten_int", Some(list)) => made(number(0, u64::MAX) as f64, list.size()),
        ("list_distinct", Some(list)) => quadratic(list, false),
        ("list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list", _) => {
            match args {
                [a, b] => {
                    let factor = if overload == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
                    let cost = a.size().times(b.size()).cost(factor).add(CostEstimate::fixed(1));
                    Some(cost.into())
                }
                _ => None,
            }
        }
        (name, Some(list)) if name.starts_with("list_") => {
            let text = name.contains("string") || name.contains("bytes");
            match name.rsplit('_').next() {
                Some("sort") => quadratic(list, text),
                Some("sortByAssociatedKeys") => args.first().and_then(|keys| quadratic(keys, text)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The standard library, by overload, without the arguments' own cost.
pub(super) fn standard(overload: &str, target: Option<&Arg<'_>>, args: &[Arg<'_>]) -> CallEstimate {
    let read = |arg: &Arg<'_>| arg.size().cost(TRAVERSAL);
    match (overload, target, args) {
        ("string_format", Some(text), _) => read(text).into(),
        ("string_to_bytes", None, [text]) => {
            let size = text.size();
            CallEstimate {
                cost: read(text),
                result: Some(SizeEstimate { min: size.min, max: size.max.saturating_mul(4) }),
            }
        }
        ("bytes_to_string", None, [bytes]) => {
            let size = bytes.size();
            CallEstimate {
                cost: read(bytes),
                result: Some(SizeEstimate { min: size.min / 4, max: size.max }),
            }
        }
        ("strings_quote", None, [text]) => {
            let size = text.size();
            let max = size.max.saturating_mul(2).saturating_add(2);
            CallEstimate {
                cost: read(text),
                result: Some(SizeEstimate { min: size.min.saturating_add(2), max }),
            }
        }
        ("starts_with_string" | "ends_with_string", _, [arg]) => read(arg).into(),
        ("in_list", _, [_, list]) => list.size().cost(1.0).into(),
        ("matches_string", Some(text), [pattern]) => regex(text.size(), pattern.size()).into(),
        ("contains_string", Some(text), [part]) => read(text).times(read(part)).into(),
        ("add_list", _, [left, right]) => {
            CallEstimate { cost: CostEstimate::fixed(1), result: Some(left.size().add(right.size())) }
        }
        ("add_string" | "add_bytes", _, [left, right]) => {
            let size = left.size().add(right.size());
            CallEstimate { cost: size.cost(TRAVERSAL), result: Some(size) }
        }
        (
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "equals"
            | "not_equals",
            _,
            [left, right],
        ) => {
            let max = left.size().max.min(right.size().max);
            SizeEstimate { min: u64::from(max > 0), max }.cost(TRAVERSAL).into()
        }
        _ => CostEstimate::fixed(1).into(),
    }
}
