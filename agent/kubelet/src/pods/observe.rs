//! What the runtime holds of one pod. Enters: answers of the runtime. Leaves: [`Observed`], read by the plan and
//! the status.
//!
//! The runtime's events are hints; this is the truth. Full statuses of ended containers never change and are kept.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use xebec_cri::messages::{
    ContainerFilter, ContainerState, ContainerStatus, NamespaceMode, PodSandboxFilter, PodSandboxState,
    PodSandboxStatus,
};
use xebec_cri::{CriError, Runtime};

use super::{addresses, labels, termination};
use crate::clock::from_nanos;

/// One sandbox of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Counts the pod's sandboxes from 0.
    pub attempt: u32,
    /// False once stopped, or lost by the runtime.
    pub ready: bool,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Its addresses, the primary first; empty on the node's network.
    pub ips: Vec<String>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Made and not started.
    Created,
    /// Running since.
    Running {
        /// When its first process started.
        since: Timestamp,
    },
    /// Ended.
    Exited(Exit),
    /// The runtime lost it.
    Unknown,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When it started, if it did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its exit code; 128 + n after signal n.
    pub code: i32,
    /// The runtime's word: `Completed`, `Error`, `OOMKilled`, `StartError`, ...
    pub reason: String,
    /// The termination message, or the runtime's own.
    pub message: String,
}

/// One container in the runtime: one attempt at one container of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The runtime's id.
    pub id: String,
    /// The container's name in the specification.
    pub name: String,
    /// The restart count.
    pub attempt: u32,
    /// The sandbox it belongs to.
    pub sandbox: String,
    /// Where it is in its life.
    pub state: State,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// The image as the runtime names it.
    pub image: String,
    /// The image's digest reference.
    pub image_id: String,
    /// The hash of the specification it was made from.
    pub hash: String,
    /// Its log file.
    pub log_path: String,
}

impl Instance {
    /// True while its process runs.
    pub fn running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}

/// Everything the runtime holds of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub containers: Vec<Instance>,
}

impl Observed {
    /// The newest sandbox if it is ready: where containers are started.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest instance of a container, in whatever sandbox.
    pub fn latest(&self, name: &str) -> Option<&Instance> {
        self.containers.iter().find(|instance| instance.name == name)
    }

    /// The newest instance of a container in the current sandbox.
    pub fn current(&self, name: &str) -> Option<&Instance> {
        let sandbox = self.sandbox()?;
        self.latest(name).filter(|instance| instance.sandbox == sandbox.id)
    }

    /// All instances of a container, newest first.
    pub fn instances<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Instance> {
        self.containers.iter().filter(move |instance| instance.name == name)
    }

    /// The restart count the next instance of a container gets.
    pub fn next_attempt(&self, name: &str) -> u32 {
        self.instances(name).map(|instance| instance.attempt + 1).max().unwrap_or(0)
    }

    /// The attempt the next sandbox gets.
    pub fn next_sandbox(&self) -> u32 {
        self.sandboxes.iter().map(|sandbox| sandbox.attempt + 1).max().unwrap_or(0)
    }

    /// False while a container or sandbox of this id is here and not said to have ended.
    ///
    /// A container whose start is still being processed counts as not ended: its exit event may come before the runtime
    /// says that it ran.
    pub fn has_ended(&self, id: &str) -> bool {
        let container =
            |c: &Instance| c.id == id && matches!(c.state, State::Created | State::Running { .. });
        let sandbox = |s: &Sandbox| s.id == id && s.ready;
        !self.containers.iter().any(container) && !self.sandboxes.iter().any(sandbox)
    }

    /// Every id of the pod in the runtime.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let sandboxes = self.sandboxes.iter().map(|s| s.id.as_str());
        sandboxes.chain(self.containers.iter().map(|c| c.id.as_str()))
    }
}

/// Asks the runtime for what it holds of pods, and remembers what cannot change any more.
#[derive(Debug, Default)]
pub struct Observer {
    node_ips: Vec<String>,
    ended: BTreeMap<String, Instance>,
    addresses: BTreeMap<String, Vec<String>>,
}

impl Observer {
    /// One on a node with these addresses; the first one's family is that of a pod's first address.
    pub fn new(node_ips: &[String]) -> Self {
        Self { node_ips: node_ips.to_owned(), ..Self::default() }
    }

