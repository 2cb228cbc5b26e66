//! Quantities such as `100m`, `1.5Gi`, `2e3`: parsing, canonical text, comparison and arithmetic.
//!
//! Enters: the text of a resource amount. Leaves: exact numbers (kept in nano units) and the canonical text.
//! Called by validation, scheduling and the node. Authority: k8s.io/apimachinery/pkg/api/resource.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// Upstream caps every quantity at 2^63-1 whole units.
const MAX: i128 = i64::MAX as i128 * NANO;

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text is not of the form `<sign><digits>[.<digits>][suffix]`.
    #[error(r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is fine, but the suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How a quantity was written, which decides how it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Powers of 1024: `Ki`, `Mi`.
    BinarySi,
    /// Powers of 1000: `m`, `k`, `M`.
    DecimalSi,
    /// `e3`, `E6`.
    DecimalExponent,
}

/// An exact amount. Equality, order and hash go by amount alone: `1000m` equals `1`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Default for Quantity {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// Reads a quantity. Amounts beyond 2^63-1 are capped, amounts below a nano are rounded away from zero.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse(text)
    }

    /// A whole number of units.
    pub fn from_value(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANO, format }
    }

    /// A number of thousandths.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// The amount in whole units, rounded up (away from zero, as upstream does), within i64.
    pub fn value(&self) -> i64 {
        self.scaled(NANO)
    }

    /// The amount in thousandths, rounded up, within i64.
    pub fn milli_value(&self) -> i64 {
        self.scaled(NANO / 1000)
    }

    /// The amount in billionths, exact.
    pub fn nano_value(&self) -> i128 {
        self.nanos
    }

    /// The amount as a float, for ratios only.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// How the amount is printed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the amount is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nanos.signum() as i32
    }

    /// Adds, capped at the largest quantity; the format of a zero gives way to the other's.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos).clamp(-MAX, MAX), format }
    }

    fn scaled(&self, unit: i128) -> i64 {
        let (quotient, rest) = (self.nanos / unit, self.nanos % unit);
        let rounded = if rest == 0 { quotient } else { quotient + self.nanos.signum() };
        rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

/// The exponent of a suffix: powers of two, or powers of ten.
enum Scale {
    Two(u32),
    Ten(i32),
}

fn scale(suffix: &str) -> Option<(Scale, Format)> {
    let ten = |e| Some((Scale::Ten(e), Format::DecimalSi));
    let two = |e| Some((Scale::Two(e), Format::BinarySi));
    match suffix {
        "Ki" => two(10),
        "Mi" => two(20),
        "Gi" => two(30),
        "Ti" => two(40),
        "Pi" => two(50),
        "Ei" => two(60),
        "n" => ten(-9),
        "u" => ten(-6),
        "m" => ten(-3),
        "" => ten(0),
        "k" => ten(3),
        "M" => ten(6),
        "G" => ten(9),
        "T" => ten(12),
        "P" => ten(15),
        "E" => ten(18),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            Some((Scale::Ten(exponent.parse().ok()?), Format::DecimalExponent))
        }
    }
}

fn parse(text: &str) -> Result<Quantity, QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        None => return Err(QuantityError::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') {
        return Err(QuantityError::Format);
    }
    let (scale, mut format) = scale(suffix).ok_or_else(|| suffix_error(suffix))?;
    let magnitude = magnitude(whole, part, &scale).min(MAX);
    // Upstream prints binary quantities below 1024 that are no whole number as decimal ones.
    if format == Format::BinarySi && magnitude < 1024 * NANO && magnitude % NANO != 0 {
        format = Format::DecimalSi;
    }
    Ok(Quantity { nanos: if negative { -magnitude } else { magnitude }, format })
}

/// Upstream tells a suffix of the right letters from one that breaks the pattern.
fn suffix_error(suffix: &str) -> QuantityError {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    if digits.bytes().all(|b| b.is_ascii_digit()) { QuantityError::Suffix } else { QuantityError::Format }
}

