//! What this node says of a Service to whoever looks at it (`kubectl describe service`). Enters: notes. Leaves: Events of
//! the API; one that is repeated is counted. Called by health and by the announcer.
//!
//! They are v1's: the role `system:node`, as upstream has it, lets nodes write no Events of events.k8s.io.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Mutex;

use crate::compile::facts::Owner;

/// Events that are remembered so that they can be counted; more begin anew, as in upstream's client (4096).
const REMEMBERED: usize = 4096;

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// By Service and note: the Event's name and how often it was written.
type Written = HashMap<(String, Note), (String, i32)>;

/// Writes Events of Services.
#[derive(Clone)]
pub struct ServiceEvents {
    client: Client,
    component: &'static str,
    node: String,
    written: Arc<Mutex<Written>>,
}

impl std::fmt::Debug for ServiceEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceEvents").field("component", &self.component).finish_non_exhaustive()
    }
}

impl ServiceEvents {
    /// Of a part of this node.
    pub fn new(client: Client, component: &'static str, node: String) -> Self {
        Self { client, component, node, written: Arc::default() }
    }

    /// The node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Writes one, on a task of its own: nobody waits for it, and that it could not be written is told by the log alone.
    /// `uid` is the Service's, by which kubectl finds its Events. Needs a runtime.
    pub fn write(&self, service: &Owner, uid: &str, note: Note) {
        let (events, service, uid) = (self.clone(), service.clone(), uid.to_owned());
        tokio::spawn(async move {
            let reason = note.reason;
            if let Err(error) = events.publish(&service, uid, note).await {
                tracing::warn!(error = %xebec_program::chain(&error), reason, "an event is not written");
            }
        });
    }

    async fn publish(&self, service: &Owner, uid: String, note: Note) -> Result<(), kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &service.namespace);
        let now = whole(Timestamp::now());
        // Held while it is written, so that of two at once the second counts.
        let mut written = self.written.lock().await;
        let key = (uid, note);
        if let Some((name, count)) = written.get_mut(&key) {
            let again = json!({"count": *count + 1, "lastTimestamp": now});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(&again)).await {
                Ok(_) => {
                    *count += 1;
                    return Ok(());
                }
                // Events are kept for an hour.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let event = event(self.component, &self.node, service, &key.0, &key.1, now);
        let name = api.create(&PostParams::default(), &event).await?.metadata.name.unwrap_or_default();
        if written.len() >= REMEMBERED {
            written.clear();
        }
        written.insert(key, (name, 1));
        Ok(())
    }
}

/// Events of v1 know whole seconds.
fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The Event of a note. PURE.
fn event(component: &str, node: &str, service: &Owner, uid: &str, note: &Note, now: Time) -> Event {
    let (namespace, name) = (service.namespace.to_string(), service.name.to_string());
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}.")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(namespace),
            name: Some(name),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        },
        reason: Some(note.reason.to_owned()),
        message: Some(note.message.clone()),
        source: Some(EventSource { component: Some(component.to_owned()), host: Some(node.to_owned()) }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        type_: Some(note.kind.to_owned()),
        reporting_component: Some(component.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_about_the_service_in_its_namespace() {
        let note = Note { kind: "Normal", reason: "NodeAssigned", message: "node n answers".to_owned() };
        let now = whole("2026-01-01T00:00:01.5Z".parse().unwrap());
        let event = event("xebec-announcer", "n", &Owner::new("d", "web"), "u", &note, now);
        let value = serde_json::to_value(event).unwrap();
        assert_eq!(value["apiVersion"], "v1");
        assert_eq!(value["metadata"], json!({"generateName": "web.", "namespace": "d"}));
        let about =
            json!({"apiVersion": "v1", "kind": "Service", "namespace": "d", "name": "web", "uid": "u"});
        assert_eq!(value["involvedObject"], about);
        assert_eq!((&value["message"], &value["type"]), (&json!("node n answers"), &json!("Normal")));
        assert_eq!(value["lastTimestamp"], "2026-01-01T00:00:01Z");
    }
}
