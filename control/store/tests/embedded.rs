//! The contract on the embedded engine, and what only it promises: recovery, locks, bounds, backup, rewrite.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use xebec_store::embedded::{Embedded, Options, Retention};
use xebec_store::{Expect, ListAt, Store, StoreError};

fn open(directory: &Path, options: Options) -> Arc<Embedded> {
    Embedded::open(directory.join("store.redb"), options).unwrap()
}

/// A ring so small that watchers live on the log.
fn small_ring() -> Options {
    Options { recent_events: 3, retention: None, ..Options::default() }
}

async fn fill(store: &Embedded, range: std::ops::Range<u64>, bytes: usize) {
    for first in range.clone().step_by(100) {
        let writes = (first..range.end.min(first + 100)).map(|index| async move {
            let value = Bytes::from(vec![index as u8; bytes]);
            store.put(&format!("/fill/{index:06}"), value, Expect::Any).await.unwrap()
        });
        join_all(writes).await;
    }
}

async fn contract(options: Options, shared: bool) {
    let directory = tempfile::tempdir().unwrap();
    let common = open(&directory.path().join("common"), options.clone());
    let serial = std::sync::atomic::AtomicUsize::new(0);
    xebec_store::contract::run_all(|| {
        let serial = serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let store: Arc<dyn Store> = if shared {
            common.clone()
        } else {
            open(&directory.path().join(serial.to_string()), options.clone())
        };
        async move { store }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_on_one_store_each() {
    contract(Options::default(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_on_one_shared_store() {
    contract(Options::default(), true).await;
}

#[tokio::test]
async fn contract_when_every_watch_reads_the_log() {
    contract(small_ring(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_is_at_revision_one_and_state_survives_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options::default());
    assert_eq!(store.head().await.unwrap(), 1);
    assert_eq!(store.put("/k", Bytes::from_static(b"1"), Expect::Absent).await.unwrap(), 2);
    assert_eq!(store.put("/k", Bytes::from_static(b"2"), Expect::Revision(2)).await.unwrap(), 3);
    store.compact(2).await.unwrap();
    let (status, listed) = (store.status().await.unwrap(), store.list("").await.unwrap());
    drop(store);

    let store = open(directory.path(), Options::default());
    assert_eq!(store.list("").await.unwrap(), listed);
    let reopened = store.status().await.unwrap();
    assert_eq!((reopened.revision, reopened.compacted_revision), (3, 2));
    assert_eq!((reopened.live_bytes, reopened.log_bytes), (status.live_bytes, status.log_bytes));
    assert!(matches!(store.watch("/", 1).await, Err(StoreError::Compacted { oldest: 2 })));
    let event = store.watch("/", 2).await.unwrap().next().await.unwrap().unwrap();
    assert_eq!((event.revision, event.previous.as_deref()), (3, Some(&b"1"[..])));
    assert_eq!(store.put("/k", Bytes::new(), Expect::Revision(3)).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opening_and_a_foreign_file_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options::default());
    let path = directory.path().join("store.redb");
    let error = Embedded::open(&path, Options::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("another process holds {}", path.display()));
    store.close().await;
    assert!(matches!(store.get("/k").await, Err(StoreError::Closed)));
    assert!(matches!(store.put("/k", Bytes::new(), Expect::Any).await, Err(StoreError::Closed)));
    Embedded::open(&path, Options::default()).unwrap();

    let foreign = directory.path().join("foreign");
    std::fs::write(&foreign, vec![7; 10_000]).unwrap();
    let error = Embedded::open(&foreign, Options::default()).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("foreign")), "{error}");
    let error = Embedded::open(directory.path(), Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::Configuration(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_watches() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options::default());
    let mut watch = store.watch("/", 1).await.unwrap();
    let waiting = tokio::spawn(async move { (watch.next().await, watch.next().await) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(store);
    let (last, end) = waiting.await.unwrap();
    assert!(matches!(last, Some(Err(StoreError::Closed))) && end.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_follows_writes_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options::default());
    let mut watch = store.watch("/pods", 1).await.unwrap();
    let mut progress = watch.progress();
    let driver = tokio::spawn(async move { watch.next().await });
    fill(&store, 0..500, 10).await;
    tokio::time::timeout(Duration::from_secs(10), progress.wait_for(|&reached| reached == 501))
        .await
        .unwrap()
        .unwrap();
    driver.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_bounds_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention { revisions: 50, age: Duration::ZERO, log_bytes: u64::MAX };
    let store = open(directory.path(), Options { retention: Some(retention), ..Options::default() });
    fill(&store, 0..3000, 100).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let status = store.status().await.unwrap();
        if status.compacted_revision == status.revision - 50 && status.log_bytes < 50 * 200 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the log stays at {status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(store.list("/fill").await.unwrap().0.len(), 3000);
    assert!(matches!(store.watch("/", 1).await, Err(StoreError::Compacted { oldest: 2951 })));
    let replayed: Vec<_> = store.watch("/", 2951).await.unwrap().take(50).collect().await;
    assert!(replayed.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_bounded_in_bytes_whatever_the_age() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention { log_bytes: 100_000, ..Retention::default() };
    let store = open(directory.path(), Options { retention: Some(retention), ..Options::default() });
    fill(&store, 0..2000, 1000).await;
    let status = store.status().await.unwrap();
    assert!(status.log_bytes <= 100_000 && status.compacted_revision > 1500, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_overtaken_by_compaction_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), small_ring());
    let mut watch = store.watch("/", 1).await.unwrap();
    fill(&store, 0..200, 10).await;
    store.compact(150).await.unwrap();
    assert!(matches!(watch.next().await, Some(Err(StoreError::Compacted { oldest: 150 }))));
    assert!(watch.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_becomes_a_store_of_that_moment() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options::default());
    fill(&store, 0..1000, 500).await;
    let (file, target) = (directory.path().join("backup"), directory.path().join("restored/store.redb"));
    let sink = std::fs::File::create(&file).unwrap();
    let (header, ()) = futures::join!(store.snapshot(sink), fill(&store, 1000..1500, 500));
    let header = header.unwrap();
    assert_eq!(header.entries, header.revision - 1, "every write was a creation");

    assert_eq!(Embedded::restore(&file, &target, 1_000_000).unwrap(), header.revision + 1_000_000);
    let error = Embedded::restore(&file, &target, 0).unwrap_err();
    assert!(error.to_string().ends_with("exists already; it is never overwritten"), "{error}");
    let copy = Embedded::open(&target, Options::default()).unwrap();
    let (entries, head) = copy.list("/fill").await.unwrap();
    assert_eq!((entries.len() as u64, head), (header.entries, header.revision + 1_000_000));
    let request = ListAt { revision: Some(header.revision), ..ListAt::default() };
    assert_eq!(
        entries,
        store.list_at("/fill", request).await.unwrap().entries,
        "keys, values and revisions stay"
    );
    let bytes: u64 = entries.iter().map(|entry| 16 + entry.key.len() as u64 + entry.value.len() as u64).sum();
    assert_eq!(copy.status().await.unwrap().live_bytes, bytes, "the counters are exact");
    // Whoever saw a revision after the snapshot is told to list again, at once and after the next write.
    for after in [header.revision, header.revision + 400] {
        assert!(
            matches!(copy.watch("/", after).await, Err(StoreError::Compacted { oldest }) if oldest == head)
        );
    }
    assert_eq!(copy.put("/new", Bytes::new(), Expect::Absent).await.unwrap(), head + 1);

    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let elsewhere = directory.path().join("damaged/store.redb");
    let error = Embedded::restore(&file, &elsewhere, 0).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert!(!elsewhere.exists(), "nothing is made of a damaged snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_gives_space_back_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options { retention: None, ..Options::default() });
    fill(&store, 0..4000, 4000).await;
    for index in 100..4000 {
        if index % 10 != 0 {
            store.delete(&format!("/fill/{index:06}"), Expect::Any).await.unwrap();
        }
        if index == 2000 {
            break;
        }
    }
    store.compact(store.head().await.unwrap()).await.unwrap();
    let before = store.status().await.unwrap();
    let mut watch = store.watch("/", before.revision).await.unwrap();
    // Writers go on while the file is rewritten.
    let (rewritten, ()) = futures::join!(store.rewrite(), fill(&store, 10_000..12_000, 100));
    rewritten.unwrap();
    let after = store.status().await.unwrap();
    assert!(after.file_bytes < before.file_bytes * 3 / 4, "{before:?} -> {after:?}");
    assert_eq!(after.revision, before.revision + 2000);
    for revision in before.revision + 1..=after.revision {
        assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    }
    let listed = store.list("").await.unwrap();
    let live: u64 = listed.0.iter().map(|entry| 16 + entry.key.len() as u64 + entry.value.len() as u64).sum();
    assert_eq!(after.live_bytes, live, "the counters are exact");
    drop((store, watch));
    let store = open(directory.path(), Options::default());
    assert_eq!(store.list("").await.unwrap(), listed, "what was written to the rewritten file is there");
    assert!(!directory.path().join("store.redb.rewrite").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_commits() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options::default());
    let writers = (0..64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for round in 0..20 {
                let key = format!("/w/{writer}/{round}");
                revisions.push(store.put(&key, Bytes::from_static(b"v"), Expect::Absent).await.unwrap());
            }
            assert!(revisions.is_sorted(), "a writer's own writes are in order");
            revisions
        })
    });
    let mut all: Vec<u64> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(2..2 + 64 * 20), "every revision exactly once");
}
