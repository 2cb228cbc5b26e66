//! Promises about watches: start, order, scope, previous values, nothing lost and nothing twice.

use super::{Space, next, silent};
use crate::{EventKind, Expect, Revision};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::{join, join_all};
use std::collections::BTreeMap;
use std::time::Duration;

/// A watch replays what followed its revision, in order, and then goes on live.
pub(super) async fn from_a_revision(space: &Space) {
    let first = space.set("w/a", "1").await;
    let second = space.set("w/b", "2").await;
    let third = space.remove("w/a").await;
    for (after, replayed) in [(first - 1, 3), (first, 2), (second, 1), (third, 0)] {
        let mut watch = space.watch("w", after).await;
        for revision in third + 1 - replayed..=third {
            assert_eq!(next(&mut watch).await.revision, revision, "replay after {after}");
        }
        let live = space.set("w/live", "x").await;
        assert!(live > third);
        let event = loop {
            let event = next(&mut watch).await;
            if event.revision == live {
                break event;
            }
        };
        assert_eq!((event.kind, event.entry.key), (EventKind::Put, space.key("w/live")));
    }
}

/// Creation, change and deletion carry the values before and after, and the right revisions.
pub(super) async fn previous_values(space: &Space) {
    let start = space.head().await;
    let mut watch = space.watch("w", start).await;
    let created = space.set("w/k", "one").await;
    let changed = space.set("w/k", "two").await;
    let deleted = space.remove("w/k").await;
    let mut replay = space.watch("w", start).await;
    for watch in [&mut watch, &mut replay] {
        let event = next(watch).await;
        assert_eq!((event.kind, event.revision, &event.previous), (EventKind::Put, created, &None));
        assert!(event.is_create());
        assert_eq!((event.entry.create_revision, event.entry.mod_revision), (created, created));
        let event = next(watch).await;
        assert_eq!((event.kind, event.revision), (EventKind::Put, changed));
        assert!(!event.is_create());
        assert_eq!(event.previous.as_deref(), Some(&b"one"[..]));
        assert_eq!((event.entry.create_revision, &event.entry.value[..]), (created, &b"two"[..]));
        let event = next(watch).await;
        assert_eq!((event.kind, event.revision), (EventKind::Delete, deleted));
        assert_eq!(event.previous.as_deref(), Some(&b"two"[..]));
        assert_eq!(event.entry.value, Bytes::from_static(b"two"), "a delete shows the last value");
        assert_eq!((event.entry.create_revision, event.entry.mod_revision), (created, deleted));
        silent(watch).await;
    }
}

/// A watch of `/a/b` hears nothing of `/a/bc`.
pub(super) async fn are_scoped(space: &Space) {
    let mut watch = space.watch("a/b", space.head().await).await;
    for path in ["a/b", "a/bc", "a/bc/1", "a/b0/1", "z/1"] {
        space.set(path, "v").await;
    }
    let inside = space.set("a/b/1", "v").await;
    space.remove("a/bc").await;
    assert_eq!(next(&mut watch).await.revision, inside);
    silent(&mut watch).await;
}

