//! Watch fan-out: changes at a fixed rate, many watchers of all of them, and how late each event is.
//!
//! Every change carries a number. A watcher that misses one, sees one twice or out of order fails the run. Lateness is
//! counted twice: from the moment the change was sent (with the write itself in it, as a client feels it), and from the
//! moment it was acknowledged (what the watch adds; an event that comes before the acknowledgement is not late at all).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memchr::memmem::Finder;
use serde_json::{Value, json};

use crate::client::{Client, JSON, Target};
use crate::objects;
use crate::stats::{Latencies, rounded};
use crate::writes::unique;

/// Objects the changes go to in turn, so that the next change need not wait for the one before.
const OBJECTS: usize = 8;
/// What stands before the number in an event.
const MARK: &[u8] = b"\"seq\":\"";
/// Digits of the number.
const DIGITS: usize = 9;

/// Watchers and changes.
#[derive(Args)]
pub(crate) struct Options {
    /// How many watchers.
    #[arg(long, default_value_t = 250)]
    watchers: usize,
    /// Changes a second.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// For how long.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Bytes of data in each object.
    #[arg(long, default_value_t = 512)]
    bytes: usize,
}

/// What writer and watchers share: when each change was sent and acknowledged, in nanoseconds since the start.
struct Times {
    started: Instant,
    sent: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
    written: AtomicBool,
}

impl Times {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Runs it.
pub(crate) async fn run(target: &Target, options: &Options) -> Result<Value> {
    let total = options.rate as usize * options.seconds as usize;
    ensure!(
        total >= OBJECTS && options.watchers > 0,
        "at least one watcher and {OBJECTS} changes are needed"
    );
    let path = format!("/api/v1/namespaces/{}/configmaps", target.namespace);
    let names: Vec<String> = (0..OBJECTS).map(|index| format!("watched-{}-{index}", unique())).collect();
    let mut writer = target.client().await?;
    for name in &names {
        writer.create(&path, objects::config_map(name, 999_999_999, options.bytes), false).await?;
    }
    let list: Value = serde_json::from_slice(&writer.get(&format!("{path}?limit=1")).await?)?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("the list has no resourceVersion")?;
    let watch_path = format!("{path}?watch=1&resourceVersion={revision}");
    let mut streams = Vec::with_capacity(options.watchers);
    for mut client in target.clients(options.watchers).await? {
        let answer = client.send(Method::GET, &watch_path, JSON, Bytes::new()).await?;
        ensure!(answer.status().is_success(), "GET {watch_path}: {}", answer.status());
        streams.push((client, answer.into_body()));
    }
    let times = Arc::new(Times {
        started: Instant::now(),
        sent: (0..total).map(|_| AtomicU64::new(0)).collect(),
        acknowledged: (0..total).map(|_| AtomicU64::new(0)).collect(),
        written: AtomicBool::new(false),
    });
    let watchers: Vec<_> = streams
        .into_iter()
        .map(|(client, body)| tokio::spawn(follow(client, body, Arc::clone(&times))))
        .collect();
    let writers = target.clients(OBJECTS).await?;
    let interval = Duration::from_secs(1) / options.rate;
    let tasks = writers.into_iter().zip(names).enumerate().map(|(first, (client, name))| {
        let path = format!("{path}/{name}");
        tokio::spawn(change(client, path, name, first, interval, options.bytes, Arc::clone(&times)))
    });
    for result in futures::future::join_all(tasks).await {
        result??;
    }
    let writing = times.started.elapsed();
    times.written.store(true, Ordering::Release);
    let mut received = Vec::with_capacity(watchers.len());
    for watcher in watchers {
        received.push(watcher.await??);
    }
    report(options, &times, &received, writing)
}

/// Writes every `OBJECTS`th change, each at its time.
async fn change(
    mut client: Client,
    path: String,
    name: String,
    first: usize,
    interval: Duration,
    bytes: usize,
    times: Arc<Times>,
) -> Result<()> {
    for number in (first..times.sent.len()).step_by(OBJECTS) {
        let due = times.started + interval * u32::try_from(number)?;
        tokio::time::sleep_until(due.into()).await;
        let body = objects::config_map(&name, number as u64, bytes);
        times.sent[number].store(times.now(), Ordering::Relaxed);
        client.call(Method::PUT, &path, JSON, body).await?;
        times.acknowledged[number].store(times.now(), Ordering::Relaxed);
    }
    Ok(())
}

/// Reads one watch until every change has come; when each came, in nanoseconds.
async fn follow(_client: Client, mut body: Incoming, times: Arc<Times>) -> Result<Vec<u64>> {
    let total = times.sent.len();
    let mut scanner = Scanner::new(total);
    while scanner.seen < total {
        let frame = tokio::time::timeout(Duration::from_secs(30), body.frame()).await;
        let Some(frame) = frame.context("no event came for 30 s")? else {
            bail!("the watch ended after {} of {total} events", scanner.seen)
        };
        if let Ok(data) = frame?.into_data() {
            let now = times.now();
            scanner.feed(&data, now)?;
        }
    }
    Ok(scanner.received)
}

/// Finds the numbers in a stream of events and checks that each object's come in order, once.
struct Scanner {
    finder: Finder<'static>,
    partial: Vec<u8>,
    next: [usize; OBJECTS],
    received: Vec<u64>,
    seen: usize,
}

impl Scanner {
    fn new(total: usize) -> Self {
        let next = std::array::from_fn(|index| index);
        Self { finder: Finder::new(MARK), partial: Vec::new(), next, received: vec![0; total], seen: 0 }
    }

