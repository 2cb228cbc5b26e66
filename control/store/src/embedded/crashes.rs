//! A crash at every single operation on the disk of a recorded run, and what is found after it.

use super::simulated::{Remains, Simulated};
use super::{Embedded, Options, Retention, RewritePolicy};
use crate::{Entry, Expect, Revision, Store, StoreError};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PATH: &str = "/simulated/store.redb";

type State = BTreeMap<String, Entry>;

/// What the run did: the state at every revision, and when which revision was acknowledged.
#[derive(Default)]
struct Run {
    states: BTreeMap<Revision, State>,
    /// After how many operations on the disk the caller knew that everything up to this revision is durable.
    acknowledged: Vec<(usize, Revision)>,
}

impl Run {
    fn acknowledged_by(&self, operations: usize) -> Revision {
        let known = self.acknowledged.iter().filter(|(when, _)| *when <= operations);
        known.map(|(_, revision)| *revision).max().unwrap_or(1)
    }
}

fn options() -> Options {
    Options { cache_bytes: 1 << 20, retention: None, ..Options::default() }
}

fn open(disk: &Simulated) -> Result<Arc<Embedded>, StoreError> {
    Embedded::open_on(Arc::new(disk.clone()), Path::new(PATH), options())
}

/// Batches of puts and deletes of several sizes, compactions and a rewrite of the file.
async fn record(disk: &Simulated) -> Run {
    let store = open(disk).unwrap();
    let mut run = Run::default();
    run.states.insert(1, State::new());
    for batch in 0..14_u64 {
        let writes = (0..1 + batch % 5 * 3).map(|index| {
            let store = store.clone();
            async move {
                let key = format!("/registry/core/things/{:02}", (batch * 5 + index) % 23);
                if (batch + index) % 4 == 3 {
                    return match store.delete(&key, Expect::Any).await {
                        Ok((revision, _)) => Some((revision, key, None)),
                        Err(StoreError::Conflict { .. }) => None,
                        Err(error) => panic!("{error}"),
                    };
                }
                let value = Bytes::from(vec![batch as u8; (index * 700 + batch * 90) as usize]);
                let revision = store.put(&key, value.clone(), Expect::Any).await.unwrap();
                Some((revision, key, Some(value)))
            }
        });
        let mut changes: Vec<_> = join_all(writes).await.into_iter().flatten().collect();
        changes.sort_by_key(|(revision, ..)| *revision);
        for (revision, key, value) in changes {
            let mut state = run.states.last_key_value().unwrap().1.clone();
            match value {
                None => drop(state.remove(&key)),
                Some(value) => {
                    let create_revision = state.get(&key).map_or(revision, |entry| entry.create_revision);
                    state.insert(key.clone(), Entry { key, value, create_revision, mod_revision: revision });
                }
            }
            run.states.insert(revision, state);
        }
        let head = *run.states.last_key_value().unwrap().0;
        run.acknowledged.push((disk.operations(), head));
        match batch {
            4 | 11 => store.compact(head - 3).await.unwrap(),
            8 => store.rewrite().await.unwrap(),
            _ => {}
        }
    }
    store.close().await;
    run
}

/// The store on `disk` has every acknowledged write, whole changes only, and goes on from there.
async fn check(disk: &Simulated, run: &Run, acknowledged: Revision, place: &str) {
    let store = match open(disk) {
        Ok(store) => store,
        Err(error) => panic!("{place}: {error}"),
    };
    let head = store.head().await.unwrap();
    assert!(head >= acknowledged, "{place}: {acknowledged} was acknowledged, the head is {head}");
    let expected = run.states.get(&head).unwrap_or_else(|| panic!("{place}: {head} never was a head"));
    let (entries, _) = store.list("").await.unwrap();
    assert!(entries.iter().eq(expected.values()), "{place}: revision {head} has other entries");
    let status = store.status().await.unwrap();
    let bytes: u64 = entries.iter().map(|entry| super::format::entry_bytes(&entry.key, &entry.value)).sum();
    assert_eq!(status.live_bytes, bytes, "{place}: the counters are exact");
    let oldest = status.compacted_revision.max(1);
    let log = store.watch("", oldest).await.unwrap().take((head - oldest) as usize);
    let log: Vec<Revision> = log.map(|event| event.unwrap().revision).collect().await;
    assert!(log.into_iter().eq(oldest + 1..=head), "{place}: the log has every revision once");
    for revision in oldest..=head {
        let request = crate::ListAt { revision: Some(revision), ..crate::ListAt::default() };
        let page = store.list_at("", request).await.unwrap();
        assert!(page.entries.iter().eq(run.states[&revision].values()), "{place}: the past at {revision}");
    }
    let next = store.put("/registry/core/things/next", Bytes::new(), Expect::Absent).await.unwrap();
    assert_eq!(next, head + 1, "{place}: revisions continue");
    assert!(store.get("/registry/core/things/next").await.unwrap().0.is_some());
    store.close().await;
}

