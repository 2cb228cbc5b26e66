//! Health check ports that could not be opened, told as kube-proxy does: a Warning of the Service. Enters: failures.
//! Leaves: Events. Called by checks.

use std::net::SocketAddr;
use std::sync::Arc;

use kube::Client;

use crate::compile::facts::Owner;
use crate::events::{Note, ServiceEvents};

/// An address that a Service's health check could not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The Service.
    pub owner: Owner,
    /// Its UID.
    pub uid: Arc<str>,
    /// The address.
    pub address: SocketAddr,
    /// What the kernel said.
    pub error: String,
}

/// Whoever hears of failures.
pub trait Failures: std::fmt::Debug + Send {
    /// Takes one.
    fn failed(&self, failure: &Failure);
}

/// Writes them as Events.
#[derive(Debug)]
pub struct FailureEvents {
    node: String,
    events: ServiceEvents,
}

impl FailureEvents {
    /// Of a node.
    pub fn new(client: Client, node: &str) -> Self {
        let events = ServiceEvents::new(client, "kube-proxy", node.to_owned());
        Self { node: node.to_owned(), events }
    }
}

impl Failures for FailureEvents {
    fn failed(&self, failure: &Failure) {
        self.events.write(&failure.owner, &failure.uid, note(&self.node, failure));
    }
}

/// Upstream's type, reason and text. Its UID is another: it has `namespace/name` there, which kubectl does not look for.
/// PURE.
fn note(node: &str, failure: &Failure) -> Note {
    let Failure { owner: Owner { namespace, name }, address, error, .. } = failure;
    Note {
        kind: "Warning",
        reason: "FailedToStartServiceHealthcheck",
        message: format!(
            "node {node} failed to start healthcheck \"{namespace}/{name}\" on port {}: listen tcp {address}: {error}",
            address.port()
        ),
    }
}
