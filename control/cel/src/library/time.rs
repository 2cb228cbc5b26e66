//! Parts of instants and durations.

use jiff::civil::DateTime;

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::Value;
use crate::value::time::civil;

pub(super) const DEFS: &[Def] = &[
    ("timestamp_to_year", "timestamp!getFullYear(): int", year),
    ("timestamp_to_year_with_tz", "timestamp!getFullYear(string): int", year),
    ("timestamp_to_month", "timestamp!getMonth(): int", month),
    ("timestamp_to_month_with_tz", "timestamp!getMonth(string): int", month),
    ("timestamp_to_day_of_year", "timestamp!getDayOfYear(): int", day_of_year),
    ("timestamp_to_day_of_year_with_tz", "timestamp!getDayOfYear(string): int", day_of_year),
    ("timestamp_to_day_of_month", "timestamp!getDayOfMonth(): int", day_of_month),
    ("timestamp_to_day_of_month_with_tz", "timestamp!getDayOfMonth(string): int", day_of_month),
    ("timestamp_to_day_of_month_1_based", "timestamp!getDate(): int", date),
    ("timestamp_to_day_of_month_1_based_with_tz", "timestamp!getDate(string): int", date),
    ("timestamp_to_day_of_week", "timestamp!getDayOfWeek(): int", day_of_week),
    ("timestamp_to_day_of_week_with_tz", "timestamp!getDayOfWeek(string): int", day_of_week),
    ("timestamp_to_hours", "timestamp!getHours(): int", hours),
    ("timestamp_to_hours_with_tz", "timestamp!getHours(string): int", hours),
    ("duration_to_hours", "duration!getHours(): int", hours),
    ("timestamp_to_minutes", "timestamp!getMinutes(): int", minutes),
    ("timestamp_to_minutes_with_tz", "timestamp!getMinutes(string): int", minutes),
    ("duration_to_minutes", "duration!getMinutes(): int", minutes),
    ("timestamp_to_seconds", "timestamp!getSeconds(): int", seconds),
    ("timestamp_to_seconds_tz", "timestamp!getSeconds(string): int", seconds),
    ("duration_to_seconds", "duration!getSeconds(): int", seconds),
    ("timestamp_to_milliseconds", "timestamp!getMilliseconds(): int", milliseconds),
    ("timestamp_to_milliseconds_with_tz", "timestamp!getMilliseconds(string): int", milliseconds),
    ("duration_to_milliseconds", "duration!getMilliseconds(): int", milliseconds),
];

/// A part of an instant in the zone that is given, UTC without; or a duration in units of so many nanoseconds.
fn part<'a>(args: &[Value<'a>], of: fn(DateTime) -> i64, unit: i64) -> EvalResult<Value<'a>> {
    match args.value(0)? {
        Value::Timestamp(instant) => {
            let zone = if args.len() > 1 { Some(args.string(1)?) } else { None };
            Ok(Value::Int(of(civil(*instant, zone)?)))
        }
        Value::Duration(nanos) if unit > 0 => Ok(Value::Int(nanos / unit)),
        _ => Err(EvalError::no_overload()),
    }
}

fn year<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| t.year().into(), 0)
}

fn month<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| i64::from(t.month()) - 1, 0)
}

fn day_of_year<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| i64::from(t.day_of_year()) - 1, 0)
}

fn day_of_month<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| i64::from(t.day()) - 1, 0)
}

fn date<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| t.day().into(), 0)
}

fn day_of_week<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| t.weekday().to_sunday_zero_offset().into(), 0)
}

fn hours<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| t.hour().into(), 3_600_000_000_000)
}

fn minutes<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| t.minute().into(), 60_000_000_000)
}

fn seconds<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| t.second().into(), 1_000_000_000)
}

fn milliseconds<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    part(args, |t| t.subsec_nanosecond() as i64 / 1_000_000, 1_000_000)
}
