//! cel-go's string extension, version 2. Positions count code points.

use super::{Args, bounded, formatting};
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::Value;

pub(super) const DEFS: &[Def] = &[
    ("string_char_at_int", "string!charAt(int): string", char_at),
    ("string_index_of_string", "string!indexOf(string): int", index_of),
    ("string_index_of_string_int", "string!indexOf(string, int): int", index_of),
    ("string_last_index_of_string", "string!lastIndexOf(string): int", last_index_of),
    ("string_last_index_of_string_int", "string!lastIndexOf(string, int): int", last_index_of),
    ("string_lower_ascii", "string!lowerAscii(): string", lower_ascii),
    ("string_replace_string_string", "string!replace(string, string): string", replace),
    ("string_replace_string_string_int", "string!replace(string, string, int): string", replace),
    ("string_split_string", "string!split(string): list(string)", split),
    ("string_split_string_int", "string!split(string, int): list(string)", split),
    ("string_substring_int", "string!substring(int): string", substring),
    ("string_substring_int_int", "string!substring(int, int): string", substring),
    ("string_trim", "string!trim(): string", trim),
    ("string_upper_ascii", "string!upperAscii(): string", upper_ascii),
    ("string_format", "string!format(list(dyn)): string", formatting::format),
    ("strings_quote", "strings.quote(string): string", quote),
    ("list_join", "list(string)!join(): string", join),
    ("list_join_string", "list(string)!join(string): string", join),
];

fn out_of_range(index: i64) -> EvalError {
    EvalError::other(format_args!("index out of range: {index}"))
}

/// The octet at which a code point starts, up to and including the end; `None` beyond.
fn offset(text: &str, index: i64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(index)
}

/// The number of the code point that starts at an octet.
fn position(text: &str, at: usize) -> i64 {
    text[..at].chars().count() as i64
}

fn char_at<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (text, index) = (args.string(0)?, args.int(1)?);
    let at = offset(text, index).ok_or_else(|| out_of_range(index))?;
    Ok(Value::from(text[at..].chars().next().map(String::from).unwrap_or_default()))
}

fn index_of<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (text, part) = (args.string(0)?, args.string(1)?);
    let from = if args.len() > 2 { args.int(2)? } else { 0 };
    if from < 0 {
        return Err(out_of_range(from));
    }
    ctx.work.take(text.len() as u64 / 16)?;
    let count = text.chars().count() as i64;
    if part.is_empty() {
        return Ok(Value::Int(from.min(count)));
    }
    let found = offset(text, from).and_then(|start| text[start..].find(part).map(|at| start + at));
    Ok(Value::Int(found.map_or(-1, |at| position(text, at))))
}

fn last_index_of<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (text, part) = (args.string(0)?, args.string(1)?);
    ctx.work.take(text.len() as u64 / 16)?;
    let count = text.chars().count() as i64;
    let last = if args.len() > 2 { Some(args.int(2)?) } else { None };
    if let Some(last) = last.filter(|last| *last < 0) {
        return Err(out_of_range(last));
    }
    if part.is_empty() {
        return Ok(Value::Int(last.unwrap_or(count).min(count)));
    }
    if last.is_some_and(|last| last >= count) {
        return Ok(Value::Int(-1));
    }
    // The match may start at the last position that is allowed, and extend beyond it.
    let end =
        last.and_then(|last| offset(text, last)).map_or(text.len(), |at| text.len().min(at + part.len()));
    let end = (0..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Ok(Value::Int(text[..end].rfind(part).map_or(-1, |at| position(text, at))))
}

fn lower_ascii<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(args.string(0)?.to_ascii_lowercase()))
}

fn upper_ascii<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(args.string(0)?.to_ascii_uppercase()))
}

/// A limit as Go counts: negative is none.
fn limit(args: &[Value<'_>], at: usize) -> EvalResult<usize> {
    if args.len() <= at {
        return Ok(usize::MAX);
    }
    Ok(usize::try_from(args.int(at)?).unwrap_or(usize::MAX))
}

fn replace<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (text, from, to) = (args.string(0)?, args.string(1)?, args.string(2)?);
    let most = limit(args, 3)?;
    let count = match from.is_empty() {
        true => text.chars().count() + 1,
        false => text.matches(from).count(),
    };
    bounded(text.len().saturating_add(count.min(most).saturating_mul(to.len())))?;
    Ok(Value::from(text.replacen(from, to, most)))
}

fn split<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (text, separator) = (args.string(0)?, args.string(1)?);
    let most = limit(args, 2)?;
    let parts: Vec<Value<'a>> = match (most, separator) {
        (0, _) => Vec::new(),
        // Between code points, the last part taking the rest.
        (_, "") => {
            let mut parts = Vec::new();
            let mut rest = text;
            while let Some(c) = rest.chars().next() {
                let end = if parts.len() + 1 == most { rest.len() } else { c.len_utf8() };
                parts.push(Value::from(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            parts
        }
        _ => text.splitn(most, separator).map(|part| Value::from(part.to_owned())).collect(),
    };
    Ok(Value::list(parts))
}

fn substring<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (text, start) = (args.string(0)?, args.int(1)?);
    let end = if args.len() > 2 { Some(args.int(2)?) } else { None };
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(EvalError::other(format_args!("invalid substring range. start: {start}, end: {end}")));
    }
    let from = offset(text, start).ok_or_else(|| out_of_range(start))?;
    let to = match end {
        Some(end) => offset(text, end).ok_or_else(|| out_of_range(end))?,
        None => text.len(),
    };
    Ok(Value::from(text[from..to].to_owned()))
}

fn trim<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(args.string(0)?.trim().to_owned()))
}

fn quote<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let text = args.string(0)?;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    Ok(Value::from(out))
}

fn join<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let list = args.list(0)?;
    let separator = if args.len() > 1 { args.string(1)? } else { "" };
    let mut out = String::new();
    for (at, item) in list.iter().enumerate() {
        if at > 0 {
            out.push_str(separator);
        }
        match item? {
            Value::String(text) => out.push_str(&text),
            other => {
                return Err(EvalError::other(format_args!("join: invalid input: {}", other.type_name())));
            }
        }
        bounded(out.len())?;
    }
    Ok(Value::from(out))
}
