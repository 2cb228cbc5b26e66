//! `"%s is %d".format([..])`: cel-go's format, in its default locale, US English.

use xebec_api::gotext::quote;

use super::standard::text_of;
use super::{Args, bounded};
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::types::Type;
use crate::value::{List, Map, Value};

/// Digits after the point, where the clause gives none.
const PRECISION: usize = 6;
/// cel-go would pad with as many digits as are asked for; no double has more than this many.
const MAX_PRECISION: usize = 1100;
/// Lists and maps nest this deep in the output.
const MAX_DEPTH: usize = 128;

/// A piece of a format string.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'s> {
    Text(&'s str),
    Clause(Clause),
}

/// What one argument becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    /// `%s`: anything.
    String,
    /// `%d`: an integer.
    Decimal,
    /// `%f`, `%.3f`: a double.
    Fixed(usize),
    /// `%e`: a double.
    Scientific(usize),
    /// `%b`: an integer or a boolean.
    Binary,
    /// `%x`, `%X`: an integer, a string or octets.
    Hex(bool),
    /// `%o`: an integer.
    Octal,
}

impl Piece<'_> {
    /// The clause, if it is one.
    pub(crate) fn clause(self) -> Option<Clause> {
        match self {
            Piece::Clause(clause) => Some(clause),
            Piece::Text(_) => None,
        }
    }
}

/// Reads a format string for so many arguments. Errors: in cel-go's words.
pub(crate) fn pieces(text: &str, args: usize) -> Result<Vec<Piece<'_>>, String> {
    let mut out = Vec::new();
    let mut used = 0;
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        if at > 0 {
            out.push(Piece::Text(&rest[..at]));
        }
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push(Piece::Text("%"));
            rest = after;
            continue;
        }
        if used >= args {
            return Err(format!("index {used} out of range"));
        }
        if rest.is_empty() {
            return Err("unexpected end of string".to_owned());
        }
        let (clause, after) =
            clause(rest).map_err(|why| format!("could not parse formatting clause: {why}"))?;
        out.push(Piece::Clause(clause));
        rest = after;
        used += 1;
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest));
    }
    Ok(out)
}

fn clause(text: &str) -> Result<(Clause, &str), String> {
    let (precision, rest) = match text.strip_prefix('.') {
        None => (PRECISION, text),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit());
            let end =
                end.ok_or("error while parsing precision: could not find end of precision specifier")?;
            let digits = &rest[..end];
            let precision = digits.parse::<usize>().map_err(|_| {
                let quoted = quote(digits);
                format!(
                    "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing {quoted}: invalid syntax"
                )
            })?;
            (precision.min(MAX_PRECISION), &rest[end..])
        }
    };
    let letter = rest.chars().next().ok_or("unexpected end of string")?;
    let clause = match letter {
        's' => Clause::String,
        'd' => Clause::Decimal,
        'f' => Clause::Fixed(precision),
        'e' => Clause::Scientific(precision),
        'b' => Clause::Binary,
        'x' => Clause::Hex(false),
        'X' => Clause::Hex(true),
        'o' => Clause::Octal,
        other => return Err(format!("unrecognized formatting clause \"{other}\"")),
    };
    Ok((clause, &rest[letter.len_utf8()..]))
}

impl Clause {
    /// Whether an argument of a type could be right.
    pub(crate) fn takes(self, ty: &Type) -> bool {
        use Type::{Bool, Bytes, Double, Int, String, Uint};
        match (self, ty) {
            (_, Type::Dyn | Type::Any | Type::Var(_)) => true,
            (Clause::String, Type::Optional(_) | Type::Object(_) | Type::Opaque(_)) => false,
            (Clause::String, _) => true,
            (Clause::Decimal | Clause::Octal, Int | Uint) => true,
            (Clause::Fixed(_) | Clause::Scientific(_), Double | String) => true,
            (Clause::Binary, Int | Uint | Bool) => true,
            (Clause::Hex(_), Int | Uint | String | Bytes) => true,
            _ => false,
        }
    }

    /// Why an argument of a type is wrong.
    pub(crate) fn refuse(self, name: &str) -> String {
        match self {
            Clause::String => format!(
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {name}"
            ),
            Clause::Decimal => format!("decimal clause can only be used on integers, was given {name}"),
            Clause::Fixed(_) => format!("fixed-point clause can only be used on doubles, was given {name}"),
            Clause::Scientific(_) => {
                format!("scientific clause can only be used on doubles, was given {name}")
            }
            Clause::Binary => format!("only integers and bools can be formatted as binary, was given {name}"),
            Clause::Hex(_) => {
                format!("only integers, byte buffers, and strings can be formatted as hex, was given {name}")
            }
            Clause::Octal => format!("octal clause can only be used on integers, was given {name}"),
        }
    }
}

/// `format`.
pub(super) fn format<'a>(ctx: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (text, values) = (args.string(0)?, args.list(1)?);
    let pieces = pieces(text, values.len()).map_err(EvalError::Other)?;
    let mut out = String::new();
    let mut used = 0;
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Clause(clause) => {
                let value = values.get(used)?;
                used += 1;
                let made = clause.format(ctx, &value).map_err(|error| match error {
                    EvalError::Other(why) => EvalError::other(format_args!("error during formatting: {why}")),
                    other => other,
                })?;
                out.push_str(&made);
            }
        }
        bounded(out.len())?;
    }
    Ok(Value::from(out))
}

