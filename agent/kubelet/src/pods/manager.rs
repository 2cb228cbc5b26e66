//! All pods of the node. Enters: desired pods and the runtime's signals. Leaves: mail to the workers, which it makes
//! and forgets. Pods are told apart by UID alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xebec_cri::messages::{ContainerFilter, PodSandboxFilter};
use xebec_cri::{CriError, EventKind, RuntimeEvent, RuntimeEvents};

use super::mailbox::Mailbox;
use super::pump::{self, Signal};
use super::worker::Worker;
use super::{Shared, labels};
use crate::desired::Change;
use crate::spec;

/// How often everything is listed while the event stream is open, and while it is not.
const RELIST: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));
/// How often the disk is searched for pods that nobody knows.
const SWEEP: Duration = Duration::from_secs(60);

/// A fingerprint of what the runtime holds of one pod: ids and states.
type Digest = BTreeSet<(String, i32)>;

/// See the module.
pub struct Manager {
    shared: Arc<Shared>,
    mailboxes: HashMap<String, Arc<Mailbox>>,
    workers: JoinSet<(String, bool)>,
    finished: HashSet<String>,
    synced: bool,
    digests: BTreeMap<String, Digest>,
}

impl Manager {
    /// A manager without pods.
    pub fn new(shared: Arc<Shared>) -> Self {
        Manager {
            shared,
            mailboxes: HashMap::new(),
            workers: JoinSet::new(),
            finished: HashSet::new(),
            synced: false,
            digests: BTreeMap::new(),
        }
    }

