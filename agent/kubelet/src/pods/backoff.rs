//! How long to wait before trying again. Enters: when something failed. Leaves: when it may be tried again.
//!
//! Upstream's figures: 10 s doubled to 300 s, forgotten after twice the maximum (containers, image pulls).

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::clock::{after, until};

/// The first delay.
pub const FIRST: Duration = Duration::from_secs(10);
/// The greatest delay.
pub const GREATEST: Duration = Duration::from_secs(300);

/// The back-off of one container's restarts or of one image's pulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    delay: Duration,
    updated: Timestamp,
    cause: Timestamp,
}

impl Backoff {
    /// The back-off after the failure at `cause`, which is answered at `now`; the same failure counts once.
    pub fn next(previous: Option<Backoff>, cause: Timestamp, now: Timestamp) -> Backoff {
        let delay = match previous {
            Some(last) if last.cause == cause => return last,
            Some(last) if until(last.updated, cause) <= GREATEST * 2 => (last.delay * 2).min(GREATEST),
            _ => FIRST,
        };
        Backoff { delay, updated: now, cause }
    }

    /// The delay now in force.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Until when a failure at `failed` must wait; `None` if the back-off is too old to count.
    pub fn holds_until(&self, failed: Timestamp) -> Option<Timestamp> {
        (until(self.updated, failed) <= GREATEST * 2).then(|| after(failed, self.delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_five_minutes_and_is_forgotten_after_ten() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut backoff = None;
        let mut seen = Vec::new();
        for _ in 0..7 {
            let next = Backoff::next(backoff, now, now);
            seen.push(next.delay().as_secs());
            now = after(now, next.delay());
            backoff = Some(next);
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
        let long_after = after(now, Duration::from_secs(601));
        assert_eq!(backoff.unwrap().holds_until(long_after), None);
        assert_eq!(Backoff::next(backoff, long_after, long_after).delay(), FIRST);
        let again = Backoff::next(backoff, now, long_after);
        assert_eq!(Backoff::next(Some(again), now, long_after), again, "one failure counts once");
    }
}
