//! The kubelet's own HTTPS server, port 10250: health, pods, logs, exec, attach, port forwards, usage.
//!
//! Enters: requests, mostly of the API server on behalf of `kubectl`. Leaves: answers, and upgraded connections
//! joined to the container runtime's streaming server on loopback. Called by the agent binary through [`serve`].
//!
//! A request passes listener (TLS) -> [`auth`] (who, and may they) -> route -> logs | streaming | stats.

pub mod auth;
mod listener;
mod logs;
mod nodelogs;
mod query;
mod route;
mod source;
pub mod stats;
pub mod streaming;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;

use xebec_host::cgroups::Cgroups;

pub use listener::serve;
pub use source::{ContainerFacts, PodSource};
pub use tls::{Identity, TlsError, tls_config};

/// Says what is wrong with the kubelet; `Ok` is healthy.
pub type Health = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
/// Further metrics in Prometheus' text format, each line ended.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Everything the server works with; clones share it.
#[derive(Clone)]
pub struct Deps {
    /// The node's name.
    pub node_name: String,
    /// The node's pods.
    pub pods: Arc<dyn PodSource>,
    /// The runtime's streaming calls.
    pub streaming: Arc<dyn streaming::Streaming>,
    /// Who may do what.
    pub authority: Arc<dyn auth::Authority>,
    /// Where usage is read.
    pub cgroups: Cgroups,
    /// The directory whose file system `/stats/summary` reports, `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// The directory behind `/logs/`, `/var/log`.
    pub log_dir: PathBuf,
    /// Behind `/healthz`.
    pub health: Health,
    /// Added to `/metrics`.
    pub metrics: Metrics,
}
