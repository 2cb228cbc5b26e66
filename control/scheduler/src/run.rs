//! The loop. Enters: watch events, outcomes of bindings, time. Leaves: decisions, handed to `report`.
//!
//! One task owns the snapshot and the queue, so decisions are strictly one after the other and each sees the ones before
//! it; only the writes run beside it.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use rand::seq::IndexedRandom;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::filter::{self, Asked};
use crate::queue::Queue;
use crate::report::Reports;
use crate::snapshot::{NodeEntry, Snapshot};
use crate::{SchedulerError, pod, score};

/// How to schedule.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pods with this `spec.schedulerName` are ours.
    pub scheduler_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".to_owned() }
    }
}

/// How a binding ended.
struct Outcome {
    pod: Arc<Pod>,
    result: Result<(), kube::Error>,
}

/// Schedules until cancelled. Losing the API server is no error: watches are taken up again with back-off.
///
/// # Errors
/// [`SchedulerError`] when the options cannot be used.
pub async fn run(client: Client, options: Options, cancel: CancellationToken) -> Result<(), SchedulerError> {
    if options.scheduler_name.is_empty() {
        return Err(SchedulerError::NoName);
    }
    // Finished pods use nothing: the API server leaves them out, and reports their end as a deletion.
    let active = watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut pods = pin!(watcher::watcher(Api::<Pod>::all(client.clone()), active).default_backoff());
    let mut nodes = pin!(
        watcher::watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).default_backoff()
    );
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let reports = Reports::new(client, &options.scheduler_name);
    let mut scheduler = Scheduler::new(options.scheduler_name, reports, sender);
    loop {
        // Decide only when both first listings are complete: half a cluster gives wrong answers.
        if scheduler.pods_listed && scheduler.nodes_listed {
            scheduler.decide_all();
        }
        let wake = scheduler.queue.next_wake();
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            Some(event) = pods.next() => scheduler.pod_event(event),
            Some(event) = nodes.next() => scheduler.node_event(event),
            Some(outcome) = outcomes.recv() => scheduler.bound(outcome),
            () = sleep_until(wake) => {}
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

struct Scheduler {
    name: String,
    reports: Reports,
    outcomes: mpsc::UnboundedSender<Outcome>,
    snapshot: Snapshot,
    queue: Queue,
    /// UIDs and names seen since a relist began.
    relisted_pods: HashSet<String>,
    relisted_nodes: HashSet<String>,
    pods_listed: bool,
    nodes_listed: bool,
}

impl Scheduler {
    fn new(name: String, reports: Reports, outcomes: mpsc::UnboundedSender<Outcome>) -> Self {
        Self {
            name,
            reports,
            outcomes,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            relisted_pods: HashSet::new(),
            relisted_nodes: HashSet::new(),
            pods_listed: false,
            nodes_listed: false,
        }
    }

    fn pod_event(&mut self, event: Result<Event<Pod>, watcher::Error>) {
        match event {
            Ok(Event::Init) => self.relisted_pods.clear(),
            Ok(Event::InitApply(pod)) => {
                self.relisted_pods.extend(pod.metadata.uid.clone());
                self.put_pod(pod);
            }
            Ok(Event::InitDone) => {
                let seen = std::mem::take(&mut self.relisted_pods);
                self.snapshot.retain_pods(|uid| seen.contains(uid));
                self.queue.retain(|uid| seen.contains(uid));
                self.queue.cluster_changed();
                self.pods_listed = true;
            }
            Ok(Event::Apply(pod)) => self.put_pod(pod),
            Ok(Event::Delete(pod)) => {
                let uid = pod.metadata.uid.unwrap_or_default();
                self.queue.remove(&uid);
                self.snapshot.remove_pod(&uid);
                self.queue.cluster_changed();
            }
            Err(error) => tracing::warn!(%error, "the watch of pods broke, taking it up again"),
        }
    }

    fn put_pod(&mut self, pod: Pod) {
        let pod = Arc::new(pod);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        if spec.and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty()) {
            self.queue.remove(&uid);
            self.snapshot.put_pod(&pod);
        } else if self.is_ours(&pod) {
            self.queue.put(pod, Instant::now());
        } else {
            self.queue.remove(&uid);
        }
    }

    /// Ours to schedule: our name, no gate left (KEP-3521), not being deleted.
    fn is_ours(&self, pod: &Pod) -> bool {
        let Some(spec) = &pod.spec else { return false };
        spec.scheduler_name.as_deref().unwrap_or("default-scheduler") == self.name
            && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
            && pod.metadata.deletion_timestamp.is_none()
    }

    fn node_event(&mut self, event: Result<Event<Node>, watcher::Error>) {
        match event {
            Ok(Event::Init) => self.relisted_nodes.clear(),
            Ok(Event::InitApply(node)) => {
                self.relisted_nodes.extend(node.metadata.name.clone());
                self.put_node(node);
            }
            Ok(Event::InitDone) => {
                let seen = std::mem::take(&mut self.relisted_nodes);
                self.snapshot.retain_nodes(|name| seen.contains(name));
                self.queue.cluster_changed();
                self.nodes_listed = true;
            }
            Ok(Event::Apply(node)) => self.put_node(node),
            Ok(Event::Delete(node)) => self.snapshot.remove_node(&node.metadata.name.unwrap_or_default()),
            Err(error) => tracing::warn!(%error, "the watch of nodes broke, taking it up again"),
        }
    }

    fn put_node(&mut self, node: Node) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        // Heartbeats change only the status' times: those help no refused pod.
        let known = self.snapshot.nodes().find(|entry| entry.name() == name);
        let relevant = known.is_none_or(|entry| {
            let allocatable =
                |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
            entry.node.spec != node.spec
                || entry.node.metadata.labels != node.metadata.labels
                || allocatable(&entry.node) != allocatable(&node)
        });
        self.snapshot.put_node(node);
        if relevant {
            self.queue.cluster_changed();
        }
    }

    fn decide_all(&mut self) {
        while let Some(pod) = self.queue.pop(Instant::now()) {
            match decide(&pod, &self.snapshot) {
                Ok(node) => self.bind(pod, node),
                Err(message) => {
                    self.queue.refused(pod.metadata.uid.as_deref().unwrap_or_default(), Instant::now());
                    tracing::info!(pod = pod::key(&pod), message, "unschedulable");
                    let reports = self.reports.clone();
                    tokio::spawn(async move { reports.unschedulable(&pod, &message).await });
                }
            }
        }
    }

    fn bind(&mut self, pod: Arc<Pod>, node: String) {
        self.snapshot.assume(&pod, &node);
        let (reports, outcomes) = (self.reports.clone(), self.outcomes.clone());
        tokio::spawn(async move {
            let result = reports.bind(&pod, &node).await;
            // The receiver is gone only when the scheduler ends.
            let _ = outcomes.send(Outcome { pod, result });
        });
    }

    fn bound(&mut self, Outcome { pod, result }: Outcome) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        match result {
            // The watch will report the node and take the pod from the queue.
            Ok(()) => {}
            // Gone, replaced by another of its name, or bound by someone else: the watch says which.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                tracing::info!(pod = pod::key(&pod), code = status.code, "not bound");
                self.snapshot.remove_pod(uid);
                self.queue.failed(uid, Instant::now());
            }
            Err(error) => {
                tracing::warn!(%error, pod = pod::key(&pod), "binding failed, trying again");
                self.snapshot.remove_pod(uid);
                self.queue.failed(uid, Instant::now());
            }
        }
    }
}

/// The node for a pod, or upstream's message why there is none. Equal scores are decided by chance, so that several
/// schedulers do not all pick the first node.
fn decide(pod: &Pod, snapshot: &Snapshot) -> Result<String, String> {
    let asked = Asked::new(pod, snapshot);
    let mut reasons = Vec::new();
    let mut feasible: Vec<&NodeEntry> = Vec::new();
    for node in snapshot.nodes() {
        let found = asked.check(node);
        if found.is_empty() { feasible.push(node) } else { reasons.push(found) }
    }
    if feasible.is_empty() {
        return Err(filter::message(reasons.len(), &reasons));
    }
    let scores = score::scores(&asked, &feasible);
    let best = scores.iter().copied().fold(f64::MIN, f64::max);
    let winners: Vec<&str> = feasible
        .iter()
        .zip(&scores)
        .filter(|(_, score)| **score >= best)
        .map(|(node, _)| node.name())
        .collect();
    let chosen = winners.choose(&mut rand::rng()).copied();
    chosen.map(str::to_owned).ok_or_else(|| filter::message(0, &[]))
}
