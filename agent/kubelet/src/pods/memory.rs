//! What a pod's worker remembers between two plans and cannot read back from the runtime.
//!
//! Losing it (agent killed) costs at most one early restart or pull: everything that matters is in the runtime's
//! labels and in the API. Written by the worker, read by the plan and the status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::backoff::Backoff;

/// Work under way for a pod; at most one of each key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Mounting or refreshing volumes.
    Volumes,
    /// Making a sandbox.
    Sandbox,
    /// Starting the container of this name.
    Start(String),
    /// Stopping the container with this id.
    Stop(String),
    /// Removing the container with this id.
    Remove(String),
    /// Stopping the sandbox with this id.
    StopSandbox(String),
    /// Removing the sandbox with this id.
    RemoveSandbox(String),
    /// Unmounting volumes and removing the cgroup.
    CleanUp,
    /// Removing the pod's files and its API object.
    Finish,
}

/// Why a container could not be started, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `ErrImagePull`, `CreateContainerConfigError`, ...
    pub reason: String,
    /// For people.
    pub message: String,
    /// When it failed.
    pub at: Timestamp,
    /// When the next attempt is due.
    pub retry_at: Timestamp,
    /// For an image pull: the back-off in force and the image.
    pub pull: Option<(Backoff, String)>,
}

/// What the probes say of one running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The startup probe succeeded, or there is none and postStart is done.
    pub started: bool,
    /// The readiness probe succeeds, or there is none.
    pub ready: bool,
}

/// Why and since when a pod is being stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// When it began.
    pub since: Timestamp,
    /// How long the containers may take.
    pub grace: Duration,
    /// Set where the agent itself ended the pod: `DeadlineExceeded`, `Evicted`.
    pub reason: Option<String>,
    /// For people, with `reason`.
    pub message: Option<String>,
}

/// The state of the pod's volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volumes {
    /// All mounted at least once by this agent process.
    pub ready: bool,
    /// The delay after the last failure.
    pub delay: Duration,
    /// Contents are due to be brought up to date.
    pub refresh_at: Option<Timestamp>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Work under way.
    pub jobs: BTreeSet<Job>,
    /// Restart back-off by container name.
    pub crash: BTreeMap<String, Backoff>,
    /// The last failure to start, by container name; removed by success.
    pub failed: BTreeMap<String, Failure>,
    /// Health by container id; running containers only.
    pub health: BTreeMap<String, Health>,
    /// Containers that must be stopped, by id: why, and with what grace if not the pod's.
    pub doomed: BTreeMap<String, (String, Option<Duration>)>,
    /// Sandboxes that this process has stopped.
    pub stopped_sandboxes: BTreeSet<String>,
    /// Work that failed: not again before.
    pub retry: BTreeMap<Job, Timestamp>,
    /// The pod's volumes.
    pub volumes: Volumes,
    /// Set once the pod is to end; never unset.
    pub termination: Option<Termination>,
    /// The API wants the pod gone (or no longer has it).
    pub deleted: bool,
    /// Volumes are unmounted and the cgroup is gone.
    pub cleaned: bool,
    /// The API has accepted the final status (or has no such pod any more).
    pub final_written: bool,
    /// When this agent, or an earlier one, first saw the pod.
    pub start_time: Option<Timestamp>,
}

impl Memory {
    /// True while a job of this key is under way.
    pub fn busy(&self, job: &Job) -> bool {
        self.jobs.contains(job)
    }

    /// True while a sandbox is being made or a container started.
    pub fn starting(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job, Job::Sandbox | Job::Start(_)))
    }
}
