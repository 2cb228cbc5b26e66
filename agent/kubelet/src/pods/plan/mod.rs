//! What to do next for one pod: a pure function of what is wanted, what is, and what is remembered.
//!
//! Enters: the pod, [`Observed`], [`Memory`], the time. Leaves: [`Plan`]. Called by the pod's worker after every
//! change; an action already under way is never planned again. `live` brings a pod up and keeps it so, `stop`
//! takes it down.

mod live;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::memory::{Job, Memory, Termination};
use super::observe::Observed;

/// Everything a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What is wanted.
    pub pod: &'a Pod,
    /// What the runtime holds.
    pub observed: &'a Observed,
    /// What the worker remembers.
    pub memory: &'a Memory,
    /// The time.
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Mount the volumes, or bring their contents up to date.
    Volumes,
    /// Make a sandbox.
    RunSandbox {
        /// Its number.
        attempt: u32,
    },
    /// Pull the image if needed, create and start a container, run its postStart hook.
    Start {
        /// The container.
        name: String,
        /// Its restart count.
        attempt: u32,
        /// The sandbox to start it in.
        sandbox: String,
        /// If it ran before: when that ended.
        ended: Option<Timestamp>,
    },
    /// Run the preStop hook and stop a container.
    Stop {
        /// The runtime's id.
        id: String,
        /// The container.
        name: String,
        /// What the hook and the process may take together.
        grace: Duration,
        /// For the Event.
        message: String,
    },
    /// Remove an ended container.
    Remove {
        /// The runtime's id.
        id: String,
    },
    /// Stop a sandbox.
    StopSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a sandbox with its containers.
    RemoveSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Unmount the volumes and remove the cgroup.
    CleanUp,
    /// Remove the pod's files and its API object.
    Finish,
}

impl Action {
    /// The key under which it is under way.
    pub fn job(&self) -> Job {
        match self {
            Action::Volumes => Job::Volumes,
            Action::RunSandbox { .. } => Job::Sandbox,
            Action::Start { name, .. } => Job::Start(name.clone()),
            Action::Stop { id, .. } => Job::Stop(id.clone()),
            Action::Remove { id } => Job::Remove(id.clone()),
            Action::StopSandbox { id } => Job::StopSandbox(id.clone()),
            Action::RemoveSandbox { id } => Job::RemoveSandbox(id.clone()),
            Action::CleanUp => Job::CleanUp,
            Action::Finish => Job::Finish,
        }
    }
}

/// Why a container does not run, for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `CrashLoopBackOff`, `ImagePullBackOff`, ...
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order; all may be started at once.
    pub actions: Vec<Action>,
    /// Plan again at this time even if nothing happens.
    pub wake: Option<Timestamp>,
    /// Containers that wait for a reason, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// The pod must end: remember this and plan again.
    pub terminate: Option<Termination>,
    /// Nothing of the pod runs any more, and nothing will.
    pub stopped: bool,
}

impl Plan {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Adds an action unless it is under way, or failed a short while ago.
    fn push(&mut self, input: Input<'_>, action: Action) {
        let job = action.job();
        if let Some(retry) = input.memory.retry.get(&job).filter(|retry| **retry > input.now) {
            self.wake_at(*retry);
        } else if !input.memory.busy(&job) && !self.actions.iter().any(|known| known.job() == job) {
            self.actions.push(action);
        }
    }
}

/// Decides what to do next.
pub fn plan(input: Input<'_>) -> Plan {
    match &input.memory.termination {
        Some(termination) => stop::plan(input, termination),
        None => live::plan(input),
    }
}
