//! Schedules in Cron format: what is wrong with one, in the words of the library that upstream reads them with.
//!
//! Enters: a schedule's text. Leaves: the first mistake. Called by the rules of CronJobs. Authority: robfig/cron v3,
//! `ParseStandard`: an optional time zone in front, then five fields or a named schedule.

use xebec_api::gotext::quote;
use xebec_api::time::parse_go_duration;

/// The bounds and the names of a field.
type Bounds = (u64, u64, &'static [&'static str]);

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Bounds; 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, MONTHS), (0, 6, DAYS)];
const NAMED: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether the time zone's name is known.
pub fn is_zone(name: &str) -> bool {
    matches!(name, "" | "UTC") || jiff::tz::TimeZone::get(name).is_ok()
}

/// What is wrong with a schedule.
pub fn error(text: &str) -> Option<String> {
    let mut spec = text;
    if let Some(rest) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="))
        && let Some((zone, rest)) = rest.split_once(' ')
    {
        if !is_zone(zone) {
            return Some(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        spec = rest.trim();
    }
    if spec.starts_with('@') {
        return descriptor_error(spec);
    }
    let fields: Vec<&str> = spec.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let (count, shown) = (fields.len(), fields.join(" "));
        return Some(format!("expected exactly 5 fields, found {count}: [{shown}]"));
    }
    let parts = fields.iter().zip(FIELDS).flat_map(|(field, bounds)| {
        field.split(',').filter(|part| !part.is_empty()).map(move |part| (part, bounds))
    });
    parts.filter_map(|(part, bounds)| range(part, bounds).err()).next()
}

fn descriptor_error(descriptor: &str) -> Option<String> {
    if NAMED.contains(&descriptor) {
        return None;
    }
    let Some(every) = descriptor.strip_prefix("@every ") else {
        return Some(format!("unrecognized descriptor: {descriptor}"));
    };
    let invalid =
        || format!("failed to parse duration {descriptor}: time: invalid duration {}", quote(every));
    parse_go_duration(every).is_none().then(invalid)
}

fn range(part: &str, (low, high, names): Bounds) -> Result<(), String> {
    let steps: Vec<&str> = part.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let number = |text: &str| match names.iter().position(|name| *name == text.to_lowercase()) {
        Some(at) => Ok(at as u64 + low),
        None => integer(text),
    };
    let (start, mut end) = if matches!(ends[0], "*" | "?") {
        (low, high)
    } else {
        let start = number(ends[0])?;
        match ends[..] {
            [_] => (start, start),
            [_, end] => (start, number(end)?),
            _ => return Err(format!("too many hyphens: {part}")),
        }
    };
    let step = match steps[..] {
        [_] => 1,
        [_, step] => {
            let step = integer(step)?;
            // `N/step` goes on to the end.
            if ends.len() == 1 {
                end = high;
            }
            step
        }
        _ => return Err(format!("too many slashes: {part}")),
    };
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {part}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    Ok(())
}

/// A number as Go's `strconv.Atoi` reads it; none may be below zero.
fn integer(text: &str) -> Result<u64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let number = text.parse::<i64>().map_err(|error| {
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", quote(text))
    })?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        let good = [
            "*/5 * * * *",
            "0 0 1 jan sun",
            "1,2,3-9/2 * * * 1-5",
            "5/15 * ? * MON-fri",
            "@hourly",
            "@every 1h30m",
            "TZ=Europe/Vienna 0 4 * * *",
            "CRON_TZ=UTC @daily",
        ];
        for good in good {
            assert_eq!(error(good), None, "{good}");
        }
        let cases = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/2/3 * * * *", "too many slashes: */2/3"),
            ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@soon", "unrecognized descriptor: @soon"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
        ];
        for (bad, want) in cases {
            assert_eq!(error(bad).as_deref(), Some(want));
        }
    }
}
