//! What of a Service this node cannot serve, for whoever looks at the Service. Enters: failures. Leaves: Warnings, as Events.
//! Called by health and sctp.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::compile::facts::Owner;
use crate::events::{Note, ServiceEvents};

/// Something of a Service that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The Service.
    pub owner: Owner,
    /// Its UID.
    pub uid: Arc<str>,
    /// What.
    pub what: Failed,
}

/// What is not served, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Its health check could not take an address.
    HealthCheck {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: String,
    },
    /// Its SCTP ports are not served as they should be.
    Sctp(String),
}

/// Whoever hears of failures.
pub trait Failures: std::fmt::Debug + Send + 'static {
    /// Takes one.
    fn failed(&self, failure: &Failure);
}

impl Failures for ServiceEvents {
    fn failed(&self, failure: &Failure) {
        self.write(&failure.owner, &failure.uid, note(self.node(), failure));
    }
}

/// Of a health check with upstream's type, reason and text. Its UID is another: it has `namespace/name` there, which kubectl
/// does not look for. PURE.
fn note(node: &str, failure: &Failure) -> Note {
    let Owner { namespace, name } = &failure.owner;
    let (reason, message) = match &failure.what {
        Failed::HealthCheck { address, error } => (
            "FailedToStartServiceHealthcheck",
            format!(
                "node {node} failed to start healthcheck \"{namespace}/{name}\" on port {}: listen tcp {address}: {error}",
                address.port()
            ),
        ),
        Failed::Sctp(why) => (
            "FailedToServeSCTP",
            format!(
                "node {node} cannot bring its rules for SCTP up to date: {why}; ports of other protocols are served"
            ),
        ),
    };
    Note { kind: "Warning", reason, message }
}
