//! One pod's worker. Enters: its mailbox. Leaves: jobs, status writes, the registry's view. Ends when the pod is gone
//! from runtime, machine and API, or when the agent stops (containers keep running).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::task::{AbortHandle, JoinSet};

use super::backoff::Backoff;
use super::jobs::{self, Done, Outcome, Snapshot};
use super::mailbox::{Letter, Mailbox};
use super::memory::{Failure, Health, Job, Memory, Termination};
use super::observe::{Observed, Observer, State};
use super::plan::{self, Action, Plan};
use super::probes::{Kind, Probes, Report, Target};
use super::start::StartError;
use super::{Shared, status};
use crate::api::ApiFailure;
use crate::clock::{after, until};
use crate::record;
use crate::spec::{self, Role};

/// After a failed look at the runtime.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After a failed job.
const RETRY: Duration = Duration::from_secs(5);
/// After a failed start that is no image pull (upstream's sync back-off).
const START_RETRY: Duration = Duration::from_secs(10);
/// Volumes: the first and the greatest delay.
const VOLUME_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122));
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
        Worker {
            shared,
            mailbox,
            pod,
            gone,
            finished: false,
            observer: Observer::default(),
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

    fn begin(&mut self, action: Action) {
        let job = action.job();
        let now = self.shared.clock.now();
        if let Action::Start { name, ended: Some(cause), .. } = &action {
            let previous = self.memory.crash.get(name).copied();
            self.memory.crash.insert(name.clone(), Backoff::next(previous, *cause, now));
        }
        let snapshot = Snapshot { pod: self.pod.clone(), observed: self.observed.clone(), gone: self.gone };
        let shared = self.shared.clone();
        self.memory.jobs.insert(job.clone());
        let work = async move { Work::Job(jobs::run(shared, snapshot, action).await) };
        let handle = self.work.spawn(work);
        self.handles.insert(job, handle);
    }

    fn work_ended(&mut self, done: Result<Work, tokio::task::JoinError>) {
        match done {
            Ok(Work::Job(Done { job, outcome })) => {
                self.handles.remove(&job);
                self.memory.jobs.remove(&job);
                self.look = true;
                self.took(job, outcome);
            }
            Ok(Work::Written(result)) => self.written(result),
            Err(error) if error.is_cancelled() => self.look = true,
            Err(error) => {
                // a job that panicked counts as failed; which one is told by the handles
                tracing::error!(pod = spec::long_name(&self.pod), %error, "a job broke");
                self.handles.retain(|_, handle| !handle.is_finished());
                let handles = &self.handles;
                self.memory.jobs.retain(|job| handles.contains_key(job));
                self.writing = false;
                self.look = true;
            }
        }
    }

    fn took(&mut self, job: Job, outcome: Outcome) {
        let now = self.shared.clock.now();
        match (&job, outcome) {
            (Job::Start(name), Outcome::Started(id)) => {
                self.memory.failed.remove(name);
                tracing::info!(pod = spec::long_name(&self.pod), container = name, id, "container started");
            }
            (Job::Start(name), Outcome::NotStarted(error)) => self.not_started(name.clone(), error),
            (Job::Volumes, Outcome::Fine) => {
                self.memory.volumes.ready = true;
                self.memory.volumes.delay = Duration::ZERO;
                let refreshes = self.shared.host.refreshes(&self.pod);
                self.memory.volumes.refresh_at =
                    refreshes.then(|| after(now, self.shared.config.volume_refresh));
            }
            (Job::Volumes, Outcome::Failed(error)) => {
                let delay = (self.memory.volumes.delay * 2).clamp(VOLUME_RETRY.0, VOLUME_RETRY.1);
                self.memory.volumes.delay = delay;
                self.memory.retry.insert(job, after(now, delay));
                tracing::warn!(pod = spec::long_name(&self.pod), error, "volumes are not ready");
            }
            (_, Outcome::Failed(error)) => {
                tracing::warn!(pod = spec::long_name(&self.pod), ?job, error, "to be tried again");
                self.memory.retry.insert(job, after(now, RETRY));
            }
            (Job::StopSandbox(id), _) => {
                self.memory.stopped_sandboxes.insert(id.clone());
            }
            (Job::CleanUp, _) => self.memory.cleaned = true,
            (Job::Finish, _) => self.finished = true,
            _ => {}
        }
    }

    fn not_started(&mut self, name: String, error: StartError) {
        let now = self.shared.clock.now();
        let previous = self.memory.failed.get(&name).and_then(|failure| failure.pull.clone());
        tracing::warn!(
            pod = spec::long_name(&self.pod),
            container = name,
            reason = error.reason,
            error = error.message,
            "container not started"
        );
        let pull = error.image.map(|image| (Backoff::next(previous.map(|(b, _)| b), now, now), image));
        let delay = pull.as_ref().map_or(START_RETRY, |(backoff, _)| backoff.delay());
        let failure = Failure {
            reason: error.reason,
            message: error.message,
            at: now,
            retry_at: after(now, delay),
            pull,
        };
        self.memory.failed.insert(name, failure);
    }

    /// Brings health and probes in line with the containers that run.
    fn check_health(&mut self) {
        let observed = self.observed.clone();
        let running: BTreeSet<&str> =
            observed.containers.iter().filter(|c| c.running()).map(|c| c.id.as_str()).collect();
        self.memory.health.retain(|id, _| running.contains(id.as_str()));
        self.memory.doomed.retain(|id, _| running.contains(id.as_str()));
        let ending = self.memory.termination.is_some();
        let doomed = &self.memory.doomed;
        self.probes.retain(|id, kind| {
            // while a pod ends, readiness still takes it out of Services; nothing restarts any more
            running.contains(id) && (!ending || kind == Kind::Readiness) && !doomed.contains_key(id)
        });
        let ips = if spec::on_host_network(&self.pod) {
            self.shared.config.node_ips.clone()
        } else {
            observed.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
        };
        for instance in &observed.containers {
            let State::Running { since } = instance.state else { continue };
            let Some((role, container)) = spec::find(&self.pod, &instance.name) else { continue };
            // it runs before StartContainer has answered; it has started unless postStart is still to come
            let hooked = container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some());
            if hooked && self.memory.busy(&Job::Start(instance.name.clone())) {
                continue;
            }
            let known = self.memory.health.get(&instance.id).copied();
            let health = known.unwrap_or_else(|| self.first_health(&instance.id, &container));
            self.memory.health.insert(instance.id.clone(), health);
            if ending || !matches!(role, Role::Main | Role::Sidecar) {
                continue;
            }
            let target = Target {
                pod: self.pod.clone(),
                container: container.into_owned(),
                id: instance.id.clone(),
                ip: ips.first().cloned().unwrap_or_default(),
                since,
            };
            let kinds: &[Kind] =
                if health.started { &[Kind::Liveness, Kind::Readiness] } else { &[Kind::Startup] };
            for kind in kinds {
                self.probes.start(&self.shared, &self.mailbox, &target, *kind);
            }
        }
    }

    /// The health of a container seen running for the first time: what an earlier life of the agent wrote about this
    /// very container, else what its probes have yet to prove.
    fn first_health(&self, id: &str, container: &k8s_openapi::api::core::v1::Container) -> Health {
        let full = format!("{}://{id}", self.shared.runtime_name);
        let status = self.pod.status.as_ref();
        let lists = status.map(|s| [s.container_statuses.as_deref(), s.init_container_statuses.as_deref()]);
        let mut written = lists.into_iter().flatten().flatten().flatten();
        let written = written.find(|status| status.container_id.as_deref() == Some(&full));
        match written.filter(|status| status.started == Some(true)) {
            Some(status) => {
                Health { started: true, ready: status.ready || container.readiness_probe.is_none() }
            }
            None => Health {
                started: container.startup_probe.is_none(),
                ready: container.readiness_probe.is_none(),
            },
        }
    }

    fn judge(&mut self, report: &Report) {
        let Some(health) = self.memory.health.get_mut(&report.id) else { return };
        match (report.kind, report.healthy) {
            (Kind::Readiness, healthy) => health.ready = healthy,
            (Kind::Startup, true) => health.started = true,
            (Kind::Liveness, true) => {}
            (kind @ (Kind::Startup | Kind::Liveness), false) => {
                let found = self.observed.containers.iter().find(|instance| instance.id == report.id);
                let Some(instance) = found else { return };
                let word = if kind == Kind::Startup { "startup" } else { "liveness" };
                let message = format!("Container {} failed {word} probe, will be restarted", instance.name);
                let container = spec::find(&self.pod, &instance.name);
                let own = container
                    .as_ref()
                    .and_then(|(_, container)| kind.of(container)?.termination_grace_period_seconds)
                    .map(|seconds| Duration::from_secs(seconds.max(0).unsigned_abs()));
                self.memory.doomed.insert(report.id.clone(), (message, own));
            }
        }
    }

    /// Says in an Event when a container begins to wait.
    fn tell(&mut self, plan: &Plan) {
        let now: BTreeMap<String, String> =
            plan.waiting.iter().map(|(name, waiting)| (name.clone(), waiting.reason.clone())).collect();
        for (name, reason) in &now {
            if self.told.get(name) == Some(reason) {
                continue;
            }
            let (kind, message) = match reason.as_str() {
                "CrashLoopBackOff" => {
                    let pod = spec::long_name(&self.pod);
                    let text = format!("Back-off restarting failed container {name} in pod {pod}");
                    (record::Kind::Warning, text)
                }
                "ImagePullBackOff" => {
                    let image = spec::find(&self.pod, name).and_then(|(_, c)| c.image.clone());
                    let text = format!("Back-off pulling image \"{}\"", image.unwrap_or_default());
                    self.shared.event(
                        &self.pod,
                        Some(name),
                        record::Kind::Warning,
                        "Failed",
                        "Error: ImagePullBackOff",
                    );
                    (record::Kind::Normal, text)
                }
                _ => continue,
            };
            self.shared.event(&self.pod, Some(name), kind, "BackOff", message);
        }
        self.told = now;
    }

    fn write_status(&mut self, plan: &Plan) {
        let now = self.shared.clock.now();
        let new = status::pod_status(status::Input {
            pod: &self.pod,
            observed: &self.observed,
            memory: &self.memory,
            waiting: &plan.waiting,
            stopped: plan.stopped,
            host_ips: &self.shared.config.node_ips,
            runtime: &self.shared.runtime_name,
            now,
        });
        let old = self.pod.status.clone().unwrap_or_default();
        let patch = status::patch::between(spec::uid(&self.pod), &old, &new);
        let mut view = (*self.pod).clone();
        view.status = Some(new);
        self.shared.registry.put(Arc::new(view), self.observed.clone());
        if self.gone || self.writing {
            return;
        }
        let Some(patch) = patch else {
            // the API has the last word on the pod already
            if plan.stopped && !self.memory.final_written {
                self.memory.final_written = true;
                self.mailbox.put(|_| ());
            }
            return;
        };
        if self.write_after.is_some_and(|at| at > now) {
            return;
        }
        self.write_after = None;
        self.writing = true;
        let (shared, pod) = (self.shared.clone(), self.pod.clone());
        self.work.spawn(async move {
            let written = shared.api.patch_status(spec::namespace(&pod), spec::name(&pod), &patch).await;
            Work::Written(written.map(Box::new))
        });
    }

    fn written(&mut self, result: Result<Box<Pod>, ApiFailure>) {
        self.writing = false;
        match result {
            Ok(pod) => self.adopt_version(Arc::new(*pod)),
            Err(ApiFailure::Gone(_)) => {
                self.gone = true;
                self.memory.deleted = true;
            }
            Err(error) => {
                tracing::warn!(pod = spec::long_name(&self.pod), %error, "status not written");
                let delay = if matches!(error, ApiFailure::Refused(_)) { 10 } else { 1 };
                self.write_after = Some(after(self.shared.clock.now(), Duration::from_secs(delay)));
            }
        }
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
