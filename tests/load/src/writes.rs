//! Many clients that each do one small operation after the other: create, get, and filling up with pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Target};
use crate::objects;
use crate::stats::Latencies;

/// Creations of ConfigMaps.
#[derive(Args)]
pub(crate) struct Options {
    /// How many clients write at once.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of data in each object.
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Never more objects than this.
    #[arg(long, default_value_t = 200_000)]
    limit: usize,
}

/// Reads of one ConfigMap.
#[derive(Args)]
pub(crate) struct GetOptions {
    /// How many clients read at once.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of data in the object.
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
}

/// Creation of pods up to a number.
#[derive(Args)]
pub(crate) struct FillOptions {
    /// How many pods there shall be.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// How many clients create at once.
    #[arg(long, default_value_t = 64)]
    clients: usize,
}

/// The work of one client: operation `index` (unique over all clients).
trait Operation: Send + Sync + 'static {
    fn run(&self, client: &mut Client, index: usize) -> impl Future<Output = Result<()>> + Send;
}

struct Create {
    path: String,
    prefix: String,
    bytes: usize,
}

impl Operation for Create {
    async fn run(&self, client: &mut Client, index: usize) -> Result<()> {
        let body = objects::config_map(&format!("{}-{index}", self.prefix), 0, self.bytes);
        client.create(&self.path, body, false).await
    }
}

struct Get {
    path: String,
}

impl Operation for Get {
    async fn run(&self, client: &mut Client, _index: usize) -> Result<()> {
        client.get(&self.path).await.map(drop)
    }
}

struct Fill {
    path: String,
}

impl Operation for Fill {
    async fn run(&self, client: &mut Client, index: usize) -> Result<()> {
        let name = format!("app-{}-{index:06}", index % 100);
        client.create(&self.path, objects::pod(&name, index), true).await
    }
}

/// Lets every client repeat the operation until the time or the number is used up; the first failure ends the run.
async fn repeat<O: Operation>(
    target: &Target,
    operation: O,
    clients: usize,
    time: Duration,
    limit: usize,
) -> Result<Value> {
    let operation = Arc::new(operation);
    let next = Arc::new(AtomicUsize::new(0));
    let clients = target.clients(clients).await?;
    let started = Instant::now();
    let tasks = clients.into_iter().map(|mut client| {
        let (operation, next) = (Arc::clone(&operation), Arc::clone(&next));
        tokio::spawn(async move {
            let mut latencies = Latencies::new()?;
            while started.elapsed() < time {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= limit {
                    break;
                }
                let before = Instant::now();
                operation.run(&mut client, index).await?;
                latencies.record(before.elapsed());
            }
            anyhow::Ok((latencies, client.refused))
        })
    });
    let (mut all, mut refused) = (Latencies::new()?, 0);
    for result in futures::future::join_all(tasks).await {
        let (latencies, refusals) = result??;
        all.merge(&latencies)?;
        refused += refusals;
    }
    Ok(merged(all.report(started.elapsed()), json!({"refused": refused})))
}

/// A word that no earlier run used, for names.
pub(crate) fn unique() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}

/// Creates ConfigMaps.
pub(crate) async fn create(target: &Target, options: &Options) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{}/configmaps", target.namespace);
    let create = Create { path, prefix: unique(), bytes: options.bytes };
    let time = Duration::from_secs(options.seconds);
    let report = repeat(target, create, options.clients, time, options.limit).await?;
    Ok(merged(json!({"workload": "writes", "clients": options.clients}), report))
}

/// Reads one ConfigMap.
pub(crate) async fn get(target: &Target, options: &GetOptions) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{}/configmaps", target.namespace);
    let name = format!("read-{}", unique());
    let body = objects::config_map(&name, 0, options.bytes);
    target.client().await?.create(&path, body, false).await?;
    let get = Get { path: format!("{path}/{name}") };
    let time = Duration::from_secs(options.seconds);
    let report = repeat(target, get, options.clients, time, usize::MAX).await?;
    Ok(merged(json!({"workload": "get", "clients": options.clients}), report))
}

/// Creates pods.
pub(crate) async fn fill(target: &Target, options: &FillOptions) -> Result<Value> {
    let fill = Fill { path: format!("/api/v1/namespaces/{}/pods", target.namespace) };
    let report = repeat(target, fill, options.clients, Duration::from_secs(1800), options.pods).await?;
    Ok(merged(json!({"workload": "fill", "clients": options.clients}), report))
}

/// Both objects' fields in one.
pub(crate) fn merged(mut first: Value, second: Value) -> Value {
    if let (Value::Object(first), Value::Object(second)) = (&mut first, second) {
        first.extend(second);
    }
    first
}
