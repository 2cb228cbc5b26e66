//! Promises about lists of the past: every revision above compaction can be read, in pages that fit together.

use super::Space;
use crate::{Entry, Expect, ListAt, Page, Revision, StoreError};
use bytes::Bytes;
use futures::future::join;
use std::collections::BTreeMap;

type State = BTreeMap<String, Entry>;

/// A small generator of numbers that differ, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// All pages of `path` at `revision`, each of `limit` entries.
async fn all(space: &Space, path: &str, revision: Option<Revision>, limit: usize) -> Page {
    let mut whole = space.page(path, ListAt { revision, limit, ..ListAt::default() }).await;
    while whole.remaining > 0 {
        assert_eq!(whole.entries.len() % limit, 0, "a page that is followed by another is full");
        let after = whole.entries.last().map(|entry| entry.key.clone());
        // Some pages are told what is left, as a client of pages tells them; some have to count.
        let left = (whole.entries.len() % 2 == 0).then_some(whole.remaining);
        let request = ListAt { revision: Some(whole.revision), after, limit, left };
        let page = space.page(path, request).await;
        assert_eq!(page.revision, whole.revision);
        assert_eq!(whole.remaining, page.remaining + page.entries.len() as u64, "what remains is exact");
        whole.entries.extend(page.entries);
        whole.remaining = page.remaining;
    }
    whole
}

/// Random creations, changes, deletions and recreations; then every revision is read, whole and in pages.
pub(super) async fn every_revision_can_be_read(space: &Space) {
    let mut numbers = Numbers(7);
    let mut states: Vec<(Revision, State)> = vec![(space.head().await, State::new())];
    for step in 0..120 {
        let mut state = states.last().expect("there is one").1.clone();
        let key = space.key(&format!("p/{:02}", numbers.below(25)));
        if numbers.below(10) < 3 && state.contains_key(&key) {
            let (revision, _) = space.store.delete(&key, Expect::Any).await.expect("the key exists");
            state.remove(&key);
            states.push((revision, state));
        } else {
            let value = Bytes::from(format!("value {step}"));
            let revision = space.store.put(&key, value.clone(), Expect::Any).await.expect("a put succeeds");
            let create_revision = state.get(&key).map_or(revision, |entry| entry.create_revision);
            state.insert(key.clone(), Entry { key, value, create_revision, mod_revision: revision });
            states.push((revision, state));
        }
        if step % 10 == 0 {
            space.set("elsewhere", "v").await;
        }
    }
    for (revision, state) in &states {
        let expected: Vec<&Entry> = state.values().collect();
        for limit in [0, 1, 7, 1000] {
            let page = all(space, "p", Some(*revision), limit).await;
            assert_eq!(page.revision, *revision);
            assert_eq!(page.entries.iter().collect::<Vec<_>>(), expected, "at {revision} by {limit}");
        }
    }
    let newest = all(space, "p", None, 10).await;
    assert!(newest.entries.iter().eq(states.last().expect("there is one").1.values()));
    assert_eq!(newest.revision, space.head().await, "without a revision it is the head's");
    let one = |left| ListAt { limit: 1, left: Some(left), ..ListAt::default() };
    assert!(space.page("p", one(0)).await.remaining > 0, "what follows is never hidden");
    let after = Some(space.key("p/99"));
    let nothing = space.page("p", ListAt { after, ..one(9) }).await;
    assert_eq!((nothing.entries.len(), nothing.remaining), (0, 0), "nothing follows the last key");
    let after = Some(String::new());
    let from_before = space.page("p", ListAt { after, ..ListAt::default() }).await;
    assert_eq!(from_before.entries, newest.entries, "a page never leaves its prefix");
}

/// Pages of one revision are one instant: two keys that are always written one after the other never differ by more.
pub(super) async fn fit_together_while_others_write(space: &Space) {
    for index in 0..40 {
        space.set(&format!("p/{index:02}"), "0").await;
    }
    let write = async {
        for round in 1..=20 {
            for index in 0..40 {
                let path = format!("p/{index:02}");
                if round % 5 == 4 && index % 4 == 0 {
                    space.remove(&path).await;
                }
                space.set(&path, &round.to_string()).await;
            }
        }
    };
    let read = async {
        for limit in [3, 7, 39] {
            for _ in 0..5 {
                let page = all(space, "p", None, limit).await;
                let rounds: Vec<u64> = page
                    .entries
                    .iter()
                    .map(|entry| std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()))
                    .map(|round| round.expect("the value is a number"))
                    .collect();
                // One key may be away between its deletion and its return.
                assert!(rounds.len() >= 39, "{} keys", rounds.len());
                assert!(
                    rounds.is_sorted_by(|left, right| left >= right),
                    "{rounds:?} never stood in the store"
                );
                assert!(rounds[0] - rounds[rounds.len() - 1] <= 1, "{rounds:?} never stood in the store");
                assert!(page.entries.iter().all(|entry| entry.mod_revision <= page.revision));
            }
        }
    };
    join(write, read).await;
}

/// Below compaction and above the head there is nothing to read; at the compacted revision there is.
pub(super) async fn outside_of_history(space: &Space) {
    space.set("p/a", "old").await;
    let at = space.set("p/b", "old").await;
    space.remove("p/a").await;
    let head = space.set("p/b", "new").await;
    space.store.compact(at).await.expect("the past can be compacted");
    let request = |revision| ListAt { revision: Some(revision), ..ListAt::default() };
    let oldest = space.page("p", request(at)).await;
    let values: Vec<&[u8]> = oldest.entries.iter().map(|entry| &entry.value[..]).collect();
    assert_eq!(values, [b"old", b"old"], "the compacted revision itself is still there");
    match space.store.list_at(&space.key("p"), request(at - 1)).await {
        Err(StoreError::Compacted { oldest }) => assert_eq!(oldest, at),
        other => panic!("a list below compaction is Compacted, not {other:?}"),
    }
    match space.store.list_at(&space.key("p"), request(head + 50)).await {
        Err(StoreError::FutureRevision { requested, head: reported }) => {
            assert_eq!((requested, reported), (head + 50, head));
        }
        other => panic!("a list of the future is refused, not {other:?}"),
    }
}
