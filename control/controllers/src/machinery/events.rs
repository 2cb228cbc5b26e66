//! Events: what a controller did, said to whoever looks at the object.
//!
//! Enters: an object, a reason and a message, without waiting. Leaves: core/v1 Events, repeated ones as a higher count
//! on the first (upstream's event correlator). A full channel drops: Events are best effort.

use std::collections::HashMap;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::cache::Key;
use super::time::{Clock, seconds};
use super::write::Writer;

const BACKLOG: usize = 4096;
const REMEMBERED: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Note {
    component: &'static str,
    kind: String,
    api_version: String,
    namespace: String,
    name: String,
    uid: String,
    event_type: &'static str,
    reason: &'static str,
    message: String,
}

/// Where controllers leave Events.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Note>,
}

impl Recorder {
    /// A recorder and what must be run to write its Events.
    pub fn new() -> (Self, Sink) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self { sender }, Sink { receiver, counts: HashMap::new() })
    }

    fn send<K: Resource<DynamicType = ()>>(
        &self,
        component: &'static str,
        object: &K,
        event_type: &'static str,
        reason: &'static str,
        message: String,
    ) {
        let meta = object.meta();
        let note = Note {
            component,
            kind: K::kind(&()).into_owned(),
            api_version: K::api_version(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            event_type,
            reason,
            message,
        };
        if self.sender.try_send(note).is_err() {
            tracing::debug!(reason, "event dropped");
        }
    }

    /// Records something as it should be.
    pub fn normal<K: Resource<DynamicType = ()>>(
        &self,
        component: &'static str,
        object: &K,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.send(component, object, "Normal", reason, message.into());
    }

    /// Records something an operator may want to act on.
    pub fn warning<K: Resource<DynamicType = ()>>(
        &self,
        component: &'static str,
        object: &K,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.send(component, object, "Warning", reason, message.into());
    }
}

/// The receiving side of a [`Recorder`].
pub struct Sink {
    receiver: mpsc::Receiver<Note>,
    counts: HashMap<Note, (Key, i32)>,
}

impl Sink {
    /// Writes Events until cancelled.
    pub async fn run(mut self, writer: Writer, clock: Clock, cancel: CancellationToken) {
        let mut serial = 0u64;
        loop {
            let note = tokio::select! {
                () = cancel.cancelled() => return,
                note = self.receiver.recv() => note,
            };
            let Some(note) = note else { return };
            serial += 1;
            if let Err(error) = self.write(&writer, &clock, note, serial).await {
                tracing::debug!(%error, "event not written");
            }
        }
    }

    async fn write(
        &mut self,
        writer: &Writer,
        clock: &Clock,
        note: Note,
        serial: u64,
    ) -> Result<(), super::write::Failed> {
        let now = clock.now();
        if let Some((key, count)) = self.counts.get_mut(&note) {
            *count += 1;
            let patch = json!({"count": *count, "lastTimestamp": seconds(now)});
            match writer.patch::<Event>(key, patch).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let event = event_of(&note, now, serial);
        let created = writer.create(&event).await?;
        if self.counts.len() >= REMEMBERED {
            self.counts.clear();
        }
        let key = Key::new(&created.namespace().unwrap_or_default(), &created.name_any());
        self.counts.insert(note, (key, 1));
        Ok(())
    }
}

fn event_of(note: &Note, now: jiff::Timestamp, serial: u64) -> Event {
    let namespace = if note.namespace.is_empty() { "default" } else { note.namespace.as_str() };
    let stamp = now.as_nanosecond().unsigned_abs() as u64;
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(format!("{}.{:x}", note.name, stamp.wrapping_add(serial))),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(note.api_version.clone()),
            kind: Some(note.kind.clone()),
            name: Some(note.name.clone()),
            namespace: Some(note.namespace.clone()).filter(|n| !n.is_empty()),
            uid: Some(note.uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some(note.event_type.to_owned()),
        reason: Some(note.reason.to_owned()),
        message: Some(note.message.clone()),
        source: Some(EventSource { component: Some(note.component.to_owned()), host: None }),
        reporting_component: Some(note.component.to_owned()),
        reporting_instance: Some(String::new()),
        count: Some(1),
        first_timestamp: Some(seconds(now)),
        last_timestamp: Some(seconds(now)),
        ..Event::default()
    }
}
