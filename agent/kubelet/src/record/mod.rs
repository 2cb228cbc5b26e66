//! Kubernetes Events. Enters: what happened to a pod or the node. Leaves: Event objects, repeated ones counted.
//!
//! [`Recorder`] is called from anywhere and never waits; `sink` writes in the background, and drops events rather
//! than hold anything up.

mod sink;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};

pub use sink::KubeRecorder;

use crate::spec;

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// For information.
    Normal,
    /// Something needs attention.
    Warning,
}

impl Kind {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Normal => "Normal",
            Kind::Warning => "Warning",
        }
    }
}

/// Takes events; never blocks.
pub trait Recorder: Send + Sync + 'static {
    /// Records one event about an object.
    fn record(&self, about: ObjectReference, kind: Kind, reason: &str, message: String);
}

/// The reference of a pod, or of one of its containers.
pub fn pod_reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(spec::name(pod).to_owned()),
        namespace: Some(spec::namespace(pod).to_owned()),
        uid: Some(spec::uid(pod).to_owned()),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: container.and_then(|name| spec::field_path(pod, name)),
    }
}
