//! Promises about the past and the future: compaction, and revisions that have not happened.

use super::{PATIENCE, Space, next};
use crate::{Revision, StoreError};
use futures::StreamExt;

/// A revision above the head belongs to another store.
pub(super) async fn the_future_is_refused(space: &Space) {
    let head = space.set("k", "v").await;
    match space.store.watch(&space.root, head + 100).await {
        Err(StoreError::FutureRevision { requested, head: reported }) => {
            assert_eq!((requested, reported), (head + 100, head));
        }
        other => panic!("a watch from the future is refused, not {other:?}"),
    }
    let compacted = space.store.compact(head + 100).await;
    assert!(matches!(compacted, Err(StoreError::FutureRevision { .. })), "{compacted:?}");
    drop(space.watch("", head).await);
}

/// Compaction forgets changes and keeps entries; watches below it are refused, above it whole.
pub(super) async fn compaction(space: &Space) {
    let revisions: Vec<Revision> = {
        let mut revisions = vec![space.set("w/kept", "old").await];
        for round in 0..10 {
            revisions.push(space.set("w/k", &round.to_string()).await);
        }
        revisions
    };
    let mut running = space.watch("w", revisions[8]).await;
    assert_eq!(next(&mut running).await.revision, revisions[9]);
    let at = revisions[7];
    space.store.compact(at).await.expect("the past can be compacted");
    space.store.compact(at).await.expect("compacting again is no error");
    space.store.compact(at - 3).await.expect("compacting less is no error");

    for after in [1, revisions[0], at - 2] {
        assert_eq!(refused(space, after).await, at, "a watch after {after}");
    }
    let mut watch = space.watch("w", at).await;
    for expected in &revisions[8..] {
        assert_eq!(next(&mut watch).await.revision, *expected, "what is above compaction is whole");
    }
    assert_eq!(next(&mut running).await.revision, revisions[10], "a watch above compaction goes on");

    let (entries, _) = space.list("w").await;
    let values: Vec<&[u8]> = entries.iter().map(|entry| &entry.value[..]).collect();
    assert_eq!(values, [&b"9"[..], b"old"], "live entries stay, however old");
    assert_eq!(space.get("w/kept").await.map(|entry| entry.mod_revision), Some(revisions[0]));
    let head = space.head().await;
    space.store.compact(head).await.expect("everything can be compacted");
    let live = space.set("w/k", "after").await;
    assert_eq!(live, head + 1, "compaction has no revision");
    assert_eq!(next(&mut space.watch("w", head).await).await.revision, live);
}

/// The `oldest` with which a watch is refused, at once or as its first and last item.
async fn refused(space: &Space, after: Revision) -> Revision {
    let error = match space.store.watch(&space.root, after).await {
        Err(error) => error,
        Ok(mut watch) => {
            let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the refusal comes in time");
            let error = item.expect("the refusal is an item").expect_err("a compacted watch has no events");
            assert!(watch.next().await.is_none(), "an error is the last item");
            error
        }
    };
    match error {
        StoreError::Compacted { oldest } => oldest,
        other => panic!("a watch below compaction is Compacted, not {other:?}"),
    }
}
