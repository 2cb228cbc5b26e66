//! What the levels tell of themselves: metrics and the debugging dumps, with upstream's names.
//!
//! Enters: the levels at work. Leaves: text. Called by the server's `/metrics` and `/debug/api_priority_and_fairness`.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::control::{FlowControl, Station};

impl FlowControl {
    /// Prometheus text of the levels, with upstream's metric names.
    #[must_use]
    pub fn metrics(&self) -> String {
        let state = self.state();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, String)>| {
            let name = format!("apiserver_flowcontrol_{name}");
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, value) in lines {
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        };
        let mut stations: Vec<&Arc<Station>> = state.stations.values().collect();
        stations.sort_by(|a, b| a.name.cmp(&b.name));
        let each = |value: &dyn Fn(&Station) -> String| -> Vec<(String, String)> {
            stations.iter().map(|one| (format!("priority_level={:?}", one.name), value(one))).collect()
        };
        family(
            "nominal_limit_seats",
            "gauge",
            "Nominal number of execution seats.",
            each(&|one| one.inner.lock().nominal.to_string()),
        );
        family(
            "current_limit_seats",
            "gauge",
            "Present number of execution seats.",
            each(&|one| one.inner.lock().set.load().2.to_string()),
        );
        family(
            "current_executing_seats",
            "gauge",
            "Seats of running requests.",
            each(&|one| one.inner.lock().set.load().0.to_string()),
        );
        family(
            "current_executing_requests",
            "gauge",
            "Running requests.",
            each(&|one| one.running().to_string()),
        );
        family(
            "current_inqueue_requests",
            "gauge",
            "Waiting requests.",
            each(&|one| one.inner.lock().set.load().1.to_string()),
        );
        let mut dispatched = Vec::new();
        let mut rejected = Vec::new();
        for one in &stations {
            for (schema, count) in &*one.dispatched.lock() {
                dispatched.push((
                    format!("flow_schema={schema:?},priority_level={:?}", one.name),
                    count.to_string(),
                ));
            }
            for ((schema, reason), count) in &*one.rejected.lock() {
                let labels =
                    format!("flow_schema={schema:?},priority_level={:?},reason={reason:?}", one.name);
                rejected.push((labels, count.to_string()));
            }
        }
        family("dispatched_requests_total", "counter", "Requests that were let in.", dispatched);
        family("rejected_requests_total", "counter", "Requests that were refused.", rejected);
        text
    }

    /// What `/debug/api_priority_and_fairness/dump_priority_levels` shows.
    #[must_use]
    pub fn dump_levels(&self) -> String {
        let state = self.state();
        let mut text =
            "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, \
                        DispatchedRequests, RejectedRequests, TimedoutRequests, CancelledRequests\n"
                .to_owned();
        for level in &state.config.levels {
            let Some(one) = state.stations.get(&level.name) else { continue };
            let (active, waiting) = {
                let inner = one.inner.lock();
                (inner.set.queues().count(), inner.set.load().1)
            };
            let dispatched: u64 = one.dispatched.lock().values().sum();
            let refused = |wanted: &[&str]| -> u64 {
                let all = one.rejected.lock();
                all.iter().filter(|((_, reason), _)| wanted.contains(reason)).map(|(_, count)| count).sum()
            };
            let (full, late) = (refused(&["queue-full", "concurrency-limit"]), refused(&["time-out"]));
            let running = one.running();
            let idle = running == 0 && waiting == 0;
            let _ = writeln!(
                text,
                "{}, {active}, {idle}, false, {waiting}, {running}, {dispatched}, {full}, {late}, 0",
                level.name
            );
        }
        text
    }

    /// What `/debug/api_priority_and_fairness/dump_queues` shows.
    #[must_use]
    pub fn dump_queues(&self) -> String {
        let state = self.state();
        let mut text =
            "PriorityLevelName, Index, PendingRequests, ExecutingSeats, NextDispatchR\n".to_owned();
        for level in &state.config.levels {
            let Some(one) = state.stations.get(&level.name) else { continue };
            for (at, waiting, running, next) in one.inner.lock().set.queues() {
                let _ = writeln!(text, "{}, {at}, {waiting}, {running}, {next:.8}", level.name);
            }
        }
        text
    }
}
