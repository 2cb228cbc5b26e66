//! How long the change log reaches back: a pure decision over revisions, ages and bytes.
//!
//! Enters: the head, sampled once a second with the time since the store was opened (monotonic, so that a clock
//! that jumps forgets nothing). Leaves: the revision up to which the log may be trimmed. Called by the writer.

use crate::Revision;
use std::collections::VecDeque;
use std::time::Duration;

/// What automatic compaction keeps of the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Keep at least this many of the latest revisions.
    pub revisions: u64,
    /// Keep at least what happened within this time (counted anew from a restart).
    pub age: Duration,
    /// But never more than this many bytes of log, whatever the two above say.
    pub log_bytes: u64,
}

impl Default for Retention {
    /// 10 000 revisions and five minutes (as kube-apiserver compacts), at most 512 MiB.
    fn default() -> Self {
        Self { revisions: 10_000, age: Duration::from_secs(300), log_bytes: 512 << 20 }
    }
}

/// Which head the store had when.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    samples: VecDeque<(Duration, Revision)>,
}

impl Timeline {
    /// Notes that the head was `head` at `now` (time since the store was opened).
    pub fn observe(&mut self, now: Duration, head: Revision) {
        if self.samples.back().is_none_or(|&(_, last)| last != head) {
            self.samples.push_back((now, head));
        }
    }

    /// The newest head that is known to be older than `age`; 0 if none is. Forgets older samples.
    pub fn settled(&mut self, now: Duration, age: Duration) -> Revision {
        let Some(limit) = now.checked_sub(age) else { return 0 };
        while self.samples.get(1).is_some_and(|&(time, _)| time <= limit) {
            self.samples.pop_front();
        }
        self.samples.front().filter(|&&(time, _)| time <= limit).map_or(0, |&(_, head)| head)
    }
}

/// The revision up to which changes are outside the retention by count and age.
pub(super) fn expired(retention: &Retention, head: Revision, settled: Revision) -> Revision {
    head.saturating_sub(retention.revisions).min(settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn both_count_and_age_must_be_exceeded() {
        let retention = Retention { revisions: 100, age: secs(300), log_bytes: 0 };
        assert_eq!(expired(&retention, 50, 50), 0);
        assert_eq!(expired(&retention, 1000, 0), 0, "young changes are kept whatever their number");
        assert_eq!(expired(&retention, 1000, 950), 900);
        assert_eq!(expired(&retention, 1000, 500), 500);
    }

    #[test]
    fn the_timeline_answers_with_a_head_that_is_old_enough() {
        let mut timeline = Timeline::default();
        for (second, head) in [(0, 1), (1, 10), (2, 10), (3, 30), (400, 31)] {
            timeline.observe(secs(second), head);
        }
        assert_eq!(timeline.settled(secs(200), secs(300)), 0, "nothing is five minutes old");
        assert_eq!(timeline.settled(secs(302), secs(300)), 10);
        assert_eq!(timeline.settled(secs(303), secs(300)), 30);
        assert_eq!(timeline.settled(secs(699), secs(300)), 30);
        assert_eq!(timeline.settled(secs(700), secs(300)), 31);
        assert_eq!(timeline.samples.len(), 1, "what is no longer needed is forgotten");
    }
}
