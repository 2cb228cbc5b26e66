//! What the proxy tells of itself: kube-proxy's metrics by its names (`proxy`), the process (`process`), the maps and
//! the programs (`maps`), whatever the agent adds; as text (`text`) over HTTP (`server`). Called by run.

mod maps;
mod process;
mod proxy;
mod server;
mod text;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use maps::Fill;
pub use proxy::{NoLocal, ProxyMetrics};
pub use server::serve;
pub use text::{Histogram, Labels, Text};

use crate::apply::Applier;
use crate::drain::worker::Drained;
use crate::maps::pinned::PinnedMaps;
use crate::sctp;

/// Metrics of the agent's other parts, added to each answer.
#[derive(Clone)]
pub struct MoreMetrics(pub Arc<dyn Fn(&mut Text) + Send + Sync>);

impl Default for MoreMetrics {
    fn default() -> Self {
        Self(Arc::new(|_| {}))
    }
}

impl fmt::Debug for MoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MoreMetrics")
    }
}

/// What a running proxy knows that the kernel's maps do not say; answered at `/dataplane`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The program's version.
    pub version: String,
    /// Its node.
    pub node: String,
    /// The node's zone.
    pub zone: Option<String>,
    /// When the maps last held all that the API said, RFC 3339.
    pub last_sync: Option<String>,
    /// Something did not fit or could not be written.
    pub behind: bool,
    /// Every service port in the maps.
    pub services: Vec<Named>,
    /// What became of SCTP.
    #[serde(default)]
    pub sctp: sctp::State,
}

/// A service port's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its index in the maps.
    pub index: u32,
    /// `namespace/name:port`.
    pub name: String,
}

/// Where answers come from.
#[derive(Clone)]
pub struct Exporter {
    /// What the loop did.
    pub metrics: Arc<Mutex<ProxyMetrics>>,
    /// The tables and the maps.
    pub applier: Arc<Mutex<Applier<PinnedMaps>>>,
    /// Sockets of endpoints that left.
    pub drained: Drained,
    /// What became of SCTP.
    pub sctp: Arc<Mutex<sctp::State>>,
    /// Of the agent's other parts.
    pub more: MoreMetrics,
}

impl Exporter {
    /// The text of `/metrics`.
    pub fn text(&self) -> String {
        let mut text = Text::default();
        let no_local = self.applier.lock().no_local();
        self.metrics.lock().write(&mut text, no_local);
        maps::write(&mut text, &mut self.applier.lock());
        let help = "Connected UDP sockets released, as their endpoint had left.";
        let name = "xebec_dataplane_drained_sockets_total";
        text.single(name, "counter", help, self.drained.released() as f64);
        let failures = self.sctp.lock().failures as f64;
        let name = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total";
        text.family(name, "counter", "Cumulative proxy nftables sync failures");
        // Both families are written in one transaction.
        ["IPv4", "IPv6"].iter().for_each(|family| text.sample(name, &[("ip_family", family)], failures));
        process::write(&mut text);
        (self.more.0)(&mut text);
        text.finish()
    }

    /// The answer of `/dataplane`.
    pub fn running(&self) -> Running {
        let applier = self.applier.lock();
        let last_sync = self.metrics.lock().last_sync().map(|time: Timestamp| time.to_string());
        Running {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: applier.place().node.clone(),
            zone: applier.place().zone.clone(),
            last_sync,
            behind: applier.is_behind(),
            services: applier.names(),
            sctp: self.sctp.lock().clone(),
        }
    }
}
