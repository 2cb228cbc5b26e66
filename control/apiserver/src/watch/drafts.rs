//! Objects on their way through the store: who writes one leaves its [`Draft`] here, the feeder takes it when the change
//! comes back, and need not parse it.
//!
//! A draft is known by its bytes' place in memory, which stays taken as long as the draft is here: a store that hands out
//! other bytes (etcd, encryption) finds none, and the feeder parses as if there were no drafts.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;

use super::object::Draft;

/// The drafts of all writes under way.
#[derive(Default)]
pub(super) struct Drafts {
    known: Mutex<HashMap<usize, Draft>>,
}

impl Drafts {
    /// Leaves a draft until it is taken or the write has ended, which is when the result is dropped.
    pub(super) fn leave(&self, draft: Draft) -> Left<'_> {
        let place = place(draft.stored());
        self.known.lock().insert(place, draft);
        Left { drafts: self, place }
    }

    /// The draft of these very bytes.
    pub(super) fn take(&self, stored: &Bytes) -> Option<Draft> {
        let mut known = self.known.lock();
        let draft = known.remove(&place(stored))?;
        if draft.stored().len() == stored.len() {
            return Some(draft);
        }
        known.insert(place(stored), draft);
        None
    }
}

fn place(bytes: &Bytes) -> usize {
    bytes.as_ptr().addr()
}

/// A draft that waits for its change.
pub struct Left<'a> {
    drafts: &'a Drafts,
    place: usize,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.drafts.known.lock().remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn is_taken_once_by_its_own_bytes() {
        let drafts = Drafts::default();
        let draft = || Draft::new(&json!({"metadata": {"name": "a"}}), None).unwrap();
        let (first, second) = (draft(), draft());
        let (mine, copy) = (first.stored().clone(), Bytes::copy_from_slice(first.stored()));
        let left = drafts.leave(first);
        assert!(drafts.take(&copy).is_none(), "equal bytes elsewhere are another write's");
        assert!(drafts.take(&mine.slice(..4)).is_none());
        assert!(drafts.take(&mine).is_some());
        assert!(drafts.take(&mine).is_none());
        drop(left);
        let other = second.stored().clone();
        drop(drafts.leave(second));
        assert!(drafts.take(&other).is_none(), "the write has ended");
    }
}
