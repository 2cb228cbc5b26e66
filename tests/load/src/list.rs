//! LIST: the whole collection in one answer, or in pages.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::client::{Client, JSON, Target};
use crate::copy;
use crate::stats::{median, rounded};

/// Lists.
#[derive(Args)]
pub(crate) struct Options {
    /// How often.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// The page size; 0 is everything at once.
    #[arg(long, default_value_t = 0)]
    limit: usize,
    /// `resourceVersion`; empty is a consistent read, 0 whatever the server has in memory.
    #[arg(long, default_value = "")]
    resource_version: String,
    /// Without the comparison with copying.
    #[arg(long)]
    no_copy: bool,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: Metadata,
    items: Vec<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    r#continue: String,
}

/// Lists the namespace's pods.
pub(crate) async fn run(target: &Target, options: &Options) -> Result<Value> {
    ensure!(options.repeat > 0, "--repeat 0: at least one list must be measured");
    let mut client = target.client().await?;
    let path =
        format!("/api/v1/namespaces/{}/pods?resourceVersion={}", target.namespace, options.resource_version);
    // The first is not measured: it is read in full, to know what is measured.
    let (items, _) = pages(&mut client, &path, options.limit).await?;
    let (mut seconds, mut heads, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..options.repeat {
        let started = Instant::now();
        if options.limit > 0 {
            bytes = pages(&mut client, &path, options.limit).await?.1;
        } else {
            let answer = client.send(Method::GET, &path, JSON, Bytes::new()).await?;
            ensure!(answer.status().is_success(), "GET {path}: {}", answer.status());
            heads.push(started.elapsed().as_secs_f64() * 1e3);
            bytes = drain(answer.into_body(), |_| {}).await?;
        }
        seconds.push(started.elapsed().as_secs_f64());
    }
    let taken = median(seconds);
    let mut result = json!({"workload": "list", "limit": options.limit, "items": items, "bytes": bytes,
        "operations": options.repeat, "list_ms": rounded(taken * 1e3),
        "mb_per_second": (bytes as f64 / taken / 1e6).round()});
    if !heads.is_empty() {
        result["first_byte_ms"] = json!(rounded(median(heads)));
    }
    if !options.no_copy {
        let memory = median((0..options.repeat).map(|_| copy::memory(bytes).as_secs_f64()).collect());
        let mut tls = Vec::new();
        for _ in 0..options.repeat {
            tls.push(copy::over_tls(bytes).await?.as_secs_f64());
        }
        let tls = median(tls);
        result["copy_ms"] = json!(rounded(memory * 1e3));
        result["tls_copy_ms"] = json!(rounded(tls * 1e3));
        result["times_copy"] = json!(rounded(taken / memory));
        result["times_tls_copy"] = json!(rounded(taken / tls));
    }
    Ok(result)
}

/// Every page; how many items and bytes they had.
async fn pages(client: &mut Client, path: &str, limit: usize) -> Result<(usize, usize)> {
    let (mut items, mut bytes, mut next) = (0, 0, String::new());
    loop {
        let page = match (limit, next.as_str()) {
            (0, _) => path.to_owned(),
            (_, "") => format!("{path}&limit={limit}"),
            // A token goes without a resource version: it has its own.
            _ => format!("{}?limit={limit}&continue={next}", path.split('?').next().unwrap_or(path)),
        };
        let body = client.get(&page).await?;
        let list: List = serde_json::from_slice(&body).with_context(|| format!("{path}: not a list"))?;
        items += list.items.len();
        bytes += body.len();
        if list.metadata.r#continue.is_empty() {
            return Ok((items, bytes));
        }
        next = list.metadata.r#continue;
    }
}

/// Reads a body without keeping it; how many bytes it had.
pub(crate) async fn drain(mut body: Incoming, mut each: impl FnMut(&Bytes)) -> Result<usize> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes += data.len();
            each(&data);
        }
    }
    Ok(bytes)
}
