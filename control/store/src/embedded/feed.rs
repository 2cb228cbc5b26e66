//! The recent changes in memory, shared by all watchers: one ordered ring, a cursor per watcher, no copies.
//!
//! Enters: committed changes from the writer. Leaves: slices of them to watchers, and a wake-up with every commit.

use crate::{Revision, WatchEvent};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// The most events handed out in one slice.
const SLICE: usize = 256;

/// What a watcher at some cursor gets.
#[derive(Debug)]
pub(super) enum Next {
    /// The changes that follow the cursor, without a gap.
    Events(Vec<Arc<WatchEvent>>),
    /// The changes that follow are no longer here; the log on disk has them.
    Behind,
    /// There are none; wait for a wake-up.
    UpToDate,
    /// There will be none.
    Closed,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<WatchEvent>>,
    bytes: usize,
    head: Revision,
    closed: bool,
}

/// The ring and its wake-up.
#[derive(Debug)]
pub(super) struct Feed {
    ring: RwLock<Ring>,
    wake: watch::Sender<Revision>,
    max_events: usize,
    max_bytes: usize,
}

impl Feed {
    /// An empty feed of a store whose head is `head`.
    pub fn new(head: Revision, max_events: usize, max_bytes: usize) -> Self {
        let ring = Ring { events: VecDeque::new(), bytes: 0, head, closed: false };
        Self { ring: RwLock::new(ring), wake: watch::Sender::new(head), max_events, max_bytes }
    }

    /// Appends committed changes (consecutive revisions, following the head) and wakes the watchers.
    pub fn publish(&self, events: Vec<Arc<WatchEvent>>) {
        let Some(head) = events.last().map(|event| event.revision) else { return };
        {
            let mut ring = self.ring.write();
            for event in events {
                debug_assert_eq!(event.revision, ring.head + 1, "revisions are consecutive");
                ring.head = event.revision;
                ring.bytes += weight(&event);
                ring.events.push_back(event);
            }
            while ring.events.len() > self.max_events || ring.bytes > self.max_bytes {
                let Some(oldest) = ring.events.pop_front() else { break };
                ring.bytes -= weight(&oldest);
            }
        }
        self.wake.send_replace(head);
    }

    /// Forgets everything and continues at `head`: watchers behind it read the log.
    pub fn reset(&self, head: Revision) {
        {
            let mut ring = self.ring.write();
            ring.events.clear();
            ring.bytes = 0;
            ring.head = head;
        }
        self.wake.send_replace(head);
    }

    /// Ends every watch.
    pub fn close(&self) {
        self.ring.write().closed = true;
        self.wake.send_modify(|_| {});
    }

    /// What follows `cursor`.
    pub fn after(&self, cursor: Revision) -> Next {
        let ring = self.ring.read();
        if ring.closed {
            return Next::Closed;
        }
        if cursor >= ring.head {
            return Next::UpToDate;
        }
        match ring.events.front() {
            Some(oldest) if oldest.revision <= cursor + 1 => {
                let skip = (cursor + 1 - oldest.revision) as usize;
                Next::Events(ring.events.iter().skip(skip).take(SLICE).cloned().collect())
            }
            _ => Next::Behind,
        }
    }

    /// The revision of the last published change.
    pub fn head(&self) -> Revision {
        *self.wake.borrow()
    }

    /// A receiver that changes with every publication.
    pub fn wake(&self) -> watch::Receiver<Revision> {
        self.wake.subscribe()
    }
}

fn weight(event: &WatchEvent) -> usize {
    128 + event.entry.key.len()
        + event.entry.value.len()
        + event.previous.as_ref().map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, EventKind};
    use bytes::Bytes;

    fn events(range: std::ops::RangeInclusive<Revision>) -> Vec<Arc<WatchEvent>> {
        range
            .map(|revision| {
                let value = Bytes::from_static(b"0123456789");
                let entry = Entry { key: "/k".into(), value, create_revision: 2, mod_revision: revision };
                Arc::new(WatchEvent { kind: EventKind::Put, entry, previous: None, revision })
            })
            .collect()
    }

    fn revisions(next: Next) -> Vec<Revision> {
        match next {
            Next::Events(events) => events.iter().map(|event| event.revision).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cursor_reads_on_from_where_it_is() {
        let feed = Feed::new(1, 4, 1 << 20);
        assert!(matches!(feed.after(1), Next::UpToDate));
        feed.publish(events(2..=4));
        assert_eq!(revisions(feed.after(1)), [2, 3, 4]);
        assert_eq!(revisions(feed.after(3)), [4]);
        assert!(matches!(feed.after(4), Next::UpToDate));
        assert!(matches!(feed.after(9), Next::UpToDate), "a reader may be ahead of the publication");
        feed.publish(events(5..=7));
        assert!(matches!(feed.after(2), Next::Behind));
        assert_eq!(revisions(feed.after(3)), [4, 5, 6, 7]);
    }

    #[test]
    fn bytes_bound_the_ring() {
        let feed = Feed::new(1, 100, 300);
        feed.publish(events(2..=9));
        assert!(matches!(feed.after(6), Next::Behind));
        assert_eq!(revisions(feed.after(7)), [8, 9]);
    }

    #[test]
    fn reset_and_close() {
        let feed = Feed::new(1, 100, 1 << 20);
        feed.publish(events(2..=3));
        feed.reset(5);
        assert!(matches!(feed.after(2), Next::Behind));
        assert!(matches!(feed.after(5), Next::UpToDate));
        feed.publish(events(6..=6));
        assert_eq!(revisions(feed.after(5)), [6]);
        feed.close();
        assert!(matches!(feed.after(5), Next::Closed));
    }
}
