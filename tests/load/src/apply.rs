//! Server-side apply: each client applies its own Deployment again and again, changed every time.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::client::Target;
use crate::objects;
use crate::stats::Latencies;
use crate::writes::{merged, unique};

/// Server-side apply.
#[derive(Args)]
pub(crate) struct Options {
    /// How many clients apply at once.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Applies until the time is over; the first failure ends the run.
pub(crate) async fn run(target: &Target, options: &Options) -> Result<Value> {
    let (prefix, time) = (unique(), Duration::from_secs(options.seconds));
    let clients = target.clients(options.clients).await?;
    let started = Instant::now();
    let tasks = clients.into_iter().enumerate().map(|(index, mut client)| {
        let name = format!("apply-{prefix}-{index}");
        let path = format!(
            "/apis/apps/v1/namespaces/{}/deployments/{name}?fieldManager=xebec-load&force=true",
            target.namespace
        );
        tokio::spawn(async move {
            let mut latencies = Latencies::new()?;
            for round in 0_u64.. {
                if started.elapsed() >= time {
                    break;
                }
                let (body, before) = (objects::deployment(&name, round), Instant::now());
                client.call(Method::PATCH, &path, "application/apply-patch+yaml", body).await?;
                latencies.record(before.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let mut all = Latencies::new()?;
    for result in futures::future::join_all(tasks).await {
        all.merge(&result??)?;
    }
    Ok(merged(json!({"workload": "apply", "clients": options.clients}), all.report(started.elapsed())))
}
