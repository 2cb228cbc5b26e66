//! From the runtime's event stream to the manager. Enters: [`RuntimeEvents`]. Leaves: [`Signal`]s; a broken stream is
//! opened again, and each opening asks for a relist, since nothing is replayed for certain.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use xebec_cri::{CriError, RuntimeEvent, RuntimeEvents};

/// What the pump tells the manager.
#[derive(Clone, Debug)]
pub enum Signal {
    /// The stream is open: list everything once.
    Opened,
    /// Something happened.
    Event(RuntimeEvent),
}

/// Pumps until `cancel`; `healthy` tells whether a stream is open.
pub async fn run(
    events: Arc<dyn RuntimeEvents>,
    signals: mpsc::Sender<Signal>,
    healthy: watch::Sender<bool>,
    cancel: CancellationToken,
) {
    loop {
        let work = pump(events.as_ref(), &signals, &healthy);
        let pause = tokio::select! {
            pause = work => pause,
            () = cancel.cancelled() => return,
        };
        healthy.send_replace(false);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = cancel.cancelled() => return,
        }
    }
}

/// Pumps one stream to its end; returns how long to wait before the next.
async fn pump(
    events: &dyn RuntimeEvents,
    signals: &mpsc::Sender<Signal>,
    healthy: &watch::Sender<bool>,
) -> Duration {
    let mut stream = match events.subscribe().await {
        Ok(stream) => stream,
        Err(CriError::Unimplemented(why)) => {
            tracing::warn!(why, "the runtime has no event stream: polling every second");
            return Duration::from_secs(300);
        }
        Err(error) => {
            tracing::warn!(%error, "no event stream from the runtime");
            return Duration::from_secs(1);
        }
    };
    healthy.send_replace(true);
    if signals.send(Signal::Opened).await.is_err() {
        return Duration::from_secs(1);
    }
    loop {
        match stream.next().await {
            Some(Ok(event)) => {
                if signals.send(Signal::Event(event)).await.is_err() {
                    return Duration::from_secs(1);
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the runtime's event stream broke");
                return Duration::from_millis(200);
            }
            None => return Duration::from_millis(200),
        }
    }
}
