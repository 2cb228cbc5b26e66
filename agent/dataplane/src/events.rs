//! What this node says of a Service to whoever looks at it (`kubectl describe service`). Enters: notes. Leaves: Events of
//! the API, repeated ones as a series. Called by health and by the announcer.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};

use crate::compile::facts::Owner;

/// Writes Events of Services.
#[derive(Clone)]
pub struct ServiceEvents(Recorder);

impl std::fmt::Debug for ServiceEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServiceEvents").finish_non_exhaustive()
    }
}

impl ServiceEvents {
    /// As `reportingController` and `reportingInstance`.
    pub fn new(client: Client, controller: &str, instance: String) -> Self {
        Self(Recorder::new(client, Reporter { controller: controller.to_owned(), instance: Some(instance) }))
    }

    /// Writes one, on a task of its own: nobody waits for it, and that it could not be written is told by the log alone.
    /// `uid` is the Service's, by which kubectl finds its Events. Needs a runtime.
    pub fn write(&self, service: &Owner, uid: &str, event: Event) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(service.namespace.to_string()),
            name: Some(service.name.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let recorder = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &about).await {
                tracing::debug!(error = %xebec_program::chain(&error), reason = event.reason, "event not written");
            }
        });
    }
}
