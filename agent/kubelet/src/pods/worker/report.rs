//! What a worker tells the API: Events and the pod's status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::super::plan::Plan;
use super::super::status;
use super::{Work, Worker};
use crate::api::ApiFailure;
use crate::clock::after;
use crate::{record, spec};

impl Worker {
    /// Says in an Event when a container begins to wait.
    pub(super) fn tell(&mut self, plan: &Plan) {
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

    pub(super) fn write_status(&mut self, plan: &Plan) {
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

    pub(super) fn written(&mut self, result: Result<Box<Pod>, ApiFailure>) {
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
