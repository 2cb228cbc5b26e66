//! Carrying out one planned action. Enters: an [`Action`] with a snapshot of the pod. Leaves: [`Done`], mailed to the
//! worker. Jobs touch nothing of the worker's; cancelling one leaves the runtime to be looked at again.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Shared;
use super::memory::Job;
use super::observe::Observed;
use super::plan::Action;
use super::start::{Start, StartError};
use crate::api::ApiFailure;
use crate::record::Kind;
use crate::spec;

/// How a job ended.
#[derive(Debug)]
pub struct Done {
    /// Which job.
    pub job: Job,
    /// How.
    pub outcome: Outcome,
}

/// How a job ended.
#[derive(Debug)]
pub enum Outcome {
    /// Well.
    Fine,
    /// A container was started; its id.
    Started(String),
    /// A container was not started.
    NotStarted(StartError),
    /// Not well; to be tried again.
    Failed(String),
}

impl Outcome {
    fn of<E: std::fmt::Display>(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Outcome::Fine,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

/// What a job sees: the pod and the runtime's state when it was planned.
pub struct Snapshot {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The runtime's state.
    pub observed: Arc<Observed>,
    /// The API server has the pod no more: nothing to delete there.
    pub gone: bool,
}

impl Snapshot {
    /// The pod's addresses: the sandbox's, or the node's on its network.
    pub fn ips(&self, shared: &Shared) -> Vec<String> {
        if spec::on_host_network(&self.pod) {
            return shared.config.node_ips.clone();
        }
        self.observed.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    }
}

/// Carries out an action.
pub async fn run(shared: Arc<Shared>, snapshot: Snapshot, action: Action) -> Done {
    let job = action.job();
    let pod = snapshot.pod.as_ref();
    let outcome = match &action {
        Action::Volumes => volumes(&shared, pod).await,
        Action::RunSandbox { attempt } => Outcome::of(shared.run_sandbox(pod, *attempt).await.map(drop)),
        Action::Start { name, attempt, sandbox, .. } => {
            start(&shared, &snapshot, name, *attempt, sandbox).await
        }
        Action::Stop { id, name, grace, message } => {
            let container = spec::find(pod, name);
            shared.event(pod, Some(name), Kind::Normal, "Killing", message);
            let ips = snapshot.ips(&shared);
            let ip = ips.first().map(String::as_str).unwrap_or_default();
            let container = container.as_ref().map(|(_, container)| container.as_ref());
            Outcome::of(shared.stop_container(pod, container, id, ip, *grace).await)
        }
        Action::Remove { id } => Outcome::of(shared.runtime.remove_container(id).await),
        Action::StopSandbox { id } => {
            let _permit = shared.stop_gate.acquire().await;
            Outcome::of(shared.runtime.stop_pod_sandbox(id).await)
        }
        Action::RemoveSandbox { id } => {
            let _permit = shared.stop_gate.acquire().await;
            Outcome::of(shared.runtime.remove_pod_sandbox(id).await)
        }
        Action::CleanUp => Outcome::of(shared.host.clean_up(pod).await),
        Action::Finish => finish(&shared, &snapshot).await,
    };
    Done { job, outcome }
}

async fn volumes(shared: &Shared, pod: &Pod) -> Outcome {
    // the directories of the volumes are the pod's
    let prepared = shared.host.prepare(pod).await.map(drop);
    let mounted = match prepared {
        Ok(()) => shared.host.mount(pod).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &mounted {
        shared.event(pod, None, Kind::Warning, "FailedMount", error);
    }
    Outcome::of(mounted)
}

async fn start(shared: &Shared, snapshot: &Snapshot, name: &str, attempt: u32, sandbox: &str) -> Outcome {
    let pod = snapshot.pod.as_ref();
    let Some((_, container)) = spec::find(pod, name) else {
        return Outcome::Failed(format!("the pod has no container {name}"));
    };
    let ephemeral = pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_ref());
    let ephemeral = ephemeral.into_iter().flatten().find(|container| container.name == name);
    let target = ephemeral.and_then(|container| container.target_container_name.as_deref());
    let target = target.and_then(|target| snapshot.observed.current(target)).map(|i| i.id.as_str());
    let ips = snapshot.ips(shared);
    let start = Start { pod, container: container.as_ref(), attempt, sandbox, ips: &ips, target };
    match shared.start_container(start).await {
        Ok(id) => Outcome::Started(id),
        Err(error) => Outcome::NotStarted(error),
    }
}

async fn finish(shared: &Shared, snapshot: &Snapshot) -> Outcome {
    let pod = snapshot.pod.as_ref();
    if let Err(error) = shared.host.remove(pod).await {
        return Outcome::Failed(error.to_string());
    }
    if snapshot.gone {
        return Outcome::Fine;
    }
    match shared.api.delete_now(spec::namespace(pod), spec::name(pod), spec::uid(pod)).await {
        Ok(()) | Err(ApiFailure::Gone(_)) => Outcome::Fine,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
