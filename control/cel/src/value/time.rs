//! Instants and spans of time as text.

use jiff::civil::{DateTime, datetime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use xebec_api::time::parse_go_duration;

use crate::error::{EvalError, EvalResult};

/// An instant, in nanoseconds since 1970, in the years 1 to 9999 (UTC): the range of the language, a little wider than
/// that of the time library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(i128);

const EPOCH: DateTime = datetime(1970, 1, 1, 0, 0, 0, 0);
/// 0001-01-01T00:00:00Z.
const MIN: i128 = -62_135_596_800_000_000_000;
/// 9999-12-31T23:59:59.999999999Z.
const MAX: i128 = 253_402_300_799_999_999_999;
const SECOND: i128 = 1_000_000_000;

impl Instant {
    /// The instant so many nanoseconds after 1970, or `None` outside the years 1 to 9999.
    pub fn from_nanos(nanos: i128) -> Option<Instant> {
        (MIN..=MAX).contains(&nanos).then_some(Instant(nanos))
    }

    /// Nanoseconds since 1970.
    pub fn nanos(self) -> i128 {
        self.0
    }

    /// Seconds since 1970, rounded towards the past.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(SECOND) as i64
    }

    /// Whether it is Go's zero time, the first instant of all.
    pub(crate) fn is_zero(self) -> bool {
        self.0 == MIN
    }

    /// The civil time so many seconds east of UTC; `None` beyond the year 9999 or before the year 1.
    fn civil(self, east: i32) -> Option<DateTime> {
        let seconds = self.seconds() + i64::from(east);
        let nanos = self.0.rem_euclid(SECOND) as i32;
        EPOCH.checked_add(SignedDuration::new(seconds, nanos)).ok()
    }

    /// The instant of a civil time so many seconds east of UTC.
    pub(crate) fn from_civil(civil: DateTime, east: i32) -> Option<Instant> {
        let since = civil.duration_since(EPOCH).as_nanos();
        Instant::from_nanos(since - i128::from(east) * SECOND)
    }
}

impl From<Timestamp> for Instant {
    fn from(at: Timestamp) -> Self {
        Instant(at.as_nanosecond().clamp(MIN, MAX))
    }
}

