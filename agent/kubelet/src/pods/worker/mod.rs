//! One pod's worker. Enters: its mailbox. Leaves: jobs, status writes, the registry's view. Ends when the pod is gone
//! from runtime, machine and API, or when the agent stops (containers keep running).
//!
//! Here is the loop: mail, a look at the runtime, a plan. [`work`] carries the plan out, [`health`] minds the probes,
//! [`report`] writes to the API.

mod health;
mod report;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::task::{AbortHandle, JoinSet};

use super::Shared;
use super::jobs::Done;
use super::mailbox::{Letter, Mailbox};
use super::memory::{Job, Memory, Termination};
use super::observe::{Observed, Observer};
use super::plan::{self, Plan};
use super::probes::Probes;
use crate::api::ApiFailure;
use crate::clock::{after, until};
use crate::{record, spec};

/// After a failed look at the runtime.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The runtime may report CREATED or RUNNING for a while after an exit event (longer on a busy machine): ask again
/// after so many milliseconds, then every [`LOOK_AGAIN`], until it agrees.
const ASK_AGAIN: [u64; 8] = [5, 10, 20, 40, 80, 160, 320, 640];

enum Work {
    Job(Done),
    Written(Result<Box<Pod>, ApiFailure>),
}

/// See the module.
pub struct Worker {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    pod: Arc<Pod>,
    gone: bool,
    finished: bool,
    observer: Observer,
    observed: Arc<Observed>,
    memory: Memory,
    probes: Probes,
    work: JoinSet<Work>,
    handles: BTreeMap<Job, AbortHandle>,
    look: bool,
    /// Ended by an event; the runtime's answer does not say so yet.
    ended: BTreeSet<String>,
    asked: usize,
    /// When to ask again for `ended`; other looks in between do not move it.
    ask_at: Option<Timestamp>,
    writing: bool,
    write_after: Option<Timestamp>,
    told: BTreeMap<String, String>,
}

