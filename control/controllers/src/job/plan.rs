//! From a Job and its pods to its status and the pods to create, delete and let go. Pure.
//!
//! A pod that ended keeps the tracking finalizer until it is written down: first its UID goes into
//! `uncountedTerminatedPods`, then the finalizer goes, then the UID turns into a count (KEP-2307).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::indexes;
use super::policy::{self, Effect};
use crate::machinery::children::BURST;
use crate::machinery::pods;
use crate::machinery::time::{plus, seconds, since, until};

/// The finalizer by which pods wait to be counted.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// What the controller remembers of a Job between rounds: failures in a row, and when the last one was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// Failures since the last success.
    pub failures: u32,
    /// When the last pod failed.
    pub last: Option<Timestamp>,
}

impl Backoff {
    /// How long until the next pod may be made: 10 s after the first failure, then doubling up to 10 min.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        let (Some(last), true) = (self.last, self.failures > 0) else { return Duration::ZERO };
        let delay =
            FIRST_BACKOFF.saturating_mul(2u32.saturating_pow(self.failures.min(20) - 1)).min(MAX_BACKOFF);
        until(plus(last, delay), now)
    }
}

/// The pods to create.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Create {
    /// How many.
    pub count: usize,
    /// Their indexes, for an indexed Job.
    pub indexes: Vec<i32>,
}

/// One step.
#[derive(Debug)]
pub struct Plan {
    /// The status.
    pub status: JobStatus,
    /// Pods to create.
    pub create: Create,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Pods whose tracking finalizer may go once the status is written.
    pub release: Vec<Arc<Pod>>,
    /// What to say: type, reason, message.
    pub events: Vec<(bool, &'static str, String)>,
    /// The back-off to remember.
    pub backoff: Backoff,
    /// When time alone may change something.
    pub again: Option<Duration>,
}

/// Whether a condition is true.
pub fn is(status: &JobStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True")
}

/// When the Job finished, if it did.
pub fn finished_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let done =
        conditions.iter().find(|c| (c.type_ == "Complete" || c.type_ == "Failed") && c.status == "True")?;
    done.last_transition_time.as_ref().map(|t| t.0)
}

fn set(status: &mut JobStatus, kind: &str, value: &str, reason: &str, message: &str, now: Timestamp) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|c| c.type_ == kind && c.status == value && c.reason.as_deref() == Some(reason))
    {
        return false;
    }
    conditions.retain(|c| c.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(seconds(now)),
        last_transition_time: Some(seconds(now)),
    });
    true
}

/// Whether the pod still waits to be counted.
pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|f| f == TRACKING)
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Whether the pod counts as failed: a deleted one does too, unless the Job waits for pods to end by themselves.
fn has_failed(job: &Job, pod: &Pod) -> bool {
    let spec = job.spec.as_ref();
    let waits = spec.is_some_and(|s| s.pod_failure_policy.is_some())
        || spec.and_then(|s| s.pod_replacement_policy.as_deref()) == Some("Failed");
    pods::phase(pod) == "Failed" || (!waits && pods::is_terminating(pod) && pods::phase(pod) != "Succeeded")
}

fn ended_at(pod: &Pod, now: Timestamp) -> Timestamp {
    let status = pod.status.as_ref();
    let states = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    let ends =
        states.filter_map(|c| c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|t| t.0));
    ends.max().or_else(|| pod.metadata.deletion_timestamp.as_ref().map(|t| t.0.min(now))).unwrap_or(now)
}

struct Round<'a> {
    job: &'a Job,
    pods: &'a [Arc<Pod>],
    now: Timestamp,
    done: BTreeSet<i32>,
    plan: Plan,
}

fn number(count: Option<i32>) -> i32 {
    count.unwrap_or_default()
}

/// Decides a step for a Job that is not finished yet.
pub fn plan(job: &Job, owned: &[Arc<Pod>], backoff: Backoff, now: Timestamp) -> Plan {
    let status = job.status.clone().unwrap_or_default();
    let done = indexes::parse(status.completed_indexes.as_deref().unwrap_or_default());
    let empty = Plan {
        status,
        create: Create::default(),
        delete: Vec::new(),
        release: Vec::new(),
        events: Vec::new(),
        backoff,
        again: None,
    };
    let mut round = Round { job, pods: owned, now, done, plan: empty };
    round.suspension();
    round.count();
    let failing = round.judge();
    round.manage(failing);
    round.finish();
    round.plan
}