/// Reads RFC 3339, as Go's `time.RFC3339` layout takes it: a `T`, seconds, any fraction, `Z` or an offset.
pub(crate) fn parse_timestamp(text: &str) -> Option<Instant> {
    let bytes = text.as_bytes();
    let shape = |at: usize, c: u8| bytes.get(at) == Some(&c);
    if !(text.is_ascii()
        && shape(4, b'-')
        && shape(7, b'-')
        && shape(10, b'T')
        && shape(13, b':')
        && shape(16, b':'))
    {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i32> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mut at = 19;
    let mut nanos = 0i32;
    if matches!(bytes.get(19), Some(b'.' | b',')) {
        let digits = text[20..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let fraction: String = text[20..20 + digits.min(9)].to_owned();
        nanos = format!("{fraction:0<9}").parse().ok()?;
        at = 20 + digits;
    }
    let offset = match text.get(at..)? {
        "Z" => 0,
        zone if zone.len() == 6 && zone.as_bytes()[3] == b':' => {
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            let sign = match zone.as_bytes()[0] {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            if hours > 24 || minutes > 60 {
                return None;
            }
            sign * (hours * 3600 + minutes * 60)
        }
        _ => return None,
    };
    let civil = DateTime::new(
        i16::try_from(number(0, 4)?).ok()?,
        number(5, 7)? as i8,
        number(8, 10)? as i8,
        number(11, 13)? as i8,
        number(14, 16)? as i8,
        number(17, 19)? as i8,
        nanos,
    )
    .ok()?;
    Instant::from_civil(civil, offset)
}

/// `2026-01-02T03:04:05.006Z`: the fraction without trailing zeros, none if it is zero (Go's RFC3339Nano).
pub(crate) fn format_timestamp(instant: Instant) -> String {
    let civil = instant.civil(0).unwrap_or(EPOCH);
    let mut out = civil.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let nanos = civil.subsec_nanosecond();
    if nanos != 0 {
        out.push('.');
        out.push_str(format!("{nanos:09}").trim_end_matches('0'));
    }
    out.push('Z');
    out
}

/// Seconds as the shortest decimal, with an `s`: `90s`, `0.25s`.
pub(crate) fn format_duration(nanos: i64) -> String {
    // Go computes the whole seconds and the rest apart, to lose no precision on the way to a double.
    let seconds = (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9;
    format!("{seconds}s")
}

/// A duration in a schema's `format: duration`: Go's form, or words (`3 days`, `2 weeks`) as go-openapi takes them.
pub(crate) fn parse_strfmt_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_go_duration(text) {
        return Some(nanos);
    }
    let mut total: i64 = 0;
    let mut rest = text.trim_start();
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: i64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        total = total.checked_add(amount.checked_mul(unit(&after[..end])?)?)?;
        any = true;
        rest = after[end..].trim_start();
    }
    any.then_some(total)
}

fn unit(word: &str) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    Some(match word {
        "ns" | "nano" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "μs" | "micro" | "micros" | "microsecond" | "microseconds" => 1000,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600 * SECOND,
        "d" | "day" | "days" => 24 * 3600 * SECOND,
        "w" | "wk" | "week" | "weeks" => 7 * 24 * 3600 * SECOND,
        _ => return None,
    })
}

/// The civil time of an instant in a zone: a name of the time zone database, or `[+-]HH:MM`; UTC without.
pub(crate) fn civil(instant: Instant, zone: Option<&str>) -> EvalResult<DateTime> {
    let east = match zone {
        None | Some("" | "UTC") => 0,
        Some(zone) => offset(instant, zone)?,
    };
    instant.civil(east).ok_or_else(|| EvalError::other("timestamp overflow"))
}

/// Seconds east of UTC.
fn offset(instant: Instant, zone: &str) -> EvalResult<i32> {
    let Some((hours, minutes)) = zone.split_once(':') else {
        let found =
            TimeZone::get(zone).map_err(|_| EvalError::other(format_args!("unknown time zone {zone}")))?;
        // The last hours of the year 9999 are beyond the time library; rules do not change then.
        let nanos = instant.0.clamp(Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
        let at = Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::UNIX_EPOCH);
        return Ok(found.to_offset(at).seconds());
    };
    let number = |text: &str| -> EvalResult<i64> {
        text.parse::<i32>().map(i64::from).map_err(|_| {
            let quoted = xebec_api::gotext::quote(text);
            EvalError::other(format_args!("strconv.Atoi: parsing {quoted}: invalid syntax"))
        })
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if !(0..=59).contains(&minutes) {
        return Err(EvalError::other(format_args!("timezone offset minutes out of range [0, 59]: {zone}")));
    }
    let minutes = hours * 60 + if zone.starts_with('-') { -minutes } else { minutes };
    i32::try_from(minutes * 60)
        .map_err(|_| EvalError::other(format_args!("timezone offset out of range: {zone}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_come_and_go() {
        for (text, out) in [
            ("2009-02-13T23:31:30Z", "2009-02-13T23:31:30Z"),
            ("2009-02-13T23:31:30.5Z", "2009-02-13T23:31:30.5Z"),
            ("2009-02-13T23:31:30.123456789+01:00", "2009-02-13T22:31:30.123456789Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(parse_timestamp(text).map(format_timestamp).as_deref(), Some(out), "{text}");
        }
        for bad in
            ["", "2009-02-13", "2009-02-13 23:31:30Z", "2009-02-30T00:00:00Z", "2009-02-13T23:31:30", "x"]
        {
            assert_eq!(parse_timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_in_words() {
        assert_eq!(parse_strfmt_duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_strfmt_duration("3 days"), Some(3 * 86_400_000_000_000));
        assert_eq!(parse_strfmt_duration("1 week 2 days"), Some(9 * 86_400_000_000_000));
        assert_eq!(parse_strfmt_duration("x"), None);
        assert_eq!(format_duration(90_000_000_000), "90s");
        assert_eq!(format_duration(-1_500_000), "-0.0015s");
    }
}
