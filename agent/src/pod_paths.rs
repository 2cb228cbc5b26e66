//! Ways between this node's pods, past its IP stack (`xebec_dataplane::pods`). Enters: pods that the network is about to
//! connect. Leaves: their ways, before their links go up; and the next gate's answer.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xebec_dataplane::Options;
use xebec_dataplane::pods::{LocalPod, PodPaths};
use xebec_network::{Attachment, Gate};
use xebec_program::{Failure, chain};

/// Between two looks for pods that are gone: until then packets to their addresses are dropped, not refused.
const TICK: Duration = Duration::from_secs(1);

/// Gives pods their ways, then asks the next gate.
pub(crate) struct PathGate {
    paths: Mutex<PodPaths>,
    next: Arc<dyn Gate>,
}

impl PathGate {
    /// Loads the program; pods that have a way keep it. With `off`, those that have one lose it, and the next gate is all
    /// there is.
    pub(crate) fn install(
        options: &Options,
        off: bool,
        next: Arc<dyn Gate>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let failed = |error| Failure::part("ways between pods")(&error);
        let mut paths = PodPaths::install(options).map_err(failed)?;
        if off {
            paths.remove_all().map_err(failed)?;
            return Ok(None);
        }
        Ok(Some(Arc::new(Self { paths: Mutex::new(paths), next })))
    }

    /// Takes the ways of pods that are gone, until `stop`.
    pub(crate) async fn clean(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => match self.paths.lock().clean() {
                    Ok(0) => {}
                    Ok(removed) => debug!(removed, "pods are gone"),
                    Err(error) => warn!(error = %chain(&error), "cannot remove the ways of pods that are gone"),
                },
            }
        }
    }
}

impl Gate for PathGate {
    fn admit(&self, attachment: Attachment) -> BoxFuture<'_, Result<(), String>> {
        let [mac, node_mac] = attachment.macs;
        let pod = LocalPod { device: attachment.index, mac, node_mac };
        if let Err(error) = self.paths.lock().add(attachment.address, &pod) {
            let pod = format!("{}/{}", attachment.namespace, attachment.name);
            warn!(pod, error = %chain(&error), "the pod is reached by the node's IP stack");
        }
        self.next.admit(attachment)
    }
}
