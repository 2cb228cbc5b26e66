//! How far the caches are, and who waits for them to come further.
//!
//! Every write waits here for its own revision: a waiter is woken once, when its revision is reached, and not with every
//! change before it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The newest revision everything up to which is applied.
#[derive(Default)]
pub(super) struct Progress {
    applied: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl Progress {
    /// The revision.
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Moves on to `revision`, never back, and wakes those who wait for it or less.
    pub(super) fn advance(&self, revision: u64) {
        // Before the lock: who registers after it has been released sees the new revision first.
        self.applied.fetch_max(revision, Ordering::AcqRel);
        let mut waiting = self.waiting.lock();
        while let Some(first) = waiting.first_entry().filter(|first| *first.key() <= revision) {
            for waiter in first.remove() {
                // Who has gone away needs no wake-up.
                let _ = waiter.send(());
            }
        }
    }

    /// Waits until `revision` is reached; false when that took longer than `patience`.
    pub(super) async fn reached(&self, revision: u64, patience: Duration) -> bool {
        if self.applied() >= revision {
            return true;
        }
        let woken = {
            let mut waiting = self.waiting.lock();
            if self.applied() >= revision {
                return true;
            }
            let (waiter, woken) = oneshot::channel();
            waiting.entry(revision).or_default().push(waiter);
            woken
        };
        if tokio::time::timeout(patience, woken).await.is_ok() {
            return true;
        }
        let mut waiting = self.waiting.lock();
        if let Some(waiters) = waiting.get_mut(&revision) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                waiting.remove(&revision);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn goes_forward_only() {
        let progress = Progress::default();
        assert!(!progress.reached(5, SHORT).await);
        assert!(progress.waiting.lock().is_empty(), "who gave up waits no longer");
        progress.advance(5);
        progress.advance(3);
        assert_eq!(progress.applied(), 5);
        assert!(progress.reached(5, SHORT).await);
    }

    #[tokio::test]
    async fn each_is_woken_at_its_revision() {
        let progress = Arc::new(Progress::default());
        let wait = |revision| {
            let progress = Arc::clone(&progress);
            tokio::spawn(async move { progress.reached(revision, LONG).await })
        };
        let (early, late) = (wait(2), wait(9));
        while progress.waiting.lock().len() < 2 {
            tokio::task::yield_now().await;
        }
        progress.advance(4);
        assert!(early.await.unwrap());
        assert_eq!(progress.waiting.lock().keys().copied().collect::<Vec<_>>(), [9]);
        progress.advance(12);
        assert!(late.await.unwrap());
    }
}
