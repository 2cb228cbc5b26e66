//! A worker's view of its containers' health: which probes run, and what their reports mean.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::super::memory::{Health, Job};
use super::super::observe::State;
use super::super::probes::{Kind, Report, Target};
use super::Worker;
use crate::spec::{self, Role};

impl Worker {
    /// Brings health and probes in line with the containers that run.
    pub(super) fn check_health(&mut self) {
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
    fn first_health(&self, id: &str, container: &Container) -> Health {
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

    pub(super) fn judge(&mut self, report: &Report) {
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
}
