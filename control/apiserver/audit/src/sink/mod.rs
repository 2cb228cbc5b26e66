//! Where events go: a log, a webhook, several of them.
//!
//! Enters: events, one at a time, on the request's path. Leaves: JSON lines in a file ([`log`]), or lists posted to a
//! webhook ([`webhook`]). A sink that writes elsewhere ([`batch`]) holds a bounded number of events and bytes; what
//! does not fit is dropped and counted.

use std::sync::Arc;

use crate::event::Event;

pub mod batch;
pub mod log;
pub mod webhook;

/// Takes events.
pub trait Sink: Send + Sync {
    /// Takes an event; false if it must be treated as lost and requests depend on it (`blocking-strict`).
    fn write(&self, event: &Event) -> bool;
}

/// Several sinks; each gets every event.
pub struct Union(pub Vec<Arc<dyn Sink>>);

impl Sink for Union {
    fn write(&self, event: &Event) -> bool {
        // No short cut: the others get it too.
        let refused = self.0.iter().filter(|sink| !sink.write(event)).count();
        refused == 0
    }
}
