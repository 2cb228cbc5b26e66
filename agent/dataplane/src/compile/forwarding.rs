//! How packets from outside come to a Service's endpoints on other nodes: what it asks for by an annotation. PURE.

use k8s_openapi::api::core::v1::Service;

use super::balancing::{said, unknown};
use crate::events::Note;

/// `snat` or `dsr`.
pub const ANNOTATION: &str = "network.xebec.dev/forwarding-mode";

/// What a Service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// With the node's address as their source, which is what holds for those that say nothing.
    #[default]
    Snat,
    /// As they are, by direct server return (see `tunnel`).
    Direct,
    /// Something that there is not, which counts as nothing.
    Unknown(Box<str>),
}

impl Forwarding {
    /// Of a Service.
    pub fn of(object: &Service) -> Self {
        match said(object, ANNOTATION) {
            None | Some("snat") => Self::Snat,
            Some("dsr") => Self::Direct,
            Some(other) => Self::Unknown(other.into()),
        }
    }

    /// What is to be said to whoever wrote the annotation.
    pub fn complaint(&self) -> Option<Note> {
        let Self::Unknown(value) = self else { return None };
        Some(unknown("UnknownForwardingMode", ANNOTATION, value, "snat and dsr"))
    }
}
