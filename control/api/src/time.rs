//! Times and durations in the forms the API writes them.
//!
//! Enters: instants the caller took (nothing here reads a clock). Leaves: RFC 3339 text and Go duration text.

use jiff::{SignedDuration, Timestamp};

/// `2026-01-02T03:04:05Z`: a metav1.Time. Fractions of a second are cut off.
pub fn format_rfc3339_seconds(at: Timestamp) -> String {
    jiff::tz::Offset::UTC.to_datetime(at).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-02T03:04:05.000006Z`: a metav1.MicroTime, always with six digits.
pub fn format_rfc3339_micro(at: Timestamp) -> String {
    jiff::tz::Offset::UTC.to_datetime(at).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Short name of [`format_rfc3339_micro`].
pub fn micro(at: Timestamp) -> String {
    format_rfc3339_micro(at)
}

/// Reads an RFC 3339 time with any offset; `None` when it is malformed or, in UTC, not of the years 0 to 9999.
///
/// The form is exactly Go's `time.RFC3339`: other forms of ISO 8601 (no seconds, signed years, a blank for the T), which
/// the library behind would read, are refused.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(19)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shaped = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s })
    };
    let offset = match rest.strip_prefix('.') {
        None => rest,
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (fraction, offset) = rest.split_at(end);
            if !digits(fraction) {
                return None;
            }
            offset
        }
    };
    let zoned = offset == "Z" || shaped(offset, "+00:00") || shaped(offset, "-00:00");
    if !shaped(date, "0000-00-00T00:00:00") || !zoned {
        return None;
    }
    let at: Timestamp = text.parse().ok()?;
    (0..=9999).contains(&jiff::tz::Offset::UTC.to_datetime(at).year()).then_some(at)
}

/// How long ago `then` was, as kubectl's tables say it: `5s`, `3m10s`, `2d4h`, `<unknown>` without a time.
pub fn human_age(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |t| human_duration(now.duration_since(t)))
}

/// A duration in at most two units, as k8s.io/apimachinery/pkg/util/duration.HumanDuration prints it.
pub fn human_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => two(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

/// A duration as Go's `time.Duration.String` writes it: `1m30s`, `1.5s`, `250ms`, `0s`. Input in nanoseconds.
pub fn format_go_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    if n < 1_000_000_000 {
        let (unit, size) = match n {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(n, size));
    }
    let minutes = n / 60_000_000_000;
    let rest = decimal(n % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, m) => format!("{sign}{m}m{rest}s"),
        (h, m) => format!("{sign}{h}h{m}m{rest}s"),
    }
}

fn decimal(n: u64, size: u64) -> String {
    let (whole, part) = (n / size, n % size);
    if part == 0 {
        return whole.to_string();
    }
    let width = size.ilog10() as usize;
    let digits = format!("{part:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// Reads a Go duration (`1h30m`, `1.5s`, `-250ms`) into nanoseconds; `None` when malformed or beyond 64 bits.
pub fn parse_go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let size: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, size)?)?;
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn scaled(number: &str, size: i128) -> Option<i128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || whole.len() > 19 || part.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part = &part[..part.len().min(18)];
    let fraction: i128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    Some(whole * size + fraction * size / 10i128.pow(part.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339() {
        let t: Timestamp = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        assert_eq!(format_rfc3339_seconds(t), "2026-01-02T03:04:05Z");
        assert_eq!(micro(t), "2026-01-02T03:04:05.123456Z");
        assert_eq!(
            parse_rfc3339("2026-01-02T04:04:05+01:00").map(format_rfc3339_seconds).unwrap(),
            "2026-01-02T03:04:05Z"
        );
        for other in [
            "yesterday",
            "",
            "2026-01-02",
            "2026-01-02T03:04Z",
            "2026-01-02 03:04:05Z",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+01",
            "-002026-01-02T03:04:05Z",
            "0000-01-01T00:00:00+23:00",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05Z[UTC]",
            "2026-01-02T03:04:0\u{e9}Z",
        ] {
            assert_eq!(parse_rfc3339(other), None, "{other}");
        }
    }

    #[test]
    fn go_durations() {
        for (text, nanos) in [
            ("0s", 0),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("1h0m0s", 3_600_000_000_000),
            ("250ms", 250_000_000),
            ("1.5µs", 1_500),
            ("-2s", -2_000_000_000),
        ] {
            assert_eq!(format_go_duration(nanos), text);
            assert_eq!(parse_go_duration(text), Some(nanos), "{text}");
        }
        assert_eq!(parse_go_duration("1h"), Some(3_600_000_000_000));
        for bad in ["", "1", "s", "1x", "-", "1..5s", "99999999999999999999h"] {
            assert_eq!(parse_go_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn ages() {
        let age = |s: i64| human_duration(SignedDuration::from_secs(s));
        assert_eq!(age(-5), "<invalid>");
        assert_eq!(age(119), "119s");
        assert_eq!(age(190), "3m10s");
        assert_eq!(age(600), "10m");
        assert_eq!(age(3600 * 3 + 300), "3h5m");
        assert_eq!(age(3600 * 50), "2d2h");
        assert_eq!(age(3600 * 24 * 10), "10d");
        assert_eq!(age(3600 * 24 * 800), "2y70d");
    }
}
