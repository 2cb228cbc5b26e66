//! When a server that is being started becomes ready. Enters: a kubeconfig that may not exist yet. Leaves: the moment.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::Common;
use crate::client::Target;

/// Waiting for readiness.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds until it is given up.
    #[arg(long, default_value_t = 60)]
    wait: u64,
}

/// Asks every two milliseconds, over a connection of its own each time until one succeeds.
pub(crate) async fn run(common: &Common, options: &Options) -> Result<Value> {
    let limit = Duration::from_secs(options.wait);
    let started = Instant::now();
    loop {
        let outcome = ask(common).await;
        match outcome {
            Ok(()) => break,
            Err(error) if started.elapsed() > limit => {
                bail!("the server is not ready after {} s: {error:#}", options.wait)
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(json!({"workload": "ready", "unix_ns": u64::try_from(now.as_nanos())?}))
}

async fn ask(common: &Common) -> Result<()> {
    let mut client = Target::load(common)?.client().await?;
    client.get("/readyz").await.map(drop)
}
