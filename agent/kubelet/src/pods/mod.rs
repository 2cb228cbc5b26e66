//! The pods of this node. Enters: desired pods ([`crate::desired`]) and the runtime's state changes. Leaves: running
//! containers, statuses, Events.
//!
//! One [`worker`] per UID does all work for its pod: `observe` what is, [`plan`] (pure) what to do, do it in jobs
//! (`start`, `stop`), work out the [`status`] (pure) and write it. [`manager`] makes workers and routes changes to
//! them; [`registry`] is where the kubelet's server looks pods up.

mod addresses;
pub mod backoff;
mod hooks;
mod jobs;
pub mod labels;
pub mod mailbox;
pub mod manager;
pub mod memory;
pub mod observe;
pub mod plan;
pub mod probes;
mod pump;
pub mod registry;
pub mod start;
pub mod status;
mod termination;
#[cfg(test)]
mod tests;
pub mod worker;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use xebec_cri::Runtime;

use crate::api::PodApi;
use crate::clock::Clock;
use crate::config::Config;
use crate::host::Host;
use crate::record::Recorder;
use registry::PodRegistry;

/// What all pod workers share.
pub struct Shared {
    /// The node's settings.
    pub config: Config,
    /// The container runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Its name, the scheme of container ids (`containerd`).
    pub runtime_name: String,
    /// The machine.
    pub host: Arc<dyn Host>,
    /// The API server.
    pub api: Arc<dyn PodApi>,
    /// Where Events go.
    pub recorder: Arc<dyn Recorder>,
    /// The time.
    pub clock: Clock,
    /// Which pod an id of the runtime belongs to.
    pub index: Index,
    /// What the kubelet's server knows of pods.
    pub registry: PodRegistry,
    /// Limits sandboxes and containers being started at once.
    pub start_gate: Semaphore,
    /// Limits sandboxes being taken down at once.
    pub stop_gate: Semaphore,
    /// Limits exec probes at once.
    pub exec_gate: Semaphore,
    /// What RuntimeClasses stand for.
    pub handlers: start::handler::Handlers,
}

impl Shared {
    /// The gates of a machine with this many CPUs: ncpu + 1 starts, 2 teardowns, 2 x ncpu exec probes.
    pub fn gates(cpus: usize) -> (Semaphore, Semaphore, Semaphore) {
        (Semaphore::new(cpus + 1), Semaphore::new(2), Semaphore::new(2 * cpus.max(1)))
    }
}

/// How many exits of ids without an owner are kept; the oldest are forgotten first.
const STRAYS: usize = 1024;

/// Which pod (UID) a container or sandbox id belongs to, and the exits of ids that nobody has claimed yet.
#[derive(Debug, Default)]
pub struct Index {
    owners: Mutex<Owners>,
}

#[derive(Debug, Default)]
struct Owners {
    of: HashMap<String, String>,
    strays: VecDeque<String>,
}

impl Index {
    /// Notes an owner.
    pub fn insert(&self, id: &str, uid: &str) {
        self.owners.lock().of.insert(id.to_owned(), uid.to_owned());
    }

    /// Notes an owner that is about to act on the id; true (once) if an exit event came before anyone could.
    pub fn claim(&self, id: &str, uid: &str) -> bool {
        let mut owners = self.owners.lock();
        owners.of.insert(id.to_owned(), uid.to_owned());
        let before = owners.strays.len();
        owners.strays.retain(|stray| stray != id);
        owners.strays.len() < before
    }

    /// The owner of an event's id if it is `here` to be told; an exit without one is kept for whoever claims the id.
    pub fn owner_of_event(&self, id: &str, ended: bool, here: impl Fn(&String) -> bool) -> Option<String> {
        let mut owners = self.owners.lock();
        let owner = owners.of.get(id).cloned().filter(here);
        if owner.is_none() && ended && !owners.strays.iter().any(|stray| stray == id) {
            if owners.strays.len() >= STRAYS {
                owners.strays.pop_front();
            }
            owners.strays.push_back(id.to_owned());
        }
        owner
    }

    /// Every id with an owner.
    pub fn ids(&self) -> HashSet<String> {
        self.owners.lock().of.keys().cloned().collect()
    }

    /// Forgets ids that were `known` before the runtime was asked and are not in its answer, `alive`.
    pub fn forget(&self, known: &HashSet<String>, alive: &HashSet<String>) {
        self.owners.lock().of.retain(|id, _| alive.contains(id) || !known.contains(id));
    }
}
