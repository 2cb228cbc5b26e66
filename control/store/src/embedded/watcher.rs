//! One watch: a cursor that reads the feed, or the log on disk where it lags behind the feed.
//!
//! There is no queue per watcher: a slow one holds one slice and its cursor, so it can neither fill the memory nor
//! miss, repeat or reorder a change; only compaction can overtake it.

use super::feed::Next;
use super::shared::{Shared, blocking};
use crate::{Revision, StoreError, Watch, WatchEvent};
use futures::stream;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

struct Watcher {
    shared: Arc<Shared>,
    scope: String,
    cursor: Revision,
    ready: VecDeque<WatchEvent>,
    wake: watch::Receiver<Revision>,
    progress: watch::Sender<Revision>,
}

/// Starts a watch of the keys in `scope`, after `cursor`.
pub(super) fn start(shared: Arc<Shared>, scope: String, cursor: Revision) -> Watch {
    let wake = shared.feed.wake();
    let progress = watch::Sender::new(cursor);
    let follow = progress.subscribe();
    let watcher = Watcher { shared, scope, cursor, ready: VecDeque::new(), wake, progress };
    let events = stream::unfold(Some(watcher), async |state| {
        let mut watcher = state?;
        match watcher.next().await {
            Ok(event) => Some((Ok(event), Some(watcher))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Watch::new(events, follow)
}

impl Watcher {
    async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.progress.send_if_modified(|reached| std::mem::replace(reached, self.cursor) != self.cursor);
            // Marked as seen before looking, so that a publication after the look wakes the wait below.
            self.wake.borrow_and_update();
            match self.shared.feed.after(self.cursor) {
                Next::Events(events) => {
                    self.cursor = events.last().map_or(self.cursor, |event| event.revision);
                    let matching = events.iter().filter(|event| event.entry.key.starts_with(&self.scope));
                    self.ready.extend(matching.map(|event| WatchEvent::clone(event)));
                }
                Next::Behind => {
                    let (shared, scope, cursor) = (self.shared.clone(), self.scope.clone(), self.cursor);
                    let (events, reached) = blocking(move || shared.catch_up(cursor, &scope)).await?;
                    self.ready.extend(events);
                    self.cursor = reached;
                }
                Next::UpToDate => {
                    if self.wake.changed().await.is_err() {
                        return Err(StoreError::Closed);
                    }
                }
                Next::Closed => return Err(StoreError::Closed),
            }
        }
    }
}