    /// Looks at one pod. An error means that nothing is known now; try again.
    pub async fn look(&mut self, runtime: &dyn Runtime, uid: &str) -> Result<Observed, CriError> {
        let selector = BTreeMap::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
        let sandboxes = PodSandboxFilter { label_selector: selector.clone(), ..PodSandboxFilter::default() };
        let containers = ContainerFilter { label_selector: selector, ..ContainerFilter::default() };
        let (sandboxes, containers) =
            futures::try_join!(runtime.list_pod_sandboxes(sandboxes), runtime.list_containers(containers))?;
        let mut observed = Observed::default();
        for item in sandboxes {
            let ready = item.state() == PodSandboxState::Ready;
            let ips = self.ips(runtime, &item.id, ready).await?;
            observed.sandboxes.push(Sandbox {
                attempt: item.metadata.as_ref().map_or(0, |m| m.attempt),
                ready,
                created_at: from_nanos(item.created_at),
                ips,
                id: item.id,
            });
        }
        for item in containers {
            if let Some(known) = self.ended.get(&item.id) {
                observed.containers.push(known.clone());
                continue;
            }
            match runtime.container_status(&item.id).await {
                Ok(status) => observed.containers.push(self.instance(status, item.pod_sandbox_id).await),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        self.forget(&observed);
        observed.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.attempt, s.created_at)));
        observed.containers.sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created_at)));
        Ok(observed)
    }

    async fn ips(&mut self, runtime: &dyn Runtime, id: &str, ready: bool) -> Result<Vec<String>, CriError> {
        if let Some(ips) = self.addresses.get(id) {
            return Ok(ips.clone());
        }
        if !ready {
            return Ok(Vec::new());
        }
        match runtime.pod_sandbox_status(id).await {
            Ok(status) => {
                let found = if on_host(&status) { Vec::new() } else { status.ips() };
                let ips = addresses::ordered(&found, &self.node_ips);
                self.addresses.insert(id.to_owned(), ips.clone());
                Ok(ips)
            }
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn instance(&mut self, status: ContainerStatus, sandbox: String) -> Instance {
        let state = match status.state() {
            ContainerState::ContainerCreated => State::Created,
            ContainerState::ContainerRunning => {
                State::Running { since: from_nanos(status.started_at).unwrap_or(Timestamp::UNIX_EPOCH) }
            }
            ContainerState::ContainerUnknown => State::Unknown,
            ContainerState::ContainerExited => State::Exited(Exit {
                started_at: from_nanos(status.started_at),
                finished_at: from_nanos(status.finished_at),
                code: status.exit_code,
                reason: exit_reason(&status),
                message: termination::message(&status).await,
            }),
        };
        let metadata = status.metadata.unwrap_or_default();
        let image = status.image.map(|image| image.image).unwrap_or_default();
        let instance = Instance {
            name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
            attempt: metadata.attempt,
            sandbox,
            state,
            created_at: from_nanos(status.created_at),
            image,
            image_id: status.image_ref,
            hash: status.annotations.get(labels::HASH).cloned().unwrap_or_default(),
            log_path: status.log_path,
            id: status.id,
        };
        if instance.exit().is_some() {
            self.ended.insert(instance.id.clone(), instance.clone());
        }
        instance
    }

    fn forget(&mut self, observed: &Observed) {
        let here: BTreeSet<&str> = observed.ids().collect();
        self.ended.retain(|id, _| here.contains(id.as_str()));
        self.addresses.retain(|id, _| here.contains(id.as_str()));
    }
}

fn exit_reason(status: &ContainerStatus) -> String {
    match (status.reason.as_str(), status.exit_code) {
        ("", 0) => "Completed".to_owned(),
        ("", _) => "Error".to_owned(),
        (reason, _) => reason.to_owned(),
    }
}

fn on_host(status: &PodSandboxStatus) -> bool {
    let namespaces = status.linux.as_ref().and_then(|linux| linux.namespaces.as_ref());
    let options = namespaces.and_then(|namespaces| namespaces.options.as_ref());
    options.is_some_and(|options| options.network() == NamespaceMode::Node)
}
