//! Promises about writes: order, conditions, deletes, sizes.

use super::Space;
use crate::{Expect, MAX_VALUE_BYTES, StoreError};
use bytes::Bytes;
use futures::future::join_all;

/// Every write moves the head by exactly one, and a refused write does not.
pub(super) async fn revisions_are_ordered(space: &Space) {
    let before = space.head().await;
    assert!(before >= 1, "an empty store is at revision 1");
    for step in 1..=5 {
        assert_eq!(space.set("k", "v").await, before + step, "a write moves the head by one");
    }
    let refused = space.put("k", "v", Expect::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(space.head().await, before + 5, "a refused write has no revision");
    assert_eq!(space.remove("k").await, before + 6, "a delete has a revision");
}

/// The three expectations, met and not met, and what a conflict tells.
pub(super) async fn compare_and_swap(space: &Space) {
    let missing = space.put("k", "x", Expect::Revision(1)).await;
    assert!(matches!(missing, Err(StoreError::Conflict { current: None, .. })), "{missing:?}");
    let first = space.put("k", "one", Expect::Absent).await.expect("an absent key can be created");
    let second = space.put("k", "two", Expect::Revision(first)).await.expect("the revision is current");
    for stale in [Expect::Revision(first), Expect::Absent, Expect::Revision(second + 1)] {
        match space.put("k", "three", stale).await {
            Err(StoreError::Conflict { key, current: Some(current) }) => {
                assert_eq!(key, space.key("k"));
                assert_eq!((current.mod_revision, &current.value[..]), (second, &b"two"[..]));
                assert_eq!(current.create_revision, first);
            }
            other => panic!("a put with {stale:?} must conflict, not {other:?}"),
        }
    }
    assert_eq!(space.get("k").await.map(|entry| entry.value), Some(Bytes::from_static(b"two")));
}

/// Of many writers that create one key, exactly one does.
pub(super) async fn one_of_many_racing_writers_wins(space: &Space) {
    let names: Vec<String> = (0..32).map(|writer| format!("writer-{writer}")).collect();
    let results = join_all(names.iter().map(|name| space.put("k", name, Expect::Absent))).await;
    let winners: Vec<usize> = (0..results.len()).filter(|&writer| results[writer].is_ok()).collect();
    assert_eq!(winners.len(), 1, "exactly one creation succeeds");
    let entry = space.get("k").await.expect("the key exists");
    assert_eq!(&entry.value[..], names[winners[0]].as_bytes(), "the winner's value is there");
    for result in results.into_iter().filter(Result::is_err) {
        match result {
            Err(StoreError::Conflict { current: Some(current), .. }) => assert_eq!(current, entry),
            other => panic!("the losers learn who won, not {other:?}"),
        }
    }
}

/// Read-modify-write loops lose no update.
pub(super) async fn concurrent_increments_are_all_counted(space: &Space) {
    space.set("counter", "0").await;
    join_all((0..8).map(|_| increment_ten_times(space))).await;
    assert_eq!(space.get("counter").await.map(|entry| entry.value), Some(Bytes::from_static(b"80")));
}

async fn increment_ten_times(space: &Space) {
    let mut done = 0;
    while done < 10 {
        let entry = space.get("counter").await.expect("the counter exists");
        let text = std::str::from_utf8(&entry.value).expect("the counter is text");
        let count: u64 = text.parse().expect("the counter is a number");
        match space.put("counter", &(count + 1).to_string(), Expect::Revision(entry.mod_revision)).await {
            Ok(_) => done += 1,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("an increment failed: {error}"),
        }
    }
}

/// A delete returns what it deleted; deleting nothing is a conflict; conditions hold.
pub(super) async fn deletes(space: &Space) {
    let missing = space.store.delete(&space.key("k"), Expect::Any).await;
    assert!(matches!(missing, Err(StoreError::Conflict { current: None, .. })), "{missing:?}");
    let created = space.set("k", "one").await;
    let stale = space.store.delete(&space.key("k"), Expect::Revision(created + 1)).await;
    assert!(matches!(stale, Err(StoreError::Conflict { current: Some(_), .. })), "{stale:?}");
    let absent = space.store.delete(&space.key("k"), Expect::Absent).await;
    assert!(matches!(absent, Err(StoreError::Conflict { current: Some(_), .. })), "{absent:?}");
    let (revision, deleted) = space
        .store
        .delete(&space.key("k"), Expect::Revision(created))
        .await
        .expect("the revision is current");
    assert_eq!(revision, created + 1, "neither refusal had a revision");
    assert_eq!((deleted.mod_revision, &deleted.value[..]), (created, &b"one"[..]));
    assert_eq!(space.get("k").await, None);
    let again = space.set("k", "two").await;
    assert_eq!(
        space.get("k").await.map(|entry| entry.create_revision),
        Some(again),
        "a new life, a new creation"
    );
}

/// Large values pass whole, larger ones are refused by name, empty keys too.
pub(super) async fn sizes(space: &Space) {
    let large: Bytes = (0..1_u32 << 20).map(|index| (index % 251) as u8).collect();
    let key = space.key("large");
    space.store.put(&key, large.clone(), Expect::Any).await.expect("1 MiB is allowed");
    assert_eq!(space.get("large").await.map(|entry| entry.value), Some(large));
    let size = MAX_VALUE_BYTES + 1;
    match space.store.put(&key, Bytes::from(vec![0; size]), Expect::Any).await {
        Err(StoreError::TooLarge { size: reported, .. }) => assert_eq!(reported, size),
        other => panic!("a value above the limit is too large, not {other:?}"),
    }
    space.store.put(&key, Bytes::new(), Expect::Any).await.expect("an empty value is a value");
    assert_eq!(space.get("large").await.map(|entry| entry.value.len()), Some(0));
    let unnamed = space.store.put("", Bytes::new(), Expect::Any).await;
    assert!(matches!(unnamed, Err(StoreError::EmptyKey)), "{unnamed:?}");
}
