//! Probes. Enters: a running container with probes. Leaves: [`Report`]s to its pod's worker, when a threshold is
//! crossed. One small task per probe; `judge` counts (pure), `run` asks the container.

mod judge;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::jiff::Timestamp;
use tokio::task::AbortHandle;

use super::Shared;
use super::mailbox::Mailbox;
use crate::clock::{after, until};
use crate::record::{Kind as EventKind, pod_reference};
use judge::Judge;
use run::Outcome;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Holds the others back until it succeeds once.
    Startup,
    /// Failure restarts the container.
    Liveness,
    /// Failure takes the pod out of Services.
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }

    /// The container's probe of this kind.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// A probe's verdict on a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The container's id in the runtime.
    pub id: String,
    /// Which probe.
    pub kind: Kind,
    /// True for success.
    pub healthy: bool,
}

/// What is probed.
#[derive(Clone)]
pub struct Target {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// Its id in the runtime.
    pub id: String,
    /// The pod's address (the node's, on its network).
    pub ip: String,
    /// When the container started.
    pub since: Timestamp,
}

/// The probes of one pod that are under way.
#[derive(Debug, Default)]
pub struct Probes {
    tasks: BTreeMap<(String, Kind), AbortHandle>,
}

impl Probes {
    /// Starts a probe unless it runs already.
    pub fn start(&mut self, shared: &Arc<Shared>, mailbox: &Arc<Mailbox>, target: &Target, kind: Kind) {
        let key = (target.id.clone(), kind);
        if self.tasks.contains_key(&key) {
            return;
        }
        let Some(probe) = kind.of(&target.container).cloned() else { return };
        let work = watch(shared.clone(), mailbox.clone(), target.clone(), kind, probe);
        self.tasks.insert(key, tokio::spawn(work).abort_handle());
    }

    /// Ends the probes for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&str, Kind) -> bool) {
        self.tasks.retain(|(id, kind), task| {
            let keep = keep(id, *kind);
            if !keep {
                task.abort();
            }
            keep
        });
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.retain(|_, _| false);
    }
}

fn seconds(value: Option<i32>, default: u64, least: u64) -> Duration {
    let given = value.and_then(|value| u64::try_from(value).ok());
    Duration::from_secs(given.unwrap_or(default).max(least))
}

/// The delay of the first probe: what is left of initialDelaySeconds; and, for a container found already running,
/// a share of the period by its id, so that a restarted agent does not probe everything at once.
fn first_delay(probe: &Probe, id: &str, since: Timestamp, now: Timestamp) -> Duration {
    let period = seconds(probe.period_seconds, 10, 1);
    let due = after(since, seconds(probe.initial_delay_seconds, 0, 0));
    if until(since, now) < period.max(Duration::from_secs(5)) {
        return until(now, due);
    }
    let spread = id.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let share = Duration::from_millis(spread % u64::try_from(period.as_millis()).unwrap_or(1000).max(1));
    until(now, due).max(share)
}

async fn watch(shared: Arc<Shared>, mailbox: Arc<Mailbox>, target: Target, kind: Kind, probe: Probe) {
    tokio::time::sleep(first_delay(&probe, &target.id, target.since, shared.clock.now())).await;
    let period = seconds(probe.period_seconds, 10, 1);
    let limit = seconds(probe.timeout_seconds, 1, 1);
    let mut judge = Judge::new(probe.success_threshold, probe.failure_threshold);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = run::once(&shared, &target, &probe, limit).await;
        let healthy = match outcome {
            Outcome::Healthy => true,
            Outcome::Unhealthy(output) => {
                let message = format!("{} probe failed: {output}", kind.name());
                let about = pod_reference(&target.pod, Some(&target.container.name));
                shared.recorder.record(about, EventKind::Warning, "Unhealthy", message);
                false
            }
            Outcome::Unknown(cause) => {
                tracing::warn!(
                    container = target.container.name,
                    probe = kind.name(),
                    cause,
                    "probe errored"
                );
                continue;
            }
        };
        if let Some(healthy) = judge.count(healthy) {
            mailbox.report(Report { id: target.id.clone(), kind, healthy });
            // a startup probe has one success to report; after a fatal failure the container is replaced
            if kind == Kind::Startup || (kind == Kind::Liveness && !healthy) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_probe_waits_for_its_delay_and_spreads_after_a_restart() {
        let probe = Probe { initial_delay_seconds: Some(7), period_seconds: Some(20), ..Probe::default() };
        let start = Timestamp::UNIX_EPOCH;
        assert_eq!(first_delay(&probe, "a", start, start), Duration::from_secs(7));
        let later = after(start, Duration::from_secs(3600));
        let (a, b) = (first_delay(&probe, "c-one", start, later), first_delay(&probe, "c-two", start, later));
        assert!(a < Duration::from_secs(20) && b < Duration::from_secs(20) && a != b, "{a:?} {b:?}");
    }
}