impl Worker {
    /// A worker for a pod the API has, or (with `gone`) for one found only in the runtime.
    pub fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>, pod: Arc<Pod>, gone: bool) -> Self {
        let now = shared.clock.now();
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let memory = Memory {
            start_time: Some(started.map_or(now, |time| time.0)),
            deleted: gone,
            ..Memory::default()
        };
        let observer = Observer::new(&shared.config.node_ips);
        Worker {
            shared,
            mailbox,
            pod,
            gone,
            finished: false,
            observer,
            observed: Arc::default(),
            memory,
            probes: Probes::default(),
            work: JoinSet::new(),
            handles: BTreeMap::new(),
            look: true,
            ended: BTreeSet::new(),
            asked: 0,
            ask_at: None,
            writing: false,
            write_after: None,
            told: BTreeMap::new(),
        }
    }

    /// Works until the pod is gone; true if the API had no such pod (any more).
    pub async fn run(mut self) -> bool {
        loop {
            self.read_mail();
            if self.finished {
                self.shared.registry.remove(spec::uid(&self.pod));
                return self.gone;
            }
            let now = self.shared.clock.now();
            self.look |= self.ask_at.is_some_and(|at| at <= now);
            let mut wake = None;
            if self.look {
                wake = self.look_at_runtime().await;
            }
            if !self.look {
                self.mind_deletion();
                let plan = self.settle();
                wake = earlier(wake, plan.wake);
            }
            wake = earlier(earlier(wake, self.ask_at), self.write_after);
            let sleep = wake.map_or(Duration::from_secs(3600), |at| until(self.shared.clock.now(), at));
            tokio::select! {
                () = self.mailbox.wait() => {}
                Some(done) = self.work.join_next() => self.work_ended(done),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    fn read_mail(&mut self) {
        let Letter { pod, gone, look, ended, reports } = self.mailbox.take();
        if let Some(pod) = pod {
            self.adopt_version(pod);
        }
        if gone && !self.gone {
            self.gone = true;
            self.memory.deleted = true;
        }
        self.look |= look || !ended.is_empty();
        if !ended.is_empty() {
            self.ended.extend(ended);
            self.asked = 0;
            self.ask_at = None;
        }
        for report in reports {
            self.judge(&report);
        }
    }

    /// Takes a version of the pod unless a newer one is known (a status patch is answered before it is watched).
    fn adopt_version(&mut self, pod: Arc<Pod>) {
        let version = |pod: &Pod| pod.metadata.resource_version.as_ref().and_then(|v| v.parse::<u64>().ok());
        if version(&pod) < version(&self.pod) {
            return;
        }
        let meta = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
        if meta(&pod) != meta(&self.pod) && self.memory.volumes.refresh_at.is_some() {
            self.memory.volumes.refresh_at = Some(self.shared.clock.now());
        }
        self.pod = pod;
    }

    /// Begins or shortens the pod's end if the API wants it.
    fn mind_deletion(&mut self) {
        let wanted = self.pod.metadata.deletion_timestamp.is_some();
        if !wanted && !self.gone {
            return;
        }
        self.memory.deleted = true;
        if self.gone {
            self.memory.final_written = true;
        }
        let now = self.shared.clock.now();
        let given = self.pod.metadata.deletion_grace_period_seconds;
        let grace = given.map_or_else(
            || spec::grace(&self.pod),
            |seconds| Duration::from_secs(seconds.max(0).unsigned_abs()),
        );
        match &mut self.memory.termination {
            None => {
                self.memory.termination =
                    Some(Termination { since: now, grace, reason: None, message: None });
            }
            Some(known) if given.is_some() && after(now, grace) < after(known.since, known.grace) => {
                known.since = now;
                known.grace = grace;
                // stop again, with less patience
                self.abort(|job| matches!(job, Job::Stop(_)));
            }
            Some(_) => {}
        }
    }

    fn abort(&mut self, which: impl Fn(&Job) -> bool) {
        let memory = &mut self.memory;
        self.handles.retain(|job, handle| {
            let hit = which(job);
            if hit {
                handle.abort();
                memory.jobs.remove(job);
            }
            !hit
        });
        self.look = true;
    }

    /// Looks; returns when to look again if the runtime did not answer.
    async fn look_at_runtime(&mut self) -> Option<Timestamp> {
        match self.observer.look(self.shared.runtime.as_ref(), spec::uid(&self.pod)).await {
            Ok(observed) => {
                for id in observed.ids() {
                    if self.shared.index.claim(id, spec::uid(&self.pod)) {
                        self.ended.insert(id.to_owned());
                    }
                }
                self.observed = Arc::new(observed);
                self.look = false;
            }
            Err(error) => {
                tracing::warn!(pod = spec::long_name(&self.pod), %error, "the runtime does not answer");
                // `look` stays set: the next answer is checked against `ended` all the same
                self.ask_at = None;
                return Some(after(self.shared.clock.now(), LOOK_AGAIN));
            }
        }
        self.check_ended();
        None
    }

    /// Drops the exits that the runtime now admits; sets when to ask for the others.
    fn check_ended(&mut self) {
        let observed = &self.observed;
        self.ended.retain(|id| !observed.has_ended(id));
        let now = self.shared.clock.now();
        if self.ended.is_empty() {
            self.asked = 0;
            self.ask_at = None;
        } else if self.ask_at.is_none_or(|at| at <= now) {
            let delay = ASK_AGAIN.get(self.asked).map_or(LOOK_AGAIN, |millis| Duration::from_millis(*millis));
            self.asked += 1;
            self.ask_at = Some(after(now, delay));
        }
    }

    /// Plans and acts until there is nothing more to do now.
    fn settle(&mut self) -> Plan {
        self.check_health();
        let mut plan = self.plan();
        if let Some(termination) = plan.terminate.take() {
            tracing::info!(pod = spec::long_name(&self.pod), reason = ?termination.reason, "the pod ends");
            if let (Some(reason), Some(message)) = (&termination.reason, &termination.message) {
                self.shared.event(&self.pod, None, record::Kind::Normal, reason, message);
            }
            self.memory.termination = Some(termination);
            self.check_health();
            plan = self.plan();
        }
        for action in std::mem::take(&mut plan.actions) {
            self.begin(action);
        }
        self.tell(&plan);
        self.write_status(&plan);
        plan
    }

    fn plan(&self) -> Plan {
        let now = self.shared.clock.now();
        plan::plan(plan::Input { pod: &self.pod, observed: &self.observed, memory: &self.memory, now })
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
