//! Regular expressions: `matches`, and Kubernetes' `find` and `findAll`. The syntax is RE2's, in which classes such as
//! `\d` are ASCII; patterns are rewritten for a library whose classes are Unicode.

use regex::{Regex, RegexBuilder};

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::Value;

pub(super) const DEFS: &[Def] = &[
    ("string_find_string", "string!find(string): string", find),
    ("string_find_all_string", "string!findAll(string): list(string)", find_all),
    ("string_find_all_string_int", "string!findAll(string, int): list(string)", find_all),
];

/// Octets that a compiled pattern may take.
const MAX_COMPILED: usize = 4 << 20;
/// Octets of the cache that matching may build.
const MAX_CACHE: usize = 1 << 20;
/// Steps that compiling a pattern is taken for, for each of its octets.
const COMPILE_STEPS: u64 = 200;

/// Compiles a pattern of RE2's syntax.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_CACHE)
        .nest_limit(200)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("error parsing regexp: expression nests too deeply: `{pattern}`")
            }
            other => format!("error parsing regexp: {other}"),
        })
}

/// Classes by their ASCII meaning, brackets in classes literally, `\Q..\E` quoted.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    let mut class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('Q') if !class => quoted(&mut rest, &mut out),
                Some(escaped) => escape(escaped, class, &mut out),
                None => out.push('\\'),
            },
            '[' if !class => {
                class = true;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket that comes first is itself.
                if rest.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            // Classes do not nest, but `[:alpha:]` may stand in one.
            '[' if rest.peek() == Some(&':') => out.push('['),
            '[' => out.push_str("\\["),
            ']' if class && out.ends_with(':') => out.push(']'),
            ']' => {
                class = false;
                out.push(']');
            }
            // Doubled, these would be operators on classes.
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            '-' if class && out.ends_with('-') && !out.ends_with("\\-") => out.push_str("\\-"),
            other => out.push(other),
        }
    }
    out
}

fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        if c == '\\' && rest.next_if_eq(&'E').is_some() {
            break;
        }
        text.push(c);
    }
    out.push_str(&regex::escape(&text));
}

fn escape(escaped: char, class: bool, out: &mut String) {
    let ascii = match (escaped, class) {
        ('d', false) => "[0-9]",
        ('d', true) => "0-9",
        ('D', _) => "[^0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('w', true) => "0-9A-Za-z_",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', false) => r"[\t\n\x0c\r ]",
        ('s', true) => r"\t\n\x0c\r ",
        ('S', _) => r"[^\t\n\x0c\r ]",
        ('b', false) => r"(?-u:\b)",
        _ => {
            out.push('\\');
            out.push(escaped);
            return;
        }
    };
    out.push_str(ascii);
}

/// The pattern of a call: the one compiled with the program, or compiled now.
fn pattern<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Regex> {
    if let Some(compiled) = &ctx.regex {
        return Ok(compiled.clone());
    }
    let text = args.string(1)?;
    ctx.work.take(COMPILE_STEPS * text.len() as u64)?;
    compile(text).map_err(EvalError::Other)
}

pub(super) fn matches<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let pattern = pattern(ctx, args)?;
    Ok(Value::Bool(pattern.is_match(args.string(0)?)))
}

/// The error that Kubernetes' functions put in front.
fn illegal(error: EvalError) -> EvalError {
    match error {
        EvalError::Other(why) => EvalError::other(format_args!("Illegal regex: {why}")),
        other => other,
    }
}

fn find<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let pattern = pattern(ctx, args).map_err(illegal)?;
    let found = pattern.find(args.string(0)?).map(|found| found.as_str().to_owned());
    Ok(Value::from(found.unwrap_or_default()))
}

fn find_all<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let most = if args.len() > 2 { usize::try_from(args.int(2)?).unwrap_or(usize::MAX) } else { usize::MAX };
    let pattern = pattern(ctx, args).map_err(illegal)?;
    let found = pattern.find_iter(args.string(0)?).take(most);
    Ok(Value::list(found.map(|found| Value::from(found.as_str().to_owned())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_re2_means() {
        for (pattern, text, matched) in [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢", false),
            (r"^[\w-]+$", "a-b_c", true),
            (r"^[\w-]+$", "é", false),
            (r"^[[a]+$", "[a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "&", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^[[:alpha:]0-9]+$", "abc1", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"\bfoo\b", "a foo b", true),
            (r"^\S+\s\S+$", "a b", true),
            (r"(?i)^ABC$", "abc", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), matched, "{pattern} {text}");
        }
        for bad in ["(", "[a", "a{2,1}", r"\8", "(?<=a)b", "*"] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}
