//! What the scheduler writes: bindings, Events, the PodScheduled condition. Enters: a decision. Leaves: API calls.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde_json::json;

/// The writer, for all pods.
#[derive(Clone)]
pub(crate) struct Reports {
    client: Client,
    recorder: Recorder,
}

impl Reports {
    /// `name` is the scheduler's; Events carry it.
    pub(crate) fn new(client: Client, name: &str) -> Self {
        let reporter = Reporter { controller: name.to_owned(), instance: None };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// Binds the pod, this very one (by UID), to a node.
    pub(crate) async fn bind(&self, pod: &Pod, node: &str) -> Result<(), kube::Error> {
        let metadata = &pod.metadata;
        let name = metadata.name.clone().unwrap_or_default();
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": metadata.namespace, "uid": metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let _: serde_json::Value =
            self.pods(pod).create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        let note = format!("Successfully assigned {} to {node}", crate::pod::key(pod));
        self.event(pod, EventType::Normal, "Scheduled", "Binding", note).await;
        Ok(())
    }

    /// Says that no node can run the pod: an Event and the condition.
    pub(crate) async fn unschedulable(&self, pod: &Pod, message: &str) {
        self.event(pod, EventType::Warning, "FailedScheduling", "Scheduling", message.to_owned()).await;
        if !changes(pod, message) {
            return;
        }
        let status = json!({"status": {"conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": transition(pod),
            "observedGeneration": pod.metadata.generation,
        }]}});
        let name = pod.metadata.name.clone().unwrap_or_default();
        let patched =
            self.pods(pod).patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await;
        if let Err(error) = patched {
            tracing::warn!(%error, pod = crate::pod::key(pod), "cannot write the PodScheduled condition");
        }
    }

    async fn event(&self, pod: &Pod, type_: EventType, reason: &str, action: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &pod.object_ref(&())).await {
            tracing::warn!(%error, pod = crate::pod::key(pod), reason, "cannot write an Event");
        }
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default())
    }
}

fn condition(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "PodScheduled")
}

/// Whether the condition says something else so far.
fn changes(pod: &Pod, message: &str) -> bool {
    condition(pod).is_none_or(|found| {
        (found.status.as_str(), found.reason.as_deref(), found.message.as_deref())
            != ("False", Some("Unschedulable"), Some(message))
    })
}

/// The transition time moves only with the status.
fn transition(pod: &Pod) -> String {
    let kept = condition(pod)
        .filter(|found| found.status == "False")
        .and_then(|found| found.last_transition_time.clone());
    let at = kept.map_or_else(jiff::Timestamp::now, |time| time.0);
    xebec_api::time::format_rfc3339_seconds(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_written_only_when_it_says_something_new() {
        let pod = |conditions: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"conditions": conditions}}))
                .unwrap()
        };
        let refused = |message: &str| {
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": message, "lastTransitionTime": "2026-01-02T03:04:05Z"}])
        };
        assert!(changes(&pod(json!([])), "m"));
        assert!(!changes(&pod(refused("m")), "m"));
        assert!(changes(&pod(refused("other")), "m"));
        assert_eq!(transition(&pod(refused("m"))), "2026-01-02T03:04:05Z");
    }
}
