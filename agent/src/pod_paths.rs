//! Ways between this node's pods, past its IP stack (`xebec_dataplane::pods`). Enters: pods that the network is about to
//! connect. Leaves: their ways, before their links go up; and the next gate's answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xebec_dataplane::Options;
use xebec_dataplane::addresses::Notices;
use xebec_dataplane::pods::{LocalPod, PodPaths};
use xebec_network::{Attachment, Gate};
use xebec_program::{Failure, chain};

/// Between two looks for pods that are gone, without word from the kernel that a device is: until then packets to their
/// addresses are dropped, not refused.
const LOOK: Duration = Duration::from_secs(60);
/// As long, where the kernel gives no word.
const BLIND: Duration = Duration::from_secs(1);
/// A device that comes or goes is told of several times, and pods come and go in groups: one look for all that is told within
/// so long.
const GATHER: Duration = Duration::from_millis(100);

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
        let mut devices = followed(Notices::of_devices());
        loop {
            let mut pause = if devices.is_some() { LOOK } else { BLIND };
            match self.paths.lock().clean() {
                Ok(0) => {}
                Ok(removed) => debug!(removed, "pods are gone"),
                Err(error) => {
                    warn!(error = %chain(&error), "cannot remove the ways of pods that are gone");
                    pause = BLIND;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                told = changed(devices.as_ref()) => if followed(told).is_none() { devices = None },
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GATHER) => {}
            }
        }
    }
}

/// The next word of devices; none ever comes where they are not followed.
async fn changed(devices: Option<&Notices>) -> io::Result<()> {
    match devices {
        Some(devices) => devices.changed().await,
        None => std::future::pending().await,
    }
}

fn followed<T>(result: io::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| warn!(%error, "devices are not followed; pods that are gone are looked for"))
        .ok()
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
