//! A worker's jobs: begun as the plan says, and what it remembers of how they ended.

use std::time::Duration;

use super::super::backoff::Backoff;
use super::super::jobs::{self, Done, Outcome, Snapshot};
use super::super::memory::{Failure, Job};
use super::super::plan::Action;
use super::super::start::StartError;
use super::{Work, Worker};
use crate::clock::after;
use crate::spec;

/// After a failed job.
const RETRY: Duration = Duration::from_secs(5);
/// After a failed start that is no image pull (upstream's sync back-off).
const START_RETRY: Duration = Duration::from_secs(10);
/// Volumes: the first and the greatest delay.
const VOLUME_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122));
impl Worker {
    pub(super) fn begin(&mut self, action: Action) {
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

    pub(super) fn work_ended(&mut self, done: Result<Work, tokio::task::JoinError>) {
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
}
