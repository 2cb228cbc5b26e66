//! Promises about reads: revisions of entries, prefixes, consistency of lists.

use super::Space;
use crate::Expect;
use futures::future::{join, join_all};
use std::collections::BTreeMap;

/// An entry keeps its creation and follows its changes; a read's revision is the head.
pub(super) async fn create_and_mod_revisions(space: &Space) {
    let created = space.set("k", "one").await;
    let changed = space.set("k", "two").await;
    let other = space.set("other", "x").await;
    let (entry, head) = space.store.get(&space.key("k")).await.expect("a get succeeds");
    let entry = entry.expect("the key exists");
    assert_eq!((entry.create_revision, entry.mod_revision), (created, changed));
    assert_eq!(entry.key, space.key("k"));
    assert_eq!(head, other, "a read tells the head, not the key's revision");
    let (nothing, head) = space.store.get(&space.key("none")).await.expect("a get succeeds");
    assert_eq!((nothing, head), (None, other));
}

/// `/a/b` reaches below `/a/b/`, and neither `/a/bc` nor the key `/a/b` itself.
pub(super) async fn prefixes_are_paths(space: &Space) {
    for path in ["a/b", "a/b/1", "a/b/c/2", "a/b0", "a/bc", "a/bc/3", "a/B/4", "a/b-x/5", "a/é/6"] {
        space.set(path, "v").await;
    }
    for prefix in ["a/b", "a/b/"] {
        let (entries, _) = space.list(prefix).await;
        let keys: Vec<String> = entries.into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, [space.key("a/b/1"), space.key("a/b/c/2")], "below {prefix}, in key order");
    }
    assert_eq!(space.list("a/é").await.0.len(), 1);
    assert_eq!(space.list("a").await.0.len(), 9);
    assert!(space.list("none").await.0.is_empty());
    let (all, _) = space.store.list("").await.expect("a list of everything succeeds");
    assert!(all.len() >= 9 && all.is_sorted_by(|left, right| left.key < right.key));
}

/// A list is one instant: of two keys always written one after the other it never shows the second ahead, and no
/// entry is newer than the list.
pub(super) async fn lists_are_snapshots(space: &Space) {
    space.set("pair/a", "0").await;
    space.set("pair/b", "0").await;
    let write = async {
        for round in 1..=100 {
            space.set("pair/a", &round.to_string()).await;
            space.set("pair/b", &round.to_string()).await;
        }
    };
    let read = async {
        for _ in 0..100 {
            let (entries, revision) = space.list("pair").await;
            let rounds: Vec<u64> = entries
                .iter()
                .map(|entry| std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()))
                .map(|round| round.expect("the value is a number"))
                .collect();
            assert_eq!(rounds.len(), 2, "both keys are there");
            assert!(
                rounds[0] == rounds[1] || rounds[0] == rounds[1] + 1,
                "{rounds:?} never stood in the store"
            );
            assert!(
                entries.iter().all(|entry| entry.mod_revision <= revision),
                "nothing is newer than the list"
            );
        }
    };
    join(write, read).await;
}

/// A list of many keys (several pages, in an engine that has pages) is whole while others write.
pub(super) async fn large_lists_are_whole(space: &Space) {
    let mut expected = BTreeMap::new();
    for block in 0..13 {
        let paths: Vec<String> = (0..100).map(|index| format!("many/{block:02}-{index:02}")).collect();
        let writes = join_all(paths.iter().map(|path| space.put(path, path, Expect::Absent))).await;
        for (path, revision) in paths.iter().zip(writes) {
            expected.insert(space.key(path), revision.expect("the key is new"));
        }
    }
    let disturb = async {
        for round in 0..50 {
            space.set("other/k", &round.to_string()).await;
        }
    };
    let ((entries, _), ()) = join(space.list("many"), disturb).await;
    let found: BTreeMap<_, _> = entries.iter().map(|entry| (entry.key.clone(), entry.mod_revision)).collect();
    assert_eq!(entries.len(), found.len(), "no key twice");
    assert_eq!(found, expected);
}