async fn crash_everywhere(remains: impl Fn(usize) -> Remains) {
    let disk = Simulated::default();
    let run = record(&disk).await;
    let empty = Simulated::default();
    let operations = disk.operations();
    assert!(operations > 200, "only {operations} operations were recorded");
    for count in 0..=operations {
        let remains = remains(count);
        let found = disk.after_crash(&empty, count, remains);
        let place = format!("crash at {count} of {operations}, {remains:?}");
        check(&found, &run, run.acknowledged_by(count), &place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_at_every_operation() {
    crash_everywhere(|_| Remains::Everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_every_operation() {
    crash_everywhere(|_| Remains::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_write_at_every_operation() {
    crash_everywhere(|_| Remains::Torn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_sectors_lost_at_every_operation() {
    crash_everywhere(|count| Remains::Some(count as u64 * 7919 + 1)).await;
}

/// The repair after a crash is cut off too.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_the_recovery_from_a_crash() {
    let disk = Simulated::default();
    let run = record(&disk).await;
    let empty = Simulated::default();
    for count in (1..disk.operations()).step_by(disk.operations() / 12) {
        let found = disk.after_crash(&empty, count, Remains::Some(count as u64));
        let acknowledged = run.acknowledged_by(count);
        let before = disk.after_crash(&empty, count, Remains::Some(count as u64));
        open(&found).unwrap().close().await;
        for second in 0..=found.operations() {
            let again = found.after_crash(&before, second, Remains::Some(second as u64 + 3));
            check(&again, &run, acknowledged, &format!("crash at {count}, then at {second}")).await;
        }
    }
}

/// A full disk refuses writes by name, reads go on, and the store recovers by itself when there is room.
async fn full_disk(capacity: u64, tells_free: bool) {
    let disk = Simulated::default();
    let store = open(&disk).unwrap();
    let put = |index: usize| {
        let store = store.clone();
        async move { store.put(&format!("/full/{index:04}"), Bytes::from(vec![1; 50_000]), Expect::Absent).await }
    };
    disk.set_capacity(Some(capacity), tells_free);
    let mut written = 0;
    let error = loop {
        match put(written).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 2000, "the limit does not bite");
    };
    let text = error.to_string();
    assert_eq!(text, "the store is unavailable: no space left on the disk of /simulated/store.redb");
    assert!(written > 20, "{written} writes fit");
    for _ in 0..3 {
        assert!(
            store.list("/full").await.unwrap().0.len() >= written,
            "reads go on, of what was acknowledged"
        );
        assert!(store.watch("/full", 1).await.unwrap().next().await.unwrap().is_ok());
        assert!(matches!(put(written).await, Err(StoreError::Unavailable(_))), "it stays refused");
    }
    // A rewrite needs room for the copy, has none, and leaves everything as it is.
    assert!(matches!(store.rewrite().await, Err(StoreError::Unavailable(_))));
    disk.set_capacity(None, tells_free);
    let mut attempts = 0;
    while let Err(error) = put(written).await {
        match error {
            // The refused commit may turn out to have reached the disk.
            StoreError::Conflict { .. } => break,
            error => assert!(attempts < 100, "the store does not come back: {error}"),
        }
        attempts += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    put(written + 1).await.unwrap();
    assert_eq!(store.list("/full").await.unwrap().0.len(), written + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_that_tells_its_free_space() {
    full_disk(40 << 20, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_that_is_met_by_surprise() {
    full_disk(6 << 20, false).await;
}

/// Compaction and deletes are what makes room, so they go on when puts are refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_emptied_by_deleting() {
    let disk = Simulated::default();
    let store = open(&disk).unwrap();
    let value = Bytes::from(vec![1; 200_000]);
    let mut written = 0;
    disk.set_capacity(Some(60 << 20), true);
    while store.put(&format!("/full/{written:04}"), value.clone(), Expect::Absent).await.is_ok() {
        written += 1;
    }
    store.compact(store.head().await.unwrap()).await.unwrap();
    for index in 0..written - 1 {
        store.delete(&format!("/full/{index:04}"), Expect::Any).await.unwrap();
        // The log remembers what was deleted, until it is compacted.
        if index % 10 == 9 {
            store.compact(store.head().await.unwrap()).await.unwrap();
        }
    }
    store.compact(store.head().await.unwrap()).await.unwrap();
    store.rewrite().await.unwrap();
    store.put("/full/again", value, Expect::Absent).await.unwrap();
}

/// Churn for a long time: the file stays within a bound of what is live, by trimming and rewriting online.
#[tokio::test(flavor = "multi_thread")]
async fn churn_keeps_the_file_bounded() {
    const LIVE: u64 = 200;
    const VALUE: u64 = 10_000;
    let disk = Simulated::default();
    let retention = Retention { revisions: 100, age: Duration::ZERO, log_bytes: 2 << 20 };
    let rewrite = RewritePolicy { min_file_bytes: 8 << 20, live_percent: 33 };
    let options = Options { retention: Some(retention), rewrite, cache_bytes: 4 << 20, ..Options::default() };
    let store = Embedded::open_on(Arc::new(disk.clone()), Path::new(PATH), options).unwrap();
    let mut largest = 0;
    for round in 0..40_u64 {
        // 40 times everything that is live: 80 MB written in all.
        join_all((0..LIVE).map(|index| {
            let (store, value) = (store.clone(), Bytes::from(vec![round as u8; VALUE as usize]));
            async move { store.put(&format!("/churn/{index}"), value, Expect::Any).await.unwrap() }
        }))
        .await;
        let status = store.status().await.unwrap();
        assert!(
            status.log_bytes <= (2 << 20) + 4 * LIVE * VALUE,
            "round {round}: the log has {} bytes",
            status.log_bytes
        );
        largest = largest.max(status.file_bytes);
    }
    let live = LIVE * VALUE;
    let bound = 6 * (live + (2 << 20));
    assert!(largest <= bound, "{largest} bytes of file for {live} live bytes, the bound is {bound}");
    // What was deleted is given back: everything goes but a tenth.
    for index in 0..LIVE * 9 / 10 {
        store.delete(&format!("/churn/{index}"), Expect::Any).await.unwrap();
    }
    store.compact(store.head().await.unwrap()).await.unwrap();
    store.rewrite().await.unwrap();
    let status = store.status().await.unwrap();
    assert!(status.file_bytes <= live / 10 * 6 + (1 << 20), "{status:?} after giving space back");
    assert_eq!(store.list("/churn").await.unwrap().0.len() as u64, LIVE / 10);
}
