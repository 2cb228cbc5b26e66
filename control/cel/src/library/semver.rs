//! Kubernetes' semantic version library, version 1.

use std::cmp::Ordering;
use std::sync::Arc;

use semver::Version;
use xebec_api::gotext::quote;

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::{Opaque, Value};

pub(super) const DEFS: &[Def] = &[
    ("string_to_semver", "semver(string): kubernetes.Semver", semver),
    ("string_bool_to_semver", "semver(string, bool): kubernetes.Semver", semver),
    ("is_semver_string", "isSemver(string): bool", is_semver),
    ("is_semver_string_bool", "isSemver(string, bool): bool", is_semver),
    ("semver_is_greater_than", "kubernetes.Semver!isGreaterThan(kubernetes.Semver): bool", is_greater_than),
    ("semver_is_less_than", "kubernetes.Semver!isLessThan(kubernetes.Semver): bool", is_less_than),
    ("semver_compare_to", "kubernetes.Semver!compareTo(kubernetes.Semver): int", compare_to),
    ("semver_major", "kubernetes.Semver!major(): int", major),
    ("semver_minor", "kubernetes.Semver!minor(): int", minor),
    ("semver_patch", "kubernetes.Semver!patch(): int", patch),
];

/// Reads a version. Errors: in the words of the library that upstream uses, where it has its own.
fn parse(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    if parts.len() != 3 {
        return Err("No Major.Minor.Patch elements found".to_owned());
    }
    for (name, part) in ["Major", "Minor", "Patch"].iter().zip(numbers.splitn(3, '.')) {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!(
                "Invalid character(s) found in {} number {}",
                name.to_lowercase(),
                quote(part)
            ));
        }
        if part.len() > 1 && part.starts_with('0') {
            return Err(format!("{name} number must not contain leading zeroes {}", quote(part)));
        }
    }
    Version::parse(text).map_err(|error| error.to_string())
}

/// Takes what is commonly written for a version: a `v` in front, fewer than three numbers, leading zeros.
fn normalized(text: &str) -> Result<Version, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            if part.len() < 2 {
                return part.to_owned();
            }
            let trimmed = part.trim_start_matches('0');
            let digit = trimmed.starts_with(|c: char| c.is_ascii_digit());
            if digit { trimmed.to_owned() } else { format!("0{trimmed}") }
        })
        .collect();
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
    }
    parse(&parts.join("."))
}

fn read(args: &[Value<'_>]) -> EvalResult<Result<Version, String>> {
    let text = args.string(0)?;
    Ok(match args.get(1) {
        Some(Value::Bool(true)) => normalized(text),
        _ => parse(text),
    })
}

fn get<'v>(args: &'v [Value<'_>], at: usize) -> EvalResult<&'v Version> {
    match args.opaque(at)? {
        Opaque::Semver(version) => Ok(version),
        _ => Err(EvalError::no_overload()),
    }
}

fn semver<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    match read(args)? {
        Ok(version) => Ok(Value::Opaque(Opaque::Semver(Arc::new(version)))),
        Err(why) => Err(EvalError::Other(why)),
    }
}

fn is_semver<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(read(args)?.is_ok()))
}

fn order(args: &[Value<'_>]) -> EvalResult<Ordering> {
    Ok(get(args, 0)?.cmp_precedence(get(args, 1)?))
}

fn is_greater_than<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(order(args)?.is_gt()))
}

fn is_less_than<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(order(args)?.is_lt()))
}

fn compare_to<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Int(match order(args)? {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }))
}

fn major<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Int(get(args, 0)?.major as i64))
}

fn minor<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Int(get(args, 0)?.minor as i64))
}

fn patch<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Int(get(args, 0)?.patch as i64))
}
