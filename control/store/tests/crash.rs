//! A process that writes is killed at random moments: what it acknowledged is there, and revisions never go back.
//!
//! The test runs itself again as the writer, which prints one line for each acknowledged write.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use xebec_store::embedded::{Embedded, Options, Retention};
use xebec_store::{EventKind, Expect, Store, WatchEvent};

const WRITER: &str = "XEBEC_STORE_CRASH_WRITER";
const ROUNDS: u64 = 8;

/// Small bounds, so that trimming and rewrites are hit by the kills too.
fn options() -> Options {
    let retention = Retention { revisions: 200, age: Duration::ZERO, log_bytes: 1 << 20 };
    Options { retention: Some(retention), ..Options::default() }
}

/// Not a test of its own: the writer, when the variable names a file.
#[tokio::test(flavor = "multi_thread")]
async fn writer() {
    let Ok(path) = std::env::var(WRITER) else { return };
    let store = Embedded::open(path, options()).unwrap();
    let mut tasks = Vec::new();
    for task in 0..8_u64 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0_u64.. {
                let key = format!("/crash/{task}/{}", round % 16);
                let value = format!("{round}-{}", "x".repeat((round % 3000) as usize));
                let line = if round % 7 == 6 {
                    match store.delete(&key, Expect::Any).await {
                        Ok((revision, _)) => format!("ack {revision} {key} -\n"),
                        Err(_) => continue,
                    }
                } else {
                    let revision = store.put(&key, Bytes::from(value), Expect::Any).await.unwrap();
                    format!("ack {revision} {key} {round}\n")
                };
                // One write call for each line, past the test harness's capture.
                std::io::stderr().write_all(line.as_bytes()).unwrap();
            }
        }));
    }
    let rewriter: Arc<Embedded> = store.clone();
    tasks.push(tokio::spawn(async move {
        loop {
            rewriter.rewrite().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    for task in tasks {
        task.await.unwrap();
    }
}

/// Runs the writer for a while, kills it, and returns what it acknowledged: revision -> (key, value or none).
fn run_and_kill(path: &Path, after: Duration) -> BTreeMap<u64, (String, Option<String>)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
        .env(WRITER, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        for line in output.lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may be cut off.
            if let ["ack", revision, key, round] = words[..] {
                let round = (round != "-").then(|| round.to_owned());
                acknowledged.insert(revision.parse().unwrap(), (key.to_owned(), round));
            }
        }
        acknowledged
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// What the log still holds, which is more than what was in flight when the writer was killed.
async fn log(store: &Embedded, head: u64) -> Vec<WatchEvent> {
    let compacted = store.status().await.unwrap().compacted_revision.max(1);
    let watch = store.watch("", compacted).await.unwrap();
    let events: Vec<WatchEvent> = watch.take((head - compacted) as usize).map(Result::unwrap).collect().await;
    assert!(
        events.iter().map(|event| event.revision).eq(compacted + 1..=head),
        "the log has every revision once"
    );
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut highest = 1;
    let mut total = 0;
    for round in 0..ROUNDS {
        // Moments that differ from run to run: the nanoseconds of the clock.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let after = Duration::from_millis(400 + u64::from(now.subsec_nanos()) / 1000 % 600);
        let acknowledged = run_and_kill(&path, after);
        total += acknowledged.len();

        let store = Embedded::open(&path, options()).unwrap();
        let head = store.head().await.unwrap();
        if let Some((&last, _)) = acknowledged.last_key_value() {
            let first = *acknowledged.first_key_value().unwrap().0;
            assert!(
                first > highest,
                "round {round}: revision {first} was given twice (the head was {highest})"
            );
            assert!(head >= last, "round {round}: the head is {head}, {last} was acknowledged");
        }
        assert!(head >= highest, "round {round}: the head went back from {highest} to {head}");
        highest = head;

        let log = log(&store, head).await;
        let mut newest: BTreeMap<&str, (u64, Option<&str>)> = BTreeMap::new();
        for (revision, (key, value)) in &acknowledged {
            newest.insert(key, (*revision, value.as_deref()));
        }
        let mut live = 0;
        for (key, (revision, value)) in newest {
            let (entry, _) = store.get(key).await.unwrap();
            // A later write may have been made durable without being acknowledged; an earlier one must not show.
            match (entry, value) {
                (Some(entry), Some(value)) if entry.mod_revision == revision => {
                    assert!(entry.value.starts_with(format!("{value}-").as_bytes()), "round {round}: {key}");
                    live += 1;
                }
                (Some(entry), _) => {
                    assert!(entry.mod_revision > revision, "round {round}: {key} is older than acknowledged")
                }
                (None, None) => {}
                (None, Some(_)) => {
                    let later = |event: &WatchEvent| event.entry.key == key && event.revision > revision;
                    let deleted = log.iter().rfind(|event| later(event)).map(|event| event.kind);
                    assert_eq!(
                        deleted,
                        Some(EventKind::Delete),
                        "round {round}: {key} at {revision} is lost"
                    );
                }
            }
        }
        let (entries, _) = store.list("/crash").await.unwrap();
        assert!(live > 0 || acknowledged.is_empty(), "round {round}: nothing acknowledged is live");
        assert!(entries.iter().all(|entry| entry.mod_revision <= head));
        let status = store.status().await.unwrap();
        let bytes: u64 =
            entries.iter().map(|entry| 16 + entry.key.len() as u64 + entry.value.len() as u64).sum();
        assert_eq!(status.live_bytes, bytes, "round {round}: the counters are exact");
    }
    println!("{total} acknowledged writes over {ROUNDS} kills, head {highest}");
    assert!(total > 100, "the writer hardly wrote: {total}");
}
