//! Time and chance, injected: a decision never reads the clock itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// Tells what time it is; a clone tells the same time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock of one's own, for simulations.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// The API's time of whole seconds.
pub fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// The API's time in microseconds.
pub fn micros(at: Timestamp) -> MicroTime {
    MicroTime(at)
}

/// From `earlier` to `later`, zero if they are the wrong way round.
pub fn since(later: Timestamp, earlier: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// `at` plus a duration, saturating.
pub fn plus(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// How long from `now` until `at`, zero if past.
pub fn until(at: Timestamp, now: Timestamp) -> Duration {
    since(at, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_never_go_negative() {
        let (a, b) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(13).unwrap());
        assert_eq!(since(b, a), Duration::from_secs(3));
        assert_eq!(since(a, b), Duration::ZERO);
        assert_eq!(plus(a, Duration::from_secs(3)), b);
    }
}
