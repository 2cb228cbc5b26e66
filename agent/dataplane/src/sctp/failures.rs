//! SCTP ports that cannot be served, told once of each Service. Enters: failures. Leaves: Events. Called by worker.

use std::sync::Arc;

use kube::Client;

use crate::compile::facts::Owner;
use crate::events::{Note, ServiceEvents};

/// Whoever hears of failures.
pub trait Failures: std::fmt::Debug + Send + 'static {
    /// A Service's SCTP ports are not served as they should be.
    fn failed(&self, service: &Owner, uid: &Arc<str>, why: &str);
}

/// Writes them as Events.
#[derive(Debug)]
pub struct ServiceFailures {
    node: String,
    events: ServiceEvents,
}

impl ServiceFailures {
    /// Of a node.
    pub fn new(client: Client, node: &str) -> Self {
        let events = ServiceEvents::new(client, "kube-proxy", node.to_owned());
        Self { node: node.to_owned(), events }
    }
}

impl Failures for ServiceFailures {
    fn failed(&self, service: &Owner, uid: &Arc<str>, why: &str) {
        self.events.write(service, uid, note(&self.node, why));
    }
}

/// PURE.
fn note(node: &str, why: &str) -> Note {
    Note {
        kind: "Warning",
        reason: "FailedToServeSCTP",
        message: format!(
            "node {node} cannot bring its rules for SCTP up to date: {why}; ports of other protocols are served"
        ),
    }
}