/// A list, then a watch from its revision, reproduces the state exactly, whatever is written meanwhile.
pub(super) async fn list_then_watch_misses_nothing(space: &Space) {
    let write = join_all((0..8_u64).map(|writer| async move {
        let mut written = Vec::new();
        for round in 0..40_u64 {
            let path = format!("w/{}", (writer * 7 + round * 3) % 10);
            if round % 5 == 4 {
                if let Ok((revision, _)) = space.store.delete(&space.key(&path), Expect::Any).await {
                    written.push(revision);
                }
            } else {
                written.push(space.set(&path, &format!("{writer}-{round}")).await);
            }
        }
        written
    }));
    let observe = join_all((0..4_u64).map(|observer| async move {
        tokio::time::sleep(Duration::from_millis(3 * observer)).await;
        let (entries, revision) = space.list("w").await;
        (entries, revision, space.watch("w", revision).await)
    }));
    let (written, observers) = join(write, observe).await;
    let mut revisions: Vec<Revision> = written.into_iter().flatten().collect();
    revisions.sort_unstable();
    let last = *revisions.last().expect("something was written");
    let (expected, _) = space.list("w").await;
    for (entries, start, mut watch) in observers {
        let mut state: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        let mut seen = Vec::new();
        while seen.last().copied().unwrap_or(start) < last {
            let event = next(&mut watch).await;
            seen.push(event.revision);
            let before = match event.kind {
                EventKind::Put => state.insert(event.entry.key.clone(), event.entry),
                EventKind::Delete => state.remove(&event.entry.key),
            };
            assert_eq!(
                event.previous,
                before.map(|entry| entry.value),
                "the previous value is the one seen before"
            );
        }
        let due: Vec<Revision> = revisions.iter().copied().filter(|&revision| revision > start).collect();
        assert_eq!(seen, due, "every change after the list, once, in order");
        assert!(state.values().eq(expected.iter()), "the replayed state is the store's");
    }
}

/// A watcher that does not read for long still gets everything.
pub(super) async fn a_slow_watcher_loses_nothing(space: &Space) {
    let start = space.head().await;
    let mut watch = space.watch("w", start).await;
    let first = space.set("w/0", "v").await;
    assert_eq!(next(&mut watch).await.revision, first);
    for block in 0..10 {
        let paths: Vec<String> = (0..200).map(|index| format!("w/{}", (block * 200 + index) % 50)).collect();
        join_all(paths.iter().map(|path| space.set(path, "a value of some length"))).await;
    }
    let mut expected = first;
    while expected < first + 2000 {
        expected += 1;
        let event = watch.next().await.expect("the watch goes on").expect("the watch does not fail");
        assert_eq!(event.revision, expected, "no gap, no duplicate");
    }
    silent(&mut watch).await;
}

/// What a watch says it has delivered, it has delivered; and it says so soon after the event.
pub(super) async fn progress_is_never_ahead_of_the_events(space: &Space) {
    let start = space.head().await;
    let mut watch = space.watch("w", start).await;
    let progress = watch.progress();
    assert_eq!(*progress.borrow(), start, "a watch begins where it was told to");
    let write = async {
        let mut last = 0;
        for round in 0..50 {
            space.set("elsewhere/k", "v").await;
            last = space.set(&format!("w/{round}"), "v").await;
        }
        last
    };
    let read = async {
        for _ in 0..50 {
            let before = *progress.borrow();
            let event = next(&mut watch).await;
            assert!(before < event.revision, "{before} was reported before the event of {}", event.revision);
        }
    };
    let (last, ()) = join(write, read).await;
    // The stream must be polled for it to move; nothing else comes.
    silent(&mut watch).await;
    assert!(*progress.borrow() >= last, "every event was read, so the progress is at {last} at least");
}

/// Watches are independent: each hears its own key's changes, whatever the others do.
pub(super) async fn many_small_watches_of_one_key_each(space: &Space) {
    let start = space.head().await;
    let mut watches = Vec::new();
    for index in 0..40 {
        watches.push(space.watch(&format!("w/{index}"), start).await);
    }
    // Half of them are dropped before anything happens.
    watches.truncate(20);
    for round in 0..3 {
        join_all((0..40).map(|index| async move {
            space.set(&format!("w/{index}/k"), &format!("{round}")).await;
        }))
        .await;
    }
    for (index, watch) in watches.iter_mut().enumerate() {
        for round in 0..3 {
            let event = next(watch).await;
            let seen = (event.entry.key, event.entry.value);
            assert_eq!(seen, (space.key(&format!("w/{index}/k")), Bytes::from(round.to_string())));
        }
    }
    silent(&mut watches[0]).await;
}
