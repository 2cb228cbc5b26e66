//! The runtime's state changes as a stream.
//!
//! Enters: CRI's GetContainerEvents, or containerd's own events where that is not implemented. Leaves:
//! [`RuntimeEvent`]s, which are hints and never truth: the receiver asks the runtime for the status of what
//! changed. Called by the agent's event pump, which also relists in case an event was lost.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;

use crate::messages::{
    ContainerEventResponse, ContainerEventType, Envelope, SubscribeRequest, TaskDelete, TaskEvent, TaskExit,
};
use crate::{Client, CriError};

/// What happened to a container or sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Created, not yet started.
    Created,
    /// Its first process runs.
    Started,
    /// Its first process ended.
    Stopped,
    /// It was removed, or its task was: the runtime now reports the exit for certain.
    Deleted,
    /// The kernel killed one of its processes for memory.
    OutOfMemory,
}

/// One state change of one container (a sandbox counts as a container with the sandbox's id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// The container's or sandbox's id.
    pub id: String,
    /// What happened.
    pub kind: EventKind,
    /// When the runtime says it happened; a late subscriber may be sent old ones.
    pub at: SystemTime,
    /// The pod's UID where the runtime says so.
    pub pod_uid: Option<String>,
}

/// State changes from the subscription on; an `Err` or the end means: subscribe again and relist.
pub type EventStream = BoxStream<'static, Result<RuntimeEvent, CriError>>;

/// A source of state changes.
#[async_trait]
pub trait RuntimeEvents: Send + Sync + 'static {
    /// Opens a stream; [`CriError::Unimplemented`] means that this runtime has none and the caller must poll.
    async fn subscribe(&self) -> Result<EventStream, CriError>;
}

#[async_trait]
impl RuntimeEvents for Client {
    async fn subscribe(&self) -> Result<EventStream, CriError> {
        match self.cri_events().await {
            Err(CriError::Unimplemented(_)) => self.native_events().await,
            other => other,
        }
    }
}

impl Client {
    async fn cri_events(&self) -> Result<EventStream, CriError> {
        let stream = self
            .streaming::<_, ContainerEventResponse>(
                "/runtime.v1.RuntimeService/GetContainerEvents",
                crate::messages::Empty {},
            )
            .await?;
        Ok(stream.map(|item| Ok(from_cri(item?))).boxed())
    }

    async fn native_events(&self) -> Result<EventStream, CriError> {
        let filter = r#"namespace==k8s.io,topic~="^/tasks/(start|exit|oom|delete)""#;
        let request = SubscribeRequest { filters: vec![filter.to_owned()] };
        let stream =
            self.streaming::<_, Envelope>("/containerd.services.events.v1.Events/Subscribe", request).await?;
        Ok(stream
            .filter_map(|item| async move {
                match item {
                    Ok(envelope) => from_native(&envelope).map(Ok),
                    Err(error) => Some(Err(CriError::from(error))),
                }
            })
            .boxed())
    }
}

fn from_cri(event: ContainerEventResponse) -> RuntimeEvent {
    let kind = match event.container_event_type() {
        ContainerEventType::Created => EventKind::Created,
        ContainerEventType::Started => EventKind::Started,
        ContainerEventType::Stopped => EventKind::Stopped,
        ContainerEventType::Deleted => EventKind::Deleted,
    };
    let metadata = event.pod_sandbox_status.and_then(|status| status.metadata);
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(event.created_at.max(0).unsigned_abs());
    RuntimeEvent { id: event.container_id, kind, at, pod_uid: metadata.map(|m| m.uid) }
}

/// `None` for other namespaces, other topics and the ends of exec'd processes.
fn from_native(envelope: &Envelope) -> Option<RuntimeEvent> {
    if envelope.namespace != "k8s.io" {
        return None;
    }
    let value = envelope.event.as_ref()?.value.as_slice();
    let (id, kind) = match envelope.topic.as_str() {
        "/tasks/start" => (TaskEvent::decode(value).ok()?.container_id, EventKind::Started),
        "/tasks/oom" => (TaskEvent::decode(value).ok()?.container_id, EventKind::OutOfMemory),
        "/tasks/exit" => {
            let exit = TaskExit::decode(value).ok()?;
            (exit.id == exit.container_id).then_some((exit.container_id, EventKind::Stopped))?
        }
        "/tasks/delete" => {
            let delete = TaskDelete::decode(value).ok()?;
            let first = delete.id.is_empty() || delete.id == delete.container_id;
            first.then_some((delete.container_id, EventKind::Deleted))?
        }
        _ => return None,
    };
    let at = envelope.timestamp.as_ref().map_or(SystemTime::UNIX_EPOCH, |t| {
        SystemTime::UNIX_EPOCH + Duration::new(t.seconds.max(0).unsigned_abs(), t.nanos.max(0).unsigned_abs())
    });
    Some(RuntimeEvent { id, kind, at, pod_uid: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{AnyMessage, Timestamp};

    fn envelope(topic: &str, value: Vec<u8>) -> Envelope {
        Envelope {
            timestamp: Some(Timestamp { seconds: 10, nanos: 5 }),
            namespace: "k8s.io".into(),
            topic: topic.into(),
            event: Some(AnyMessage { type_url: String::new(), value }),
        }
    }

    #[test]
    fn only_the_first_process_ends_a_container() {
        let exit = |id: &str| {
            let message = TaskExit { container_id: "c1".into(), id: id.into(), pid: 7, exit_status: 1 };
            from_native(&envelope("/tasks/exit", message.encode_to_vec()))
        };
        assert_eq!(exit("exec-9"), None);
        let event = exit("c1").unwrap();
        assert_eq!((event.id.as_str(), event.kind), ("c1", EventKind::Stopped));
        assert_eq!(event.at, SystemTime::UNIX_EPOCH + Duration::new(10, 5));
    }

    #[test]
    fn other_namespaces_and_topics_are_dropped() {
        let mut foreign = envelope("/tasks/start", TaskEvent { container_id: "c".into() }.encode_to_vec());
        assert_eq!(from_native(&foreign).unwrap().kind, EventKind::Started);
        foreign.namespace = "moby".into();
        assert_eq!(from_native(&foreign), None);
        assert_eq!(from_native(&envelope("/images/create", vec![])), None);
    }
}