impl Round<'_> {
    fn suspended(&self) -> bool {
        self.job.spec.as_ref().and_then(|s| s.suspend).unwrap_or_default()
    }

    fn completions(&self) -> Option<i32> {
        self.job.spec.as_ref().and_then(|s| s.completions)
    }

    fn sooner(&mut self, wait: Duration) {
        self.plan.again = Some(self.plan.again.map_or(wait, |w| w.min(wait)));
    }

    fn suspension(&mut self) {
        let (now, suspended) = (self.now, self.suspended());
        let was = is(&self.plan.status, "Suspended");
        if suspended && !was {
            set(&mut self.plan.status, "Suspended", "True", "JobSuspended", "Job suspended", now);
            self.plan.status.start_time = None;
            self.plan.events.push((true, "Suspended", "Job suspended".to_owned()));
        } else if !suspended && was {
            set(&mut self.plan.status, "Suspended", "False", "JobResumed", "Job resumed", now);
            self.plan.status.start_time = Some(seconds(now));
            self.plan.events.push((true, "Resumed", "Job resumed".to_owned()));
        } else if !suspended && self.plan.status.start_time.is_none() {
            self.plan.status.start_time = Some(seconds(now));
        }
    }

    /// Takes ended pods into the books.
    fn count(&mut self) {
        let indexed = indexes::is_indexed(self.job);
        let settled = is(&self.plan.status, "SuccessCriteriaMet");
        let mut books = self.plan.status.uncounted_terminated_pods.take().unwrap_or_default();
        let mut good: BTreeSet<String> = books.succeeded.take().into_iter().flatten().collect();
        let mut bad: BTreeSet<String> = books.failed.take().into_iter().flatten().collect();
        let held: BTreeSet<&str> = self.pods.iter().filter(|p| is_tracked(p)).map(|p| uid(p)).collect();
        // Written down earlier and let go since: these become numbers.
        let before = (good.len(), bad.len());
        good.retain(|u| held.contains(u.as_str()));
        bad.retain(|u| held.contains(u.as_str()));
        let add = |count: Option<i32>, n: usize| number(count) + i32::try_from(n).unwrap_or(i32::MAX);
        let status = &mut self.plan.status;
        status.succeeded = Some(add(status.succeeded, before.0 - good.len()));
        status.failed = Some(add(status.failed, before.1 - bad.len()));
        for pod in self.pods.iter().filter(|p| is_tracked(p)) {
            let id = uid(pod).to_owned();
            if pods::phase(pod) == "Succeeded" {
                self.plan.backoff = Backoff::default();
                match indexes::of(pod).filter(|_| indexed) {
                    // An index is done once, however many pods did it.
                    Some(index) => {
                        self.done.insert(index);
                    }
                    None => {
                        good.insert(id);
                    }
                }
                self.plan.release.push(pod.clone());
            } else if has_failed(self.job, pod) {
                if !settled && !bad.contains(&id) && policy::effect(self.job, pod) != Effect::Ignore {
                    let ended = ended_at(pod, self.now);
                    let backoff = &mut self.plan.backoff;
                    backoff.failures += 1;
                    backoff.last = Some(backoff.last.map_or(ended, |last| last.max(ended)));
                    bad.insert(id);
                }
                self.plan.release.push(pod.clone());
            }
        }
        if indexed {
            self.plan.status.succeeded = i32::try_from(self.done.len()).ok();
            self.plan.status.completed_indexes = Some(indexes::format(&self.done)).filter(|t| !t.is_empty());
        }
        let list = |set: BTreeSet<String>| (!set.is_empty()).then(|| set.into_iter().collect::<Vec<_>>());
        let books = UncountedTerminatedPods { succeeded: list(good), failed: list(bad) };
        self.plan.status.uncounted_terminated_pods = Some(books);
    }

    fn total(&self, succeeded: bool) -> i32 {
        let books = self.plan.status.uncounted_terminated_pods.as_ref();
        let (count, open) = if succeeded {
            (self.plan.status.succeeded, books.and_then(|b| b.succeeded.as_ref()))
        } else {
            (self.plan.status.failed, books.and_then(|b| b.failed.as_ref()))
        };
        number(count) + open.map_or(0, |o| i32::try_from(o.len()).unwrap_or(i32::MAX))
    }

    fn active(&self) -> Vec<Arc<Pod>> {
        self.pods.iter().filter(|p| pods::is_active(p)).cloned().collect()
    }

    /// Whether the Job is over one way or the other; the deciding condition is set.
    fn judge(&mut self) -> bool {
        let now = self.now;
        if is(&self.plan.status, "FailureTarget") || is(&self.plan.status, "SuccessCriteriaMet") {
            return true;
        }
        if let Some((reason, message)) = self.failure() {
            set(&mut self.plan.status, "FailureTarget", "True", reason, &message, now);
            return true;
        }
        let succeeded = self.total(true);
        let complete = match self.completions() {
            Some(wanted) => succeeded >= wanted,
            None => succeeded > 0 && self.active().is_empty(),
        };
        if complete && !self.suspended() {
            let (reason, message) = ("CompletionsReached", "Reached expected number of succeeded pods");
            set(&mut self.plan.status, "SuccessCriteriaMet", "True", reason, message, now);
        }
        complete && !self.suspended()
    }

    fn failure(&mut self) -> Option<(&'static str, String)> {
        let spec = self.job.spec.as_ref()?;
        let failed = self.pods.iter().filter(|p| is_tracked(p) && has_failed(self.job, p));
        for pod in failed {
            if let Effect::FailJob(message) = policy::effect(self.job, pod) {
                return Some(("PodFailurePolicy", message));
            }
        }
        let limit = spec.backoff_limit.unwrap_or(6);
        let in_place =
            spec.template.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) == Some("OnFailure");
        let restarts: i32 = if in_place { self.active().iter().map(|p| restarts(p)).sum() } else { 0 };
        if self.total(false) > limit || (in_place && restarts > 0 && restarts >= limit) {
            return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned()));
        }
        let deadline =
            spec.active_deadline_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs)?;
        let start = self.plan.status.start_time.as_ref()?.0;
        if self.suspended() {
            return None;
        }
        if since(self.now, start) >= deadline {
            return Some(("DeadlineExceeded", "Job was active longer than specified deadline".to_owned()));
        }
        self.sooner(until(plus(start, deadline), self.now));
        None
    }

    fn manage(&mut self, over: bool) {
        let active = self.active();
        if over || self.suspended() {
            self.plan.delete = active;
            return;
        }
        if self.job.metadata.deletion_timestamp.is_some() {
            return;
        }
        let spec = self.job.spec.as_ref();
        let parallelism = spec.and_then(|s| s.parallelism).unwrap_or(1).max(0);
        let here = i32::try_from(active.len()).unwrap_or(i32::MAX);
        let succeeded = self.total(true);
        let wanted = match self.completions() {
            Some(completions) => parallelism.min((completions - succeeded).max(0)),
            None if succeeded > 0 => here.min(parallelism),
            None => parallelism,
        };
        let indexed = indexes::is_indexed(self.job);
        let waits = spec.and_then(|s| s.pod_replacement_policy.as_deref()) == Some("Failed");
        let leaving = self.pods.iter().filter(|p| pods::is_terminating(p) && !pods::is_terminal(p)).count();
        let held = if waits { i32::try_from(leaving).unwrap_or(i32::MAX) } else { 0 };
        if here > wanted {
            let mut surplus = active;
            // Those that got least far go first.
            surplus.sort_by_key(|p| (pods::is_ready(p), pods::phase(p) == "Running", p.metadata.uid.clone()));
            surplus.truncate(usize::try_from(here - wanted).unwrap_or_default());
            self.plan.delete = surplus;
        } else if here + held < wanted {
            let wait = self.plan.backoff.remaining(self.now);
            if !wait.is_zero() {
                return self.sooner(wait);
            }
            let count = usize::try_from(wanted - here - held).unwrap_or_default().min(BURST);
            let mut taken = self.done.clone();
            taken.extend(active.iter().filter_map(|p| indexes::of(p)));
            let chosen = if indexed {
                indexes::pending(self.completions().unwrap_or(1), &taken, count)
            } else {
                Vec::new()
            };
            self.plan.create = Create { count: if indexed { chosen.len() } else { count }, indexes: chosen };
        }
    }

    /// The counts, and the last condition once nothing is left to be counted.
    fn finish(&mut self) {
        let now = self.now;
        let over = is(&self.plan.status, "FailureTarget") || is(&self.plan.status, "SuccessCriteriaMet");
        let active = self.active();
        let kept = active.len() - self.plan.delete.len().min(active.len()) + self.plan.create.count;
        // Pods about to be deleted are no longer active, so they do not count as ready either: the API server refuses
        // more ready pods than active ones.
        let goes = |pod: &Arc<Pod>| self.plan.delete.iter().any(|gone| uid(gone) == uid(pod));
        let ready = active.iter().filter(|p| pods::is_ready(p) && !goes(p)).count();
        let leaving = self.pods.iter().filter(|p| pods::is_terminating(p) && !pods::is_terminal(p)).count();
        let count = |n: usize| i32::try_from(n).ok();
        let status = &mut self.plan.status;
        status.active = count(kept).filter(|n| *n > 0);
        status.ready = count(ready);
        status.terminating = count(leaving);
        let books = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let settled = books.succeeded.is_none() && books.failed.is_none() && self.plan.release.is_empty();
        if over && settled && active.is_empty() && leaving == 0 {
            let target = status.conditions.iter().flatten();
            let target: Vec<JobCondition> = target
                .filter(|c| {
                    c.status == "True" && (c.type_ == "FailureTarget" || c.type_ == "SuccessCriteriaMet")
                })
                .cloned()
                .collect();
            for cause in target {
                let (reason, message) = (cause.reason.unwrap_or_default(), cause.message.unwrap_or_default());
                if cause.type_ == "SuccessCriteriaMet" {
                    set(status, "Complete", "True", &reason, &message, now);
                    status.completion_time = Some(seconds(now));
                    self.plan.events.push((true, "Completed", "Job completed".to_owned()));
                } else {
                    set(status, "Failed", "True", &reason, &message, now);
                    let reason = match reason.as_str() {
                        "DeadlineExceeded" => "DeadlineExceeded",
                        "PodFailurePolicy" => "PodFailurePolicy",
                        _ => "BackoffLimitExceeded",
                    };
                    self.plan.events.push((false, reason, message));
                }
            }
        }
        if status.succeeded == Some(0) {
            status.succeeded = None;
        }
        if status.failed == Some(0) {
            status.failed = None;
        }
    }
}

fn restarts(pod: &Pod) -> i32 {
    let Some(status) = &pod.status else { return 0 };
    let all =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.map(|c| c.restart_count).sum()
}
