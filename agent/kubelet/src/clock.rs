//! What time it is. Enters: nothing. Leaves: timestamps for every decision of the agent, injected so that tests
//! on tokio's paused clock decide the time.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A source of the current time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's wall clock.
    Wall,
    /// A fixed start plus tokio's own (pausable) clock.
    Tokio {
        /// The time at `since`.
        epoch: Timestamp,
        /// When the clock was made.
        since: Instant,
    },
}

impl Clock {
    /// A clock that shows `epoch` now and then follows tokio's.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Clock::Tokio { epoch, since: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::Wall => Timestamp::now(),
            Clock::Tokio { epoch, since } => after(*epoch, since.elapsed()),
        }
    }
}

/// `at + by`, held at the greatest timestamp.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The time from `now` until `at`; zero if it has passed.
pub fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// A CRI time (nanoseconds since the epoch; 0 or less = never).
pub fn from_nanos(nanos: i64) -> Option<Timestamp> {
    (nanos > 0).then(|| Timestamp::from_nanosecond(i128::from(nanos)).ok()).flatten()
}

/// Writes whole seconds the way Go prints a duration: `10s`, `1m20s`, `5m0s`, `1h0m0s`.
pub fn go_seconds(duration: Duration) -> String {
    let all = duration.as_secs();
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        let texts: Vec<String> = [0, 10, 80, 300, 3600].map(|s| go_seconds(Duration::from_secs(s))).into();
        assert_eq!(texts, ["0s", "10s", "1m20s", "5m0s", "1h0m0s"]);
    }

    #[test]
    fn waiting_for_the_past_takes_no_time() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(until(after(now, Duration::from_secs(5)), now), Duration::ZERO);
        assert_eq!(until(now, after(now, Duration::from_secs(5))), Duration::from_secs(5));
        assert_eq!(from_nanos(0), None);
    }
}
