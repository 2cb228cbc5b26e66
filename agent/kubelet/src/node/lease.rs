//! The node's heartbeat: its Lease in kube-node-lease, renewed four times in its life on a task of its own, so that
//! no other work can delay it.

use std::time::Duration;

use kube::Client;
use tokio_util::sync::CancellationToken;
use xebec_lease::NodeLease;

const NAMESPACE: &str = "kube-node-lease";
/// A renewal must not wait longer than this for its answer.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Renews until `cancel`.
pub async fn run(client: Client, node: String, duration: Duration, cancel: CancellationToken) {
    let lease = NodeLease { namespace: NAMESPACE, name: &node, node: &node, label: None, duration };
    let mut ticks = tokio::time::interval(duration / 4);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = cancel.cancelled() => return,
        }
        // at once after a failure, then with the rhythm of the ticks
        for pause in [Duration::from_millis(200), Duration::from_secs(1), Duration::ZERO] {
            let renewed = tokio::time::timeout(CALL_LIMIT, lease.renew(&client)).await;
            match renewed {
                Ok(Ok(())) => break,
                Ok(Err(error)) => tracing::warn!(%error, "the node's lease is not renewed"),
                Err(_) => tracing::warn!("the node's lease is not renewed: no answer in time"),
            }
            tokio::time::sleep(pause).await;
        }
    }
}
