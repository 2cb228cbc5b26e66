//! Expectations: what a controller has asked for and its cache has not shown yet.
//!
//! Enters: how many objects a reconcile is about to create, and the UIDs it deletes; then what the watch shows.
//! Leaves: whether the cache can be trusted for an owner. Owners are known by UID, so a recreated owner starts clean.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// After this long an expectation is given up (a watch may have skipped an object's whole life), as upstream.
pub const EXPIRY: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Pending {
    creations: i64,
    deletions: HashSet<String>,
    since: Option<Instant>,
}

/// The outstanding expectations of one controller, by owner UID.
#[derive(Default)]
pub struct Expectations {
    pending: Mutex<HashMap<String, Pending>>,
}

impl Expectations {
    /// Whether everything asked for on behalf of this owner has been seen (or was given up).
    pub fn satisfied(&self, owner: &str) -> bool {
        self.pending.lock().get(owner).is_none_or(|pending| {
            (pending.creations <= 0 && pending.deletions.is_empty())
                || pending.since.is_some_and(|since| since.elapsed() > EXPIRY)
        })
    }

    /// Starts a round: so many creations and these deletions (UIDs) are about to be asked for.
    pub fn expect(&self, owner: &str, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let pending = Pending {
            creations: i64::try_from(creations).unwrap_or(i64::MAX),
            deletions: deletions.into_iter().collect(),
            since: Some(Instant::now()),
        };
        self.pending.lock().insert(owner.to_owned(), pending);
    }

    /// So many creations were seen, or will not happen.
    pub fn created(&self, owner: &str, count: usize) {
        if let Some(pending) = self.pending.lock().get_mut(owner) {
            pending.creations -= i64::try_from(count).unwrap_or(i64::MAX);
        }
    }

    /// A deletion was seen, or will not happen.
    pub fn deleted(&self, owner: &str, uid: &str) {
        if let Some(pending) = self.pending.lock().get_mut(owner) {
            pending.deletions.remove(uid);
        }
    }

    /// Forgets an owner that is gone.
    pub fn forget(&self, owner: &str) {
        self.pending.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stale_cache_is_not_trusted_until_all_was_seen() {
        let expectations = Expectations::default();
        assert!(expectations.satisfied("u"));
        expectations.expect("u", 2, ["p1".to_owned()]);
        expectations.created("u", 1);
        expectations.deleted("u", "p1");
        assert!(!expectations.satisfied("u"));
        expectations.created("u", 1);
        assert!(expectations.satisfied("u"));
        assert!(expectations.satisfied("another"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_counts_once_and_expectations_expire() {
        let expectations = Expectations::default();
        expectations.expect("u", 0, ["p1".to_owned(), "p2".to_owned()]);
        expectations.deleted("u", "p1");
        expectations.deleted("u", "p1");
        assert!(!expectations.satisfied("u"));
        tokio::time::advance(EXPIRY + Duration::from_secs(1)).await;
        assert!(expectations.satisfied("u"));
    }
}
