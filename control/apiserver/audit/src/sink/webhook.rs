//! The webhook: lists of events posted to a server outside (`--audit-webhook-config-file`).
//!
//! Enters: events, into a bounded queue. Leaves: `EventList`s, when enough have gathered or the oldest has waited long
//! enough. A list that cannot be delivered after the usual tries is dropped and logged.
//!
//! Authority: `k8s.io/apiserver/plugin/pkg/audit/{webhook,buffered}`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use xebec_identity::remote::{Remote, RemoteError};

use super::Sink;
use crate::event::Event;

/// Events the queue holds at most (`--audit-webhook-batch-buffer-size`).
const BUFFER: usize = 10_000;
/// Events of one list at most (`--audit-webhook-batch-max-size`).
const MAX_SIZE: usize = 400;
/// How long the oldest event of a list waits (`--audit-webhook-batch-max-wait`).
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How long one delivery may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How events gather into lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Events the queue holds at most.
    pub buffer: usize,
    /// Events of one list at most.
    pub max_size: usize,
    /// How long the oldest event of a list waits.
    pub max_wait: Duration,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions { buffer: BUFFER, max_size: MAX_SIZE, max_wait: MAX_WAIT }
    }
}

/// The sink's end of the queue.
pub struct Webhook {
    sender: mpsc::Sender<Value>,
}

impl Webhook {
    /// Starts delivering to the server of a kubeconfig file; the task ends when the sink is dropped, after what is
    /// queued.
    pub async fn start(path: &Path, options: BatchOptions) -> Result<Webhook, RemoteError> {
        let remote = Remote::from_kubeconfig(path, PATIENCE).await?;
        let (sender, receiver) = mpsc::channel(options.buffer.max(1));
        tokio::spawn(deliver(remote, receiver, options));
        Ok(Webhook { sender })
    }
}

impl Sink for Webhook {
    fn write(&self, event: &Event) -> bool {
        let Ok(value) = serde_json::to_value(event) else { return true };
        if self.sender.try_send(value).is_err() {
            tracing::error!(
                audit_id = event.audit_id,
                "the audit webhook's queue is full, an event is dropped"
            );
        }
        true
    }
}

async fn deliver(remote: Remote, mut receiver: mpsc::Receiver<Value>, options: BatchOptions) {
    while let Some(items) = gather(&mut receiver, options).await {
        let count = items.len();
        let list =
            json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items});
        if let Err(error) = remote.send(&list).await {
            tracing::error!(%error, count, "audit events could not be delivered to the webhook");
        }
    }
}

/// The next list; `None` when there will be no more.
async fn gather(receiver: &mut mpsc::Receiver<Value>, options: BatchOptions) -> Option<Vec<Value>> {
    let mut items = vec![receiver.recv().await?];
    let until = Instant::now() + options.max_wait;
    while items.len() < options.max_size {
        match tokio::time::timeout_at(until, receiver.recv()).await {
            Ok(Some(item)) => items.push(item),
            Ok(None) | Err(_) => break,
        }
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lists_are_full_or_old_enough() {
        let (sender, mut receiver) = mpsc::channel(10);
        let options = BatchOptions { buffer: 10, max_size: 2, max_wait: Duration::from_secs(5) };
        for number in 0..3 {
            sender.send(json!(number)).await.unwrap();
        }
        assert_eq!(gather(&mut receiver, options).await, Some(vec![json!(0), json!(1)]));
        let start = Instant::now();
        assert_eq!(gather(&mut receiver, options).await, Some(vec![json!(2)]));
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        drop(sender);
        assert_eq!(gather(&mut receiver, options).await, None);
    }
}
