//! Whether nodes agree on the endpoint of a client's flow from outside: what a Service asks for by an annotation, and what
//! holds for those that do not. PURE.
//!
//! Endpoints narrowed by hints of zones or nodes differ between zones and nodes, and so do rows; within a zone they agree.

use k8s_openapi::api::core::v1::Service;

use crate::events::Note;
use crate::model::{FrontKey, Kind};

/// `maglev` or `random`.
pub const ANNOTATION: &str = "network.xebec.dev/load-balancing-algorithm";

/// What a Service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balancing {
    /// Nothing.
    #[default]
    Unsaid,
    /// That nodes agree, at every address but the ClusterIP.
    Maglev,
    /// That each node chooses at random.
    Random,
    /// Something that there is not, which counts as nothing.
    Unknown(Box<str>),
}

impl Balancing {
    /// Of a Service.
    pub fn of(object: &Service) -> Self {
        match said(object, ANNOTATION) {
            None => Self::Unsaid,
            Some("maglev") => Self::Maglev,
            Some("random") => Self::Random,
            Some(other) => Self::Unknown(other.into()),
        }
    }

    /// Whether a service port with these other frontends is to have a row.
    ///
    /// Unasked only those exposed on purpose have one, by a load balancer's address or an external IP: 10,000 Services
    /// with no more than a node port would take 20 MB, and most clusters are entered by one node's; and those with `direct`
    /// server return, where a node may have to find again what it forgot. One whose traffic from outside stays on its node
    /// (externalTrafficPolicy Local) has none: there is no endpoint to agree on.
    pub fn is_consistent(&self, aliases: &[(FrontKey, Kind)], direct: bool, external_local: bool) -> bool {
        let on_purpose =
            || aliases.iter().any(|(_, kind)| matches!(kind, Kind::LoadBalancer | Kind::ExternalIp));
        !external_local
            && match self {
                Self::Unsaid | Self::Unknown(_) => on_purpose() || (direct && !aliases.is_empty()),
                Self::Maglev => !aliases.is_empty(),
                Self::Random => false,
            }
    }

    /// What is to be said to whoever wrote the annotation.
    pub fn complaint(&self) -> Option<Note> {
        let Self::Unknown(value) = self else { return None };
        Some(unknown("UnknownLoadBalancingAlgorithm", ANNOTATION, value, "maglev and random"))
    }
}

/// What an annotation says.
pub(super) fn said<'a>(object: &'a Service, annotation: &str) -> Option<&'a str> {
    object.metadata.annotations.as_ref()?.get(annotation).map(String::as_str)
}

/// That an annotation says something that there is not; `known` is what there is.
pub(super) fn unknown(reason: &'static str, annotation: &str, value: &str, known: &str) -> Note {
    let message = format!("annotation {annotation} is {value:?}, which counts as absent; {known} are known");
    Note { kind: "Warning", reason, message }
}