    fn feed(&mut self, data: &[u8], now: u64) -> Result<()> {
        if self.partial.is_empty() && data.ends_with(b"\n") {
            return self.lines(data, now);
        }
        self.partial.extend_from_slice(data);
        if let Some(end) = memchr::memrchr(b'\n', &self.partial) {
            let rest = self.partial.split_off(end + 1);
            let lines = std::mem::replace(&mut self.partial, rest);
            return self.lines(&lines, now);
        }
        Ok(())
    }

    fn lines(&mut self, mut data: &[u8], now: u64) -> Result<()> {
        while let Some(at) = self.finder.find(data) {
            data = &data[at + MARK.len()..];
            let number = data.get(..DIGITS).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            let number: usize = number.context("an event's number is cut off")?;
            // Objects of other runs have other numbers; they do not change meanwhile.
            let Some(slot) = self.received.get_mut(number) else { continue };
            let expected = &mut self.next[number % OBJECTS];
            ensure!(number == *expected, "event {number} came where {expected} was due");
            *expected += OBJECTS;
            *slot = now;
            self.seen += 1;
        }
        Ok(())
    }
}

fn report(options: &Options, times: &Times, received: &[Vec<u64>], writing: Duration) -> Result<Value> {
    let (mut from_sent, mut from_acknowledged) = (Latencies::new()?, Latencies::new()?);
    let mut writes = Latencies::new()?;
    for (number, sent) in times.sent.iter().enumerate() {
        let sent = sent.load(Ordering::Relaxed);
        let acknowledged = times.acknowledged[number].load(Ordering::Relaxed);
        writes.record(Duration::from_nanos(acknowledged - sent));
        for watcher in received {
            from_sent.record(Duration::from_nanos(watcher[number].saturating_sub(sent)));
            from_acknowledged.record(Duration::from_nanos(watcher[number].saturating_sub(acknowledged)));
        }
    }
    let last = received.iter().flatten().max().copied().unwrap_or_default();
    let elapsed = Duration::from_nanos(last);
    Ok(json!({
        "workload": "watch", "watchers": options.watchers, "rate": options.rate,
        "written_per_second": (times.sent.len() as f64 / writing.as_secs_f64()).round(),
        "operations": from_sent.count(),
        "seconds": rounded(elapsed.as_secs_f64()),
        "per_second": (from_sent.count() as f64 / elapsed.as_secs_f64()).round(),
        "write_p50_ms": writes.percentile(50.0), "write_p99_ms": writes.percentile(99.0),
        "sent_p50_ms": from_sent.percentile(50.0), "sent_p99_ms": from_sent.percentile(99.0),
        "p50_ms": from_acknowledged.percentile(50.0), "p99_ms": from_acknowledged.percentile(99.0),
        "max_ms": from_acknowledged.percentile(100.0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> String {
        format!("{{\"object\":{{\"data\":{{\"f:seq\":{{}},\"seq\":\"{number:09}\"}}}}}}\n")
    }

    #[test]
    fn numbers_are_found_across_frames_and_gaps_fail() {
        let mut scanner = Scanner::new(20);
        let text = format!("{}{}{}", event(1), event(0), event(9));
        let (first, second) = text.as_bytes().split_at(30);
        scanner.feed(first, 5).unwrap();
        assert_eq!(scanner.seen, 0);
        scanner.feed(second, 7).unwrap();
        assert_eq!((scanner.seen, scanner.received[9], scanner.partial.len()), (3, 7, 0));
        assert!(scanner.feed(event(16).as_bytes(), 8).unwrap_err().to_string().contains("where 8 was due"));
        assert!(scanner.feed(event(9).as_bytes(), 8).is_err(), "twice");
        scanner.feed(event(999_999_999).as_bytes(), 8).unwrap();
    }
}
