//! Durable writes per second of the embedded engine, and their latency, for 1, 16 and 256 writers.
//!
//! `cargo run --release -p xebec-store --example bench [directory [value-bytes [seconds]]]`; the directory must be on the
//! disk that is to be measured. Each line: writers, value bytes, writes/s, p50 and p99 in milliseconds, file bytes.

use bytes::Bytes;
use futures::future::join_all;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use xebec_store::embedded::{Embedded, Options};
use xebec_store::{Expect, Store, StoreError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let bytes: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let directory = parent.join(format!("xebec-store-bench-{}", std::process::id()));
    for writers in [1, 16, 256] {
        let path = directory.join(format!("{writers}.redb"));
        let line = measure(path, writers, bytes, Duration::from_secs(seconds)).await?;
        std::io::stdout().write_all(line.as_bytes())?;
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

async fn measure(path: PathBuf, writers: usize, bytes: usize, time: Duration) -> Result<String, StoreError> {
    let store = Embedded::open(path, Options::default())?;
    let started = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let (store, value) = (store.clone(), Bytes::from(vec![b'x'; bytes]));
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while started.elapsed() < time {
                let key = format!("/bench/{writer}/{}", latencies.len() % 1000);
                let before = Instant::now();
                store.put(&key, value.clone(), Expect::Any).await?;
                latencies.push(before.elapsed());
            }
            Ok::<_, StoreError>(latencies)
        })
    });
    let mut latencies = Vec::new();
    for result in join_all(tasks).await {
        latencies.extend(result.map_err(|error| StoreError::Unavailable(error.to_string()))??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[latencies.len() * percent / 100].as_secs_f64() * 1e3;
    let file = store.status().await?.file_bytes;
    Ok(format!(
        "{writers:>4} writers {bytes:>6} B {:>9.0} writes/s  p50 {:.2} ms  p99 {:.2} ms  file {file} B\n",
        latencies.len() as f64 / elapsed,
        percentile(50),
        percentile(99),
    ))
}
