//! Pods that reach Services packet by packet. Enters: pods that the network is about to connect. Leaves: those served at their
//! devices, by the service dataplane; and the next gate's answer.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use xebec_dataplane::{PacketPod, PacketPods, packet_pods};
use xebec_network::{Attachment, Gate, ServicePath};

/// How long a pod waits: the runtime then gives its network back and tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has such pods served, then asks the next gate.
pub(crate) struct PacketGate {
    pub(crate) pods: PacketPods,
    pub(crate) next: Arc<dyn Gate>,
}

impl Gate for PacketGate {
    fn admit(&self, attachment: Attachment) -> BoxFuture<'_, Result<(), String>> {
        if attachment.service_path == ServicePath::Socket {
            return self.next.admit(attachment);
        }
        async move {
            let path = attachment.netns.clone();
            let cookie = tokio::task::spawn_blocking(move || packet_pods::netns_cookie(&path)).await;
            let netns = cookie
                .map_err(|error| error.to_string())?
                .map_err(|error| format!("its network namespace has no cookie: {error}"))?;
            let served = self.pods.serve(PacketPod { device: attachment.index, netns });
            let late =
                |_| format!("its Services are not served packet by packet after {} s", PATIENCE.as_secs());
            tokio::time::timeout(PATIENCE, served).await.map_err(late)??;
            self.next.admit(attachment).await
        }
        .boxed()
    }
}
