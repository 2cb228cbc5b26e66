//! The query of a log request. Enters: the raw query. Leaves: options, or the status and words upstream answers with.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::{LogOptions, LogStreams};

/// What a log request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The log of the instance before.
    pub previous: bool,
    pub options: LogOptions,
}

/// Why a query is refused.
pub(super) type Refusal = (StatusCode, &'static str);

const UNDECODABLE: Refusal = (StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#);
const INVALID: Refusal = (StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#);

/// Reads the query's pairs; of a repeated parameter the first counts, unknown ones are ignored.
pub(super) fn parse(pairs: &[(String, String)], now: Timestamp) -> Result<Query, Refusal> {
    let first = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let flag =
        |name: &str| first(name).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0");
    // the old name `tail`, where "all" means no limit, wins as it does upstream
    let tail = match first("tail") {
        Some("all") => None,
        Some(lines) => Some(lines),
        None => first("tailLines"),
    };
    let tail_lines = number(tail)?;
    let limit_bytes = number(first("limitBytes"))?;
    let since_seconds = number(first("sinceSeconds"))?;
    let since_time = match first("sinceTime") {
        Some(time) => Some(time.parse::<Timestamp>().map_err(|_| UNDECODABLE)?),
        None => None,
    };
    let streams = match first("stream") {
        None | Some("All") => LogStreams::All,
        Some("Stdout") => LogStreams::Stdout,
        Some("Stderr") => LogStreams::Stderr,
        Some(_) => return Err(INVALID),
    };
    let bad_number = tail_lines.is_some_and(|n| n < 0)
        || limit_bytes.is_some_and(|n| n < 1)
        || since_seconds.is_some_and(|n| n < 1)
        || (since_seconds.is_some() && since_time.is_some());
    if bad_number || (streams != LogStreams::All && tail_lines.is_some()) {
        return Err(INVALID);
    }
    let since = match since_seconds {
        Some(seconds) => Some(before(now, seconds.unsigned_abs())),
        None => since_time,
    };
    Ok(Query {
        previous: flag("previous"),
        options: LogOptions {
            follow: flag("follow"),
            since,
            timestamps: flag("timestamps"),
            tail_lines: tail_lines.map(i64::unsigned_abs),
            limit_bytes: limit_bytes.map(i64::unsigned_abs),
            streams,
        },
    })
}

fn number(text: Option<&str>) -> Result<Option<i64>, Refusal> {
    text.map(|text| text.parse().map_err(|_| UNDECODABLE)).transpose()
}

fn before(now: Timestamp, seconds: u64) -> Timestamp {
    now.checked_sub(Duration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<Query, Refusal> {
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        parse(&pairs, Timestamp::from_second(1_000).unwrap())
    }

    #[test]
    fn every_option_is_read() {
        let query =
            ask("follow=true&previous=1&timestamps&tailLines=7&limitBytes=99&sinceSeconds=10").unwrap();
        assert!(query.previous);
        let want = LogOptions {
            follow: true,
            since: Some(Timestamp::from_second(990).unwrap()),
            timestamps: true,
            tail_lines: Some(7),
            limit_bytes: Some(99),
            streams: LogStreams::All,
        };
        assert_eq!(query.options, want);
        let none = ask("").unwrap();
        assert_eq!((none.previous, none.options), (false, LogOptions::default()));
        let off = ask("follow=False&previous=0&timestamps=false").unwrap();
        assert_eq!((off.previous, off.options), (false, LogOptions::default()));
        let time = ask("sinceTime=1970-01-01T00:00:05Z&stream=Stderr").unwrap().options;
        assert_eq!((time.since, time.streams), (Timestamp::from_second(5).ok(), LogStreams::Stderr));
    }

    #[test]
    fn the_old_tail_counts_before_the_new_one() {
        assert_eq!(ask("tail=all&tailLines=5").unwrap().options.tail_lines, None);
        assert_eq!(ask("tail=3").unwrap().options.tail_lines, Some(3));
        assert_eq!(ask("tailLines=0").unwrap().options.tail_lines, Some(0));
    }

    #[test]
    fn an_endless_past_is_the_beginning() {
        let since = ask("sinceSeconds=9223372036854775807").unwrap().options.since;
        assert_eq!(since, Some(Timestamp::MIN));
    }

    #[test]
    fn refusals_tell_undecodable_from_invalid() {
        for query in ["tailLines=x", "limitBytes=", "sinceSeconds=1s", "sinceTime=yesterday"] {
            assert_eq!(ask(query).unwrap_err(), UNDECODABLE, "{query}");
        }
        let invalid = [
            "tailLines=-1",
            "limitBytes=0",
            "sinceSeconds=0",
            "sinceSeconds=1&sinceTime=1970-01-01T00:00:05Z",
            "stream=stdout",
            "stream=Stdout&tailLines=1",
        ];
        for query in invalid {
            assert_eq!(ask(query).unwrap_err(), INVALID, "{query}");
        }
    }
}
