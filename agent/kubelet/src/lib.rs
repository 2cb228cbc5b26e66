//! The kubelet of Xebec: runs the pods bound to its node and says how they and the node are.
//!
//! Enters: pods from the API server ([`desired`]), state changes from the container runtime. Leaves: containers
//! ([`pods`] -> xebec-cri), statuses, Events ([`record`]), the Node and its Lease ([`node`]). Called by the agent
//! binary through [`run`]; the kubelet's HTTPS server reads [`pods::registry::PodRegistry`].

mod api;
mod clock;
mod config;
mod desired;
mod error;
pub mod host;
mod http;
pub mod node;
pub mod pods;
pub mod record;
pub mod spec;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use xebec_cri::messages::VersionResponse;
use xebec_cri::{CriError, Runtime, RuntimeEvents};

pub use api::{ApiFailure, PodApi};
pub use clock::Clock;
pub use config::Config;
pub use desired::Change;
pub use error::KubeletError;
pub use pods::registry::{PodRegistry, PodView};

/// How long the runtime may take to answer at the start.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(60);

/// Everything the kubelet works with.
#[derive(Clone)]
pub struct Deps {
    /// The API server, as the user `system:node:<name>` in the group `system:nodes`.
    pub client: kube::Client,
    /// The container runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Its state changes; usually the same client.
    pub events: Arc<dyn RuntimeEvents>,
    /// Directories, cgroups, volumes, environment.
    pub host: Arc<dyn host::Host>,
    /// Capacity and pressures.
    pub machine: Arc<dyn node::Machine>,
    /// The node's settings.
    pub config: Config,
    /// Where the kubelet's server looks pods up; keep a clone.
    pub registry: PodRegistry,
}

impl Deps {
    /// The parts of a real node: this machine, the runtime behind `runtime`, a fresh registry.
    ///
    /// Makes the node's directories and cgroups (needs root); follows Services until `cancel`.
    pub fn of_node(
        config: Config,
        client: kube::Client,
        runtime: xebec_cri::Client,
        cancel: CancellationToken,
    ) -> Result<Self, KubeletError> {
        let machine = host::NodeMachine::discover(&config)?;
        let host = host::NodeHost::new(&config, &machine, client.clone(), cancel)?;
        Ok(Deps {
            client,
            runtime: Arc::new(runtime.clone()),
            events: Arc::new(runtime),
            host: Arc::new(host),
            machine: Arc::new(machine),
            config,
            registry: PodRegistry::default(),
        })
    }
}

/// Runs the kubelet until `cancel`; the node's containers keep running after it returns.
///
/// Registers the node, renews its Lease, follows the pods bound to it. Fails only if the runtime does not answer
/// within a minute; an unreachable API server is waited for.
pub async fn run(deps: Deps, cancel: CancellationToken) -> Result<(), KubeletError> {
    let Deps { client, runtime, events, host, machine, config, registry } = deps;
    let version = runtime_version(runtime.as_ref(), &cancel).await?;
    tracing::info!(runtime = version.runtime_name, version = version.runtime_version, "the runtime answers");
    let name = config.node_name.clone();
    let clock = Clock::Wall;
    let recorder: Arc<dyn record::Recorder> =
        Arc::new(record::KubeRecorder::spawn(client.clone(), name.clone(), cancel.clone()));
    let keeper = node::NodeKeeper {
        client: client.clone(),
        config: config.clone(),
        runtime: runtime.clone(),
        machine,
        recorder: recorder.clone(),
        clock,
    };
    let lease = node::lease::run(client.clone(), name.clone(), config.lease_duration, cancel.clone());
    let (changes, desired) = mpsc::channel(256);
    let follow = desired::follow(client.clone(), name, changes, cancel.clone());
    let rotation = host::rotate_logs(registry.clone(), runtime.clone(), cancel.clone());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (start_gate, stop_gate, exec_gate) = pods::Shared::gates(cpus);
    let shared = Arc::new(pods::Shared {
        config,
        runtime,
        runtime_name: version.runtime_name,
        host,
        api: Arc::new(client),
        recorder,
        clock,
        index: pods::Index::default(),
        registry,
        start_gate,
        stop_gate,
        exec_gate,
        handlers: Default::default(),
    });
    let manager = pods::manager::Manager::new(shared).run(events, desired, cancel.clone());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(keeper.run(cancel.clone()));
    tasks.spawn(lease);
    tasks.spawn(follow);
    tasks.spawn(manager);
    tasks.spawn(rotation);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            // a broken part must not go unseen: without it the node would lie
            cancel.cancel();
            return Err(KubeletError::Machine(format!("a part of the kubelet broke: {error}")));
        }
    }
    Ok(())
}

async fn runtime_version(
    runtime: &dyn Runtime,
    cancel: &CancellationToken,
) -> Result<VersionResponse, KubeletError> {
    let begin = tokio::time::Instant::now();
    loop {
        match runtime.version().await {
            Ok(version) => return Ok(version),
            Err(error) if begin.elapsed() >= RUNTIME_PATIENCE => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "waiting for the runtime"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
            () = cancel.cancelled() => {
                return Err(CriError::Unavailable("stopped while waiting for the runtime".to_owned()).into());
            }
        }
    }
}
