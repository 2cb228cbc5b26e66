//! The stream both engines hand out.
//!
//! Enters: an engine's stream of changes and its progress. Leaves: [`WatchEvent`]s in revision order. The caller
//! drives it; a watch that is not polled costs no memory beyond one chunk.

use crate::{Revision, StoreError, WatchEvent};
use futures::Stream;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::watch;

type Events = Pin<Box<dyn Stream<Item = Result<WatchEvent, StoreError>> + Send>>;

/// A running watch: every change below its prefix, in revision order, without a gap or a duplicate.
///
/// An error is the last item. Dropping it ends the watch.
pub struct Watch {
    events: Events,
    progress: watch::Receiver<Revision>,
}

impl Watch {
    /// A watch over a stream of changes whose last item may be an error; `progress` is the revision up to which it has
    /// delivered everything.
    pub fn new(
        events: impl Stream<Item = Result<WatchEvent, StoreError>> + Send + 'static,
        progress: watch::Receiver<Revision>,
    ) -> Self {
        Self { events: Box::pin(events), progress }
    }

    /// The revision up to which this watch has delivered everything below its prefix.
    ///
    /// It moves only while the stream is polled. The embedded engine moves it with every write to the store, to
    /// other prefixes too; etcd moves it with the events and with its own progress notifications (every ten minutes).
    pub fn progress(&self) -> watch::Receiver<Revision> {
        self.progress.clone()
    }
}

impl Stream for Watch {
    type Item = Result<WatchEvent, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watch").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}
