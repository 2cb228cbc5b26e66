//! When sockets are released. Enters: a wish, after endpoints left. Leaves: passes, at once and again for a short while,
//! since a `connect` may have read the selection just before it was replaced. Called by run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::Drain;
use crate::passes;

/// The wish, and what came of wishes.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    wanted: Arc<Notify>,
    released: Arc<AtomicU64>,
}

impl Drained {
    /// Asks for passes; many wishes at once are one.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    /// Sockets released since the process began.
    pub fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    /// Carries out wishes for ever; `serves` (VIP, endpoint) spares sockets of endpoints that still answer.
    pub async fn follow(
        self,
        drain: Drain,
        serves: impl Fn(&SocketAddr, &SocketAddr) -> bool + Send + Sync + 'static,
    ) {
        let (drain, serves) = (Arc::new(drain), Arc::new(serves));
        let pass = || async {
            let (drain, serves) = (Arc::clone(&drain), Arc::clone(&serves));
            let pass = tokio::task::spawn_blocking(move || drain.pass(&*serves));
            self.tell(pass.await.unwrap_or_else(|error| Err(std::io::Error::other(error))));
        };
        passes::follow(|| self.wanted.notified(), pass).await;
    }

    fn tell(&self, released: std::io::Result<usize>) {
        match released {
            Ok(0) => debug!("no socket to release"),
            Ok(sockets) => {
                self.released.fetch_add(sockets as u64, Ordering::Relaxed);
                info!(sockets, "released connected UDP sockets of endpoints that left");
            }
            Err(error) => warn!(%error, "cannot list the sockets of endpoints that left"),
        }
    }
}