/// The nanos of `whole.part` times the scale, rounded up, saturating far above [`MAX`].
fn magnitude(whole: &str, part: &str, scale: &Scale) -> i128 {
    let whole = whole.trim_start_matches('0');
    let part = part.trim_end_matches('0');
    if whole.is_empty() && part.is_empty() {
        return 0;
    }
    // The digits as an integer, with the power of ten that belongs to them.
    let digits: String = [whole, part].concat();
    let significant = digits.trim_start_matches('0');
    let (kept, mut inexact) = if significant.len() > 30 {
        (&significant[..30], significant[30..].bytes().any(|b| b != b'0'))
    } else {
        (significant, false)
    };
    let mut number: i128 = kept.parse().unwrap_or(0);
    let mut power = (significant.len() - kept.len()) as i64 - part.len() as i64 + 9;
    match scale {
        Scale::Ten(e) => power += i64::from(*e),
        Scale::Two(bits) => match number.checked_mul(1i128 << bits) {
            Some(n) => number = n,
            None if power < 0 => {
                // A long fraction: drop digits that lie below a nano even after scaling.
                while power < 0 && number.checked_mul(1i128 << bits).is_none() {
                    inexact |= number % 10 != 0;
                    number /= 10;
                    power += 1;
                }
                number = number.checked_mul(1i128 << bits).unwrap_or(i128::MAX);
            }
            None => return i128::MAX,
        },
    }
    if power >= 0 {
        return 10i128
            .checked_pow(power.min(40) as u32)
            .and_then(|p| number.checked_mul(p))
            .and_then(|n| n.checked_add(i128::from(inexact)))
            .unwrap_or(i128::MAX);
    }
    match 10i128.checked_pow((-power).min(40) as u32) {
        Some(divisor) => number / divisor + i128::from(inexact || number % divisor != 0),
        None => 1,
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let sign = if self.nanos < 0 { "-" } else { "" };
        let magnitude = self.nanos.unsigned_abs() as i128;
        let binary = self.format == Format::BinarySi && magnitude >= 1024 * NANO && magnitude % NANO == 0;
        if binary {
            let mut value = magnitude / NANO;
            let mut step = 0;
            while value % 1024 == 0 && step < 6 {
                value /= 1024;
                step += 1;
            }
            return write!(f, "{sign}{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let (mut value, mut exponent) = (magnitude, -9i32);
        while value % 1000 == 0 && exponent < 18 {
            value /= 1000;
            exponent += 3;
        }
        let index = ((exponent + 9) / 3) as usize;
        if self.format == Format::DecimalExponent {
            return if exponent == 0 {
                write!(f, "{sign}{value}")
            } else {
                write!(f, "{sign}{value}e{exponent}")
            };
        }
        write!(f, "{sign}{value}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][index])
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
impl std::ops::Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}
impl std::ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl std::ops::Neg for Quantity {
    type Output = Self;
    fn neg(self) -> Self {
        Self { nanos: -self.nanos, ..self }
    }
}
impl std::ops::Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.saturating_add(-other)
    }
}
impl std::ops::SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, |a, b| a + b)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        from_json(&value).map_err(serde::de::Error::custom)
    }
}

/// Reads a quantity from its JSON form: a string or a bare number; null is zero, as upstream has it.
pub fn from_json(value: &serde_json::Value) -> Result<Quantity, QuantityError> {
    match value {
        serde_json::Value::String(s) => parse(s),
        serde_json::Value::Number(n) => parse(&n.to_string()),
        serde_json::Value::Null => Ok(Quantity::ZERO),
        _ => Err(QuantityError::Format),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    #[test]
    fn canonical_text() {
        for (text, canonical) in [
            ("0", "0"),
            ("0Ki", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Mi", "512Ki"),
            ("1000Ki", "1000Ki"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1E6", "1e6"),
            ("100e-3", "100e-3"),
            ("12345", "12345"),
            ("-5", "-5"),
            ("+5k", "5k"),
            (".5", "500m"),
            ("5.", "5"),
            ("1n", "1n"),
            ("0.0000000001", "1n"),
            ("9999999999999999999", "9223372036854775807"),
            ("8Ei", "9223372036854775807"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
            ("00001", "1"),
        ] {
            assert_eq!(q(text).to_string(), canonical, "{text}");
            assert_eq!(q(&q(text).to_string()), q(text), "{text} read back");
        }
    }

    #[test]
    fn refuses() {
        for bad in [
            "", "-", ".", "1.2.3", "abc", "1 ", " 1", "1i", "1K", "1mi", "1e", "1e+", "1.1.M", "--1", "1E1.5",
        ] {
            assert!(Quantity::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            Quantity::parse("x").unwrap_err().to_string(),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        );
        assert_eq!(Quantity::parse("1x").unwrap_err(), QuantityError::Format);
        assert_eq!(Quantity::parse("1K").unwrap_err(), QuantityError::Suffix);
    }

    #[test]
    fn numbers() {
        assert_eq!(q("100m").value(), 1);
        assert_eq!(q("1100m").value(), 2);
        assert_eq!(q("-1100m").value(), -2);
        assert_eq!(q("1u").milli_value(), 1);
        assert_eq!(q("2").milli_value(), 2000);
        assert_eq!(q("1Gi").value(), 1 << 30);
        assert_eq!(q("1Ei").milli_value(), i64::MAX);
        assert!(q("1Gi") > q("1G") && q("1000m") == q("1"));
        assert_eq!((q("1Gi") - q("512Mi")).to_string(), "512Mi");
        assert_eq!((q("500m") + q("500m")).to_string(), "1");
        assert_eq!((Quantity::ZERO + q("1Gi")).to_string(), "1Gi");
        assert_eq!([q("1"), q("250m")].into_iter().sum::<Quantity>().to_string(), "1250m");
        assert_eq!(Quantity::from_value(2048, Format::BinarySi).to_string(), "2Ki");
    }

    #[test]
    fn serde_forms() {
        assert_eq!(serde_json::from_str::<Quantity>("2").unwrap(), q("2"));
        assert_eq!(serde_json::from_str::<Quantity>("0.5").unwrap().to_string(), "500m");
        assert_eq!(serde_json::to_string(&q("1024Ki")).unwrap(), "\"1Mi\"");
        assert!(serde_json::from_str::<Quantity>("[]").is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn canonical_is_stable(digits in "[+-]?[0-9]{0,40}(\\.[0-9]{0,40})?", suffix in "(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|e[0-9]{1,3}|E-[0-9]{1,3})?") {
            if let Ok(a) = Quantity::parse(&format!("{digits}{suffix}")) {
                let text = a.to_string();
                proptest::prop_assert_eq!(Quantity::parse(&text).unwrap(), a);
                proptest::prop_assert_eq!(Quantity::parse(&text).unwrap().to_string(), text);
            }
        }
    }
}
