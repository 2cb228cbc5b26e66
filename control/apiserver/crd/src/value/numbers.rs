//! Numbers as Go's unstructured JSON holds them: whole ones as int64, all others as float64.

use serde_json::{Number, Value};

use super::outcome::{Issue, Outcome};
use super::place::Place;
use crate::schema::Schema;

/// A number of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Num {
    /// A whole number.
    Int(i64),
    /// Any other.
    Float(f64),
}

impl Num {
    /// A JSON number.
    pub fn of(number: &Number) -> Self {
        number.as_i64().map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
    }

    /// Whether it is a whole number in a float's range of exact integers.
    pub fn is_whole(self) -> bool {
        match self {
            Self::Int(_) => true,
            Self::Float(float) => is_whole(float),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "upstream compares in float64 too")]
    fn as_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }
}

/// Whether a float is an integer for JSON, as go-openapi's swag says: in the safe range, up to a rounding error.
fn is_whole(float: f64) -> bool {
    const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
    const EPSILON: f64 = 1e-9;
    if !float.is_finite() || float.abs() > MAX_SAFE {
        return false;
    }
    let rounded = float.round();
    rounded == float || (rounded != 0.0 && (float - rounded).abs() < EPSILON * float.abs().max(rounded.abs()))
}

/// What the schema says about numbers.
pub fn check(number: &Number, schema: &Schema, place: &Place<'_>) -> Outcome {
    let num = Num::of(number);
    let range = Range::of(schema);
    let mut found = Outcome::default();
    range.check(num, "Checked", place, &mut found);
    let rules = &schema.rules;
    if let Some(factor) = rules.multiple_of {
        let fits = range.check(Num::Float(factor), "MultipleOf", place, &mut found);
        multiple(num, factor, fits, place, &mut found);
    }
    if let Some(max) = rules.maximum {
        let fits = range.check(Num::Float(max), "Maximum boundary", place, &mut found);
        bound(num, max, fits, rules.exclusive_maximum, &MAXIMUM, place, &mut found);
    }
    if let Some(min) = rules.minimum {
        let fits = range.check(Num::Float(min), "Minimum boundary", place, &mut found);
        bound(num, min, fits, rules.exclusive_minimum, &MINIMUM, place, &mut found);
    }
    found.matches += 1;
    found
}

/// The range of numbers a type and a format have.
struct Range<'a> {
    kind: &'a str,
    format: &'a str,
}

impl<'a> Range<'a> {
    fn of(schema: &'a Schema) -> Self {
        let (kind, format) = match (schema.kind.as_str(), schema.format.as_str()) {
            _ if schema.ext.int_or_string => ("", ""),
            ("integer", format @ ("int32" | "int64")) => ("integer", format),
            ("integer", _) => ("integer", ""),
            ("number", format @ ("float" | "double")) => ("number", format),
            ("number", _) => ("number", ""),
            _ => ("", ""),
        };
        Self { kind, format }
    }

    /// Notes a number that does not fit; whether it does.
    fn check(&self, num: Num, what: &str, place: &Place<'_>, found: &mut Outcome) -> bool {
        if self.has(num) {
            return true;
        }
        let Self { kind, format } = self;
        let place = place.text();
        found.add(Issue::plain(if format.is_empty() {
            format!("{what} value must be of type {kind} (default format) in {place}")
        } else {
            format!("{what} value must be of type {kind} with format {format} in {place}")
        }));
        false
    }

    #[expect(clippy::cast_possible_truncation, reason = "whether it overflows is the question")]
    #[expect(clippy::cast_precision_loss, reason = "the bounds of i64 are exact as powers of two")]
    fn has(&self, num: Num) -> bool {
        match (self.kind, num) {
            ("integer", Num::Int(int)) => self.format != "int32" || i32::try_from(int).is_ok(),
            ("integer", Num::Float(float)) => {
                let bounds = if self.format == "int32" {
                    f64::from(i32::MIN)..f64::from(i32::MAX) + 1.0
                } else {
                    i64::MIN as f64..i64::MAX as f64
                };
                float.trunc() == float && bounds.contains(&float)
            }
            ("number", num) if self.format == "float" => (num.as_f64() as f32).is_finite(),
            _ => true,
        }
    }
}

struct Bound {
    holds: fn(std::cmp::Ordering, bool) -> bool,
    inclusive: &'static str,
    exclusive: &'static str,
}

const MAXIMUM: Bound = Bound {
    holds: |order, exclusive| order.is_lt() || (order.is_eq() && !exclusive),
    inclusive: "should be less than or equal to",
    exclusive: "should be less than",
};
const MINIMUM: Bound = Bound {
    holds: |order, exclusive| order.is_gt() || (order.is_eq() && !exclusive),
    inclusive: "should be greater than or equal to",
    exclusive: "should be greater than",
};

/// Whole numbers are compared as such, with the limit cut to a whole number.
#[expect(clippy::cast_possible_truncation, reason = "upstream cuts the limit of an integer too")]
fn bound(
    num: Num,
    limit: f64,
    native: bool,
    exclusive: bool,
    bound: &Bound,
    place: &Place<'_>,
    found: &mut Outcome,
) {
    let (order, shown) = match num {
        Num::Int(int) if native => (int.cmp(&(limit as i64)), (limit as i64).to_string()),
        _ => match num.as_f64().partial_cmp(&limit) {
            Some(order) => (order, go_float(limit)),
            None => return,
        },
    };
    if !(bound.holds)(order, exclusive) {
        let rule = if exclusive { bound.exclusive } else { bound.inclusive };
        found.add(Issue::invalid(place.text(), Some(json_of(num)), &format!("{rule} {shown}")));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "upstream cuts the factor of an integer too")]
fn multiple(num: Num, factor: f64, native: bool, place: &Place<'_>, found: &mut Outcome) {
    let (positive, fits, shown) = match num {
        Num::Int(int) if native => {
            let factor = factor as i64;
            (factor > 0, factor > 0 && int % factor == 0, factor.to_string())
        }
        _ => {
            let data = num.as_f64();
            let quotient = if factor < 1.0 { 1.0 / factor * data } else { data / factor };
            (factor > 0.0, is_whole(quotient), go_float(factor))
        }
    };
    if !positive {
        let message = format!("factor MultipleOf declared for {} must be positive: {shown}", place.text());
        let value = if matches!(num, Num::Int(_)) && native {
            Value::from(factor as i64)
        } else {
            json_of(Num::Float(factor))
        };
        found.add(Issue::with_message(place.text(), value, message));
    } else if !fits {
        let rule = format!("should be a multiple of {shown}");
        found.add(Issue::invalid(place.text(), Some(json_of(num)), &rule));
    }
}

fn json_of(num: Num) -> Value {
    match num {
        Num::Int(int) => Value::from(int),
        Num::Float(float) => Value::from(float),
    }
}

/// A float as Go's `%v` prints it: the fewest digits that mean it, with an exponent below 1e-4 and from 1e6 on.
pub fn go_float(float: f64) -> String {
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, size) = match exponent.strip_prefix('-') {
            Some(size) => ('-', size),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{size:0>2}");
    }
    format!("{float}")
}