    /// Runs until `cancel`; containers keep running after that.
    pub async fn run(
        mut self,
        events: Arc<dyn RuntimeEvents>,
        mut desired: mpsc::Receiver<Change>,
        cancel: CancellationToken,
    ) {
        let (signal_tx, mut signals) = mpsc::channel(1024);
        let (healthy_tx, healthy) = watch::channel(false);
        let pump = tokio::spawn(pump::run(events, signal_tx, healthy_tx, cancel.clone()));
        let mut next_list = tokio::time::Instant::now();
        let mut next_sweep = next_list + SWEEP;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(change) = desired.recv() => {
                    let first_sync = self.desired(change);
                    if first_sync {
                        next_list = tokio::time::Instant::now();
                    }
                }
                Some(signal) = signals.recv() => match signal {
                    Signal::Opened => next_list = tokio::time::Instant::now(),
                    Signal::Event(event) => self.event(&event),
                },
                Some(ended) = self.workers.join_next() => self.ended(ended),
                () = tokio::time::sleep_until(next_list) => {
                    if let Err(error) = self.relist().await {
                        tracing::warn!(%error, "the runtime's containers cannot be listed");
                    }
                    let pause = if *healthy.borrow() { RELIST.0 } else { RELIST.1 };
                    next_list = tokio::time::Instant::now() + pause;
                }
                () = tokio::time::sleep_until(next_sweep) => {
                    self.sweep().await;
                    next_sweep = tokio::time::Instant::now() + SWEEP;
                }
            }
        }
        pump.abort();
    }

    /// Takes a change of what is wanted; true at the first complete picture.
    fn desired(&mut self, change: Change) -> bool {
        match change {
            Change::Apply(pod) => self.apply(pod),
            Change::Gone(uid) => {
                self.finished.remove(&uid);
                if let Some(mailbox) = self.mailboxes.get(&uid) {
                    mailbox.put(|letter| letter.gone = true);
                }
            }
            Change::Synced(uids) => {
                for (uid, mailbox) in &self.mailboxes {
                    if !uids.contains(uid) {
                        mailbox.put(|letter| letter.gone = true);
                    }
                }
                self.finished.retain(|uid| uids.contains(uid));
                return !std::mem::replace(&mut self.synced, true);
            }
        }
        false
    }

    fn apply(&mut self, pod: Arc<Pod>) {
        let uid = spec::uid(&pod).to_owned();
        if uid.is_empty() || self.finished.contains(&uid) {
            return;
        }
        match self.mailboxes.get(&uid) {
            Some(mailbox) => mailbox.put(|letter| letter.pod = Some(pod)),
            None => self.spawn(pod, false),
        }
    }

    fn spawn(&mut self, pod: Arc<Pod>, gone: bool) {
        let uid = spec::uid(&pod).to_owned();
        let mailbox = Arc::new(Mailbox::default());
        self.mailboxes.insert(uid.clone(), mailbox.clone());
        let worker = Worker::new(self.shared.clone(), mailbox, pod, gone);
        self.workers.spawn(async move {
            let gone = worker.run().await;
            (uid, gone)
        });
    }

    fn ended(&mut self, ended: Result<(String, bool), tokio::task::JoinError>) {
        match ended {
            Ok((uid, gone)) => {
                self.mailboxes.remove(&uid);
                self.digests.remove(&uid);
                if !gone {
                    // a late watch event must not bring the pod back to life
                    self.finished.insert(uid);
                }
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                tracing::error!(%error, "a pod worker broke");
                let alive = |mailbox: &Arc<Mailbox>| Arc::strong_count(mailbox) > 1;
                self.mailboxes.retain(|_, mailbox| alive(mailbox));
            }
        }
    }

    fn event(&self, event: &RuntimeEvent) {
        let ended = matches!(event.kind, EventKind::Stopped | EventKind::Deleted);
        let index = &self.shared.index;
        let here = |uid: &String| self.mailboxes.contains_key(uid);
        let owner =
            event.pod_uid.clone().filter(here).or_else(|| index.owner_of_event(&event.id, ended, here));
        let Some(mailbox) = owner.and_then(|uid| self.mailboxes.get(&uid)) else { return };
        mailbox.put(|letter| {
            letter.look = true;
            if ended {
                letter.ended.insert(event.id.clone());
            }
        });
    }

    /// Lists everything, wakes the workers whose pods differ from the last list, and adopts orphans once the API's
    /// pods are known.
    async fn relist(&mut self) -> Result<(), CriError> {
        let runtime = self.shared.runtime.clone();
        // what is made while the runtime answers is not in its answer
        let known = self.shared.index.ids();
        let (sandboxes, containers) = futures::try_join!(
            runtime.list_pod_sandboxes(PodSandboxFilter::default()),
            runtime.list_containers(ContainerFilter::default())
        )?;
        let mut digests: BTreeMap<String, Digest> = BTreeMap::new();
        let mut alive = HashSet::new();
        let sandboxes = sandboxes.iter().map(|s| (&s.labels, &s.annotations, &s.id, s.state));
        let containers = containers.iter().map(|c| (&c.labels, &c.annotations, &c.id, c.state + 10));
        let mut orphans: BTreeMap<String, Orphan> = BTreeMap::new();
        for (labels, annotations, id, state) in sandboxes.chain(containers) {
            // what has no pod label is not ours
            let Some(uid) = labels.get(labels::POD_UID) else { continue };
            alive.insert(id.clone());
            self.shared.index.insert(id, uid);
            digests.entry(uid.clone()).or_default().insert((id.clone(), state));
            if !self.mailboxes.contains_key(uid) {
                orphans.entry(uid.clone()).or_default().learn(labels, annotations);
            }
        }
        for (uid, mailbox) in &self.mailboxes {
            if self.digests.get(uid) != digests.get(uid) {
                mailbox.put(|letter| letter.look = true);
            }
        }
        self.shared.index.forget(&known, &alive);
        self.digests = digests;
        if self.synced {
            for (uid, orphan) in orphans {
                tracing::info!(uid, pod = orphan.name, "a pod that the API does not have is taken down");
                self.finished.remove(&uid);
                self.spawn(Arc::new(orphan.pod(&uid)), true);
            }
        }
        Ok(())
    }

    /// Takes down what is left on disk of pods that neither the API nor the runtime has.
    async fn sweep(&mut self) {
        if !self.synced {
            return;
        }
        for uid in self.shared.host.pods_on_disk().await {
            if !self.mailboxes.contains_key(&uid) && !self.digests.contains_key(&uid) {
                tracing::info!(uid, "directories of a pod that nobody knows are removed");
                self.finished.remove(&uid);
                self.spawn(Arc::new(Orphan::default().pod(&uid)), true);
            }
        }
    }
}

/// What the runtime's labels tell of a pod that the API does not have.
#[derive(Clone, Debug, Default)]
struct Orphan {
    name: String,
    namespace: String,
    containers: BTreeSet<String>,
    grace: Option<i64>,
}

impl Orphan {
    fn learn(&mut self, labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) {
        let text = |key: &str| labels.get(key).cloned();
        self.name = text(labels::POD_NAME).unwrap_or_default();
        self.namespace = text(labels::POD_NAMESPACE).unwrap_or_default();
        self.containers.extend(text(labels::CONTAINER_NAME));
        let grace = annotations.get(labels::POD_DELETION_GRACE).or(annotations.get(labels::POD_GRACE));
        self.grace = grace.and_then(|text| text.parse().ok()).or(self.grace);
    }

    /// A pod good enough to be stopped.
    fn pod(&self, uid: &str) -> Pod {
        let container = |name: &String| Container { name: name.clone(), ..Container::default() };
        Pod {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                uid: Some(uid.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                containers: self.containers.iter().map(container).collect(),
                termination_grace_period_seconds: self.grace,
                ..PodSpec::default()
            }),
            status: None,
        }
    }
}
