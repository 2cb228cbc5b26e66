//! The controllers: clients of the public API that drive what is towards what is wanted.
//!
//! Enters: a `kube::Client` and [`Options`]. Leaves: writes through the same API everyone uses. Called by the
//! `xebec-control` binary. One folder per controller: `mod.rs` wires events to a queue and a plan's answer to writes,
//! `plan.rs` decides (pure), `tests.rs` tables the decisions. `machinery` is shared.

pub mod machinery;

mod bootstraptoken;
mod clusterrole;
mod csr;
mod deployment;
mod endpoints;
mod endpointslice;
mod gc;
mod ipam;
mod job;
mod loadbalancer;
mod namespace;
mod node;
mod podgc;
mod protection;
mod quota;
mod replicaset;
mod serviceaccount;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use csr::{SigningAuthority, SigningError};
use machinery::World;
use machinery::time::Clock;

/// What the operator chose for the controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The network that pod addresses of all nodes come from, or one of each family separated by a comma, the primary
    /// family's first (`--cluster-cidr`).
    pub cluster_cidr: String,
    /// The prefix length of one node's share, with one family (`--node-cidr-mask-size`).
    pub node_cidr_mask_size: Option<u8>,
    /// The prefix length of one node's IPv4 share, 24 if none (`--node-cidr-mask-size-ipv4`).
    pub node_cidr_mask_size_ipv4: Option<u8>,
    /// The prefix length of one node's IPv6 share, 64 if none (`--node-cidr-mask-size-ipv6`).
    pub node_cidr_mask_size_ipv6: Option<u8>,
    /// The networks of cluster IPs, as above (`--service-cluster-ip-range`); no node's share may overlap them.
    pub service_cidr: String,
    /// The cluster CA, PEM, published as ConfigMap kube-root-ca.crt in every namespace.
    pub root_ca: String,
    /// What signs certificate requests of the built-in signers; none are signed without it.
    pub signing: Option<SigningAuthority>,
    /// How many keys each controller works on at once.
    pub concurrency: usize,
    /// How often node heartbeats are looked at (`--node-monitor-period`).
    pub node_monitor_period: std::time::Duration,
    /// How old a node's last heartbeat may be (`--node-monitor-grace-period`).
    pub node_monitor_grace_period: std::time::Duration,
    /// How many terminated pods may stay before the oldest are removed (`--terminated-pod-gc-threshold`).
    pub terminated_pod_threshold: usize,
    /// Time.
    pub clock: Clock,
    /// Makes chance repeatable.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_cidr: "10.244.0.0/16".to_owned(),
            node_cidr_mask_size: None,
            node_cidr_mask_size_ipv4: None,
            node_cidr_mask_size_ipv6: None,
            service_cidr: "10.96.0.0/12".to_owned(),
            root_ca: String::new(),
            signing: None,
            concurrency: 5,
            node_monitor_period: std::time::Duration::from_secs(5),
            node_monitor_grace_period: std::time::Duration::from_secs(50),
            terminated_pod_threshold: 12_500,
            clock: Clock::system(),
            seed: None,
        }
    }
}

impl Options {
    /// Whether the controllers would start with these; the same error that [`run`] gives.
    pub fn check(&self) -> Result<(), ControllersError> {
        ipam::shares(self).map(drop)
    }
}

/// Why the controllers could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ControllersError {
    /// An option makes no sense; nothing was started.
    #[error("{option} {value:?}: {problem}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What it was set to.
        value: String,
        /// What would be right.
        problem: String,
    },
    /// A controller's task panicked.
    #[error("a controller stopped unexpectedly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

type Start = fn(&std::sync::Arc<World>, &mut JoinSet<()>, &CancellationToken);

const CONTROLLERS: &[Start] = &[
    namespace::start,
    serviceaccount::start,
    replicaset::start,
    deployment::start,
    endpointslice::start,
    endpoints::start,
    gc::start,
    job::start,
    node::start,
    podgc::start,
    csr::start,
    clusterrole::start,
    bootstraptoken::start,
    protection::start,
    quota::start,
    loadbalancer::start,
];

/// Runs every controller until cancelled.
///
/// A lost connection is retried for ever with back-off. Errors: a bad option at once, or a task that panicked.
pub async fn run(
    client: kube::Client,
    options: Options,
    cancel: CancellationToken,
) -> Result<(), ControllersError> {
    let shares = ipam::shares(&options)?;
    let (world, sink) = World::new(client, options);
    let mut tasks = JoinSet::new();
    tasks.spawn(sink.run(world.writer.clone(), world.clock.clone(), cancel.clone()));
    ipam::start(&world, shares, &mut tasks, &cancel);
    for start in CONTROLLERS {
        start(&world, &mut tasks, &cancel);
    }
    world.follow(&mut tasks, &cancel);
    tracing::info!("controllers started");
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            cancel.cancel();
            return Err(error.into());
        }
    }
    Ok(())
}