impl Clause {
    fn format(self, ctx: &mut Ctx, value: &Value<'_>) -> EvalResult<String> {
        Ok(match (self, value) {
            (Clause::String, _) => text(ctx, value, 0)?,
            (Clause::Decimal, Value::Int(n)) => n.to_string(),
            (Clause::Decimal, Value::Uint(n)) => n.to_string(),
            (Clause::Octal, Value::Int(n)) => signed(*n, |n| format!("{n:o}")),
            (Clause::Octal, Value::Uint(n)) => format!("{n:o}"),
            (Clause::Binary, Value::Int(n)) => signed(*n, |n| format!("{n:b}")),
            (Clause::Binary, Value::Uint(n)) => format!("{n:b}"),
            (Clause::Binary, Value::Bool(b)) => u8::from(*b).to_string(),
            (Clause::Hex(upper), Value::Int(n)) => signed(*n, |n| hex(n, upper)),
            (Clause::Hex(upper), Value::Uint(n)) => hex(*n, upper),
            (Clause::Hex(upper), Value::String(s)) => octets(s.as_bytes(), upper),
            (Clause::Hex(upper), Value::Bytes(b)) => octets(b, upper),
            (Clause::Fixed(_) | Clause::Scientific(_), Value::String(s)) => match &**s {
                "NaN" => "NaN".to_owned(),
                "Infinity" => "\u{221e}".to_owned(),
                "-Infinity" => "-\u{221e}".to_owned(),
                _ => return Err(EvalError::Other(self.refuse("string"))),
            },
            (Clause::Fixed(precision), Value::Double(d)) => {
                special(*d).unwrap_or_else(|| grouped(&format!("{d:.precision$}")))
            }
            (Clause::Scientific(precision), Value::Double(d)) => {
                special(*d).unwrap_or_else(|| scientific(*d, precision))
            }
            _ => return Err(EvalError::Other(self.refuse(value.type_name()))),
        })
    }
}

fn signed(n: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", digits(n.unsigned_abs()))
}

fn hex(n: u64, upper: bool) -> String {
    if upper { format!("{n:X}") } else { format!("{n:x}") }
}

fn octets(bytes: &[u8], upper: bool) -> String {
    bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect()
}

/// Digits before the point in groups of three, as the English locale has it.
fn grouped(text: &str) -> String {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out.push_str(fraction);
    out
}

fn special(d: f64) -> Option<String> {
    if d.is_nan() {
        Some("NaN".to_owned())
    } else if d.is_infinite() {
        Some(if d > 0.0 { "\u{221e}" } else { "-\u{221e}" }.to_owned())
    } else {
        None
    }
}

/// A number as digits times a power of ten. The locale-aware printer that cel-go uses writes a multiplication sign and a
/// superscript exponent.
fn scientific(d: f64, precision: usize) -> String {
    const SUPERSCRIPT: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let text = format!("{d:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { "\u{207b}" } else { "" };
    let padded = format!("{:02}", exponent.abs());
    let raised: String = padded.chars().map(|c| SUPERSCRIPT[(c as usize - '0' as usize) % 10]).collect();
    format!("{digits}\u{202f}×\u{202f}10{sign}{raised}")
}

/// `%s` of a value.
fn text(ctx: &mut Ctx, value: &Value<'_>, depth: usize) -> EvalResult<String> {
    ctx.work.take(1)?;
    if depth > MAX_DEPTH {
        return Err(EvalError::other("value is nested too deeply to be formatted"));
    }
    match value {
        Value::Null => Ok("null".to_owned()),
        Value::List(items) => list(ctx, items, depth),
        Value::Map(entries) => map(ctx, entries, depth),
        Value::Optional(_) | Value::Object(_) | Value::Opaque(_) => {
            Err(EvalError::Other(Clause::String.refuse(value.type_name())))
        }
        other => text_of(other).map(|text| text.to_string()),
    }
}

/// A value inside a list or a map: written so that its type shows.
fn inner(ctx: &mut Ctx, value: &Value<'_>, depth: usize) -> EvalResult<String> {
    Ok(match value {
        Value::String(s) => quote(s),
        Value::Bytes(_) => format!("b{}", quote(&text(ctx, value, depth)?)),
        Value::Timestamp(_) => format!("timestamp({})", quote(&text(ctx, value, depth)?)),
        Value::Duration(_) => format!("duration({})", quote(&text(ctx, value, depth)?)),
        Value::Double(d) if d.is_finite() => format!("{d:.PRECISION$}"),
        Value::Double(d) => quote(&special(*d).unwrap_or_default().replace('\u{221e}', "Inf")),
        other => text(ctx, other, depth)?,
    })
}

fn list(ctx: &mut Ctx, items: &List<'_>, depth: usize) -> EvalResult<String> {
    let mut out = String::from("[");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        out.push_str(&inner(ctx, &item?, depth + 1)?);
        bounded(out.len())?;
    }
    out.push(']');
    Ok(out)
}

fn map(ctx: &mut Ctx, entries: &Map<'_>, depth: usize) -> EvalResult<String> {
    let mut pairs = Vec::new();
    for key in entries.keys() {
        let value = entries.find(&key)?.unwrap_or(Value::Null);
        let key = match &key {
            Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Uint(_) => {
                inner(ctx, &key, depth + 1)?
            }
            other => {
                let name = other.type_name();
                return Err(EvalError::other(format_args!(
                    "no formatting function for map key of type {name}"
                )));
            }
        };
        pairs.push((key, inner(ctx, &value, depth + 1)?));
    }
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", pairs.join(", ")))
}
