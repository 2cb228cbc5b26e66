//! One change in a cache's log, with its encodings shared by all watchers.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::object::{Object, set_resource_version};

/// What happened to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Created or changed.
    Put,
    /// Removed; the event's object is its last state.
    Delete,
}

/// What a frame that watchers share is encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A JSON line.
    Json,
    /// A length-prefixed protobuf message, the form of client-go's built-in clients.
    Protobuf,
}

/// A change at one revision.
pub struct Event {
    /// Store revision of the change.
    pub revision: u64,
    /// What happened.
    pub change: Change,
    /// State after the change; for a delete, the last state at the delete's revision.
    pub object: Arc<Object>,
    /// State before the change; none when the object was created.
    pub previous: Option<Arc<Object>>,
    frames: [[OnceLock<Bytes>; 4]; 2],
    left: OnceLock<Arc<Object>>,
}

impl Event {
    /// A new log entry.
    #[must_use]
    pub fn new(revision: u64, change: Change, object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        Self { revision, change, object, previous, frames: Default::default(), left: OnceLock::new() }
    }

    /// What a watcher that selects by `selects` is told, if anything: the type and the object.
    ///
    /// An object that comes into the selection is ADDED, one that leaves it is DELETED (with its state from before the
    /// change, at this event's revision), as upstream's watch cache does.
    pub fn seen_by(&self, selects: impl Fn(&Object) -> bool) -> Option<(&'static str, Arc<Object>)> {
        let before = self.previous.as_deref().is_some_and(&selects);
        match self.change {
            Change::Delete => (before || (self.previous.is_none() && selects(&self.object)))
                .then(|| ("DELETED", Arc::clone(&self.object))),
            Change::Put => match (before, selects(&self.object)) {
                (false, true) => Some(("ADDED", Arc::clone(&self.object))),
                (true, true) => Some(("MODIFIED", Arc::clone(&self.object))),
                (true, false) => Some(("DELETED", self.left())),
                (false, false) => None,
            },
        }
    }

    /// The JSON line of this event as `kind`, encoded once and shared.
    pub fn line(&self, kind: &str, object: &Arc<Object>) -> Bytes {
        self.frame(Encoding::Json, kind, object, || json_line(kind, &object.bytes))
    }

    /// This event as `kind` in the encoding: made once, by the first watcher that asks, and shared by the others, as long
    /// as the object is one that the event has. One that was converted for the watcher's version is made for it alone.
    pub fn frame(
        &self,
        encoding: Encoding,
        kind: &str,
        object: &Arc<Object>,
        make: impl FnOnce() -> Bytes,
    ) -> Bytes {
        let own = Arc::ptr_eq(object, &self.object);
        let slot = match kind {
            "ADDED" if own => 0,
            "MODIFIED" if own => 1,
            "DELETED" if own => 2,
            "DELETED" if self.left.get().is_some_and(|left| Arc::ptr_eq(object, left)) => 3,
            _ => return make(),
        };
        self.frames[encoding as usize][slot].get_or_init(make).clone()
    }

    fn left(&self) -> Arc<Object> {
        let made = self.left.get_or_init(|| {
            let Some(previous) = &self.previous else { return Arc::clone(&self.object) };
            let mut value: Value = previous.parse();
            set_resource_version(&mut value, self.revision);
            Arc::new(Object::new(value, self.revision, None))
        });
        Arc::clone(made)
    }
}

/// One frame of a JSON watch stream.
#[must_use]
pub fn json_line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(kind.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(label: &str, revision: u64) -> Arc<Object> {
        Arc::new(Object::new(json!({"metadata": {"name": "a", "labels": {"x": label}}}), revision, None))
    }

    #[test]
    fn selection_changes_the_type() {
        let selects = |o: &Object| o.labels["x"] == "in";
        let event = |old: &str, new: &str| Event::new(7, Change::Put, object(new, 7), Some(object(old, 3)));
        assert_eq!(event("out", "in").seen_by(selects).unwrap().0, "ADDED");
        assert_eq!(event("in", "in").seen_by(selects).unwrap().0, "MODIFIED");
        assert!(event("out", "out").seen_by(selects).is_none());
        let left = event("in", "out");
        let (kind, seen) = left.seen_by(selects).unwrap();
        assert_eq!((kind, seen.labels["x"].as_str(), seen.revision), ("DELETED", "in", 7));
        assert!(
            String::from_utf8(left.line(kind, &seen).to_vec()).unwrap().contains("\"resourceVersion\":\"7\"")
        );
    }

    #[test]
    fn lines_are_shared() {
        let event = Event::new(7, Change::Put, object("in", 7), None);
        let first = event.line("ADDED", &event.object);
        assert_eq!(first.as_ptr(), event.line("ADDED", &event.object).as_ptr());
        assert!(first.starts_with(b"{\"type\":\"ADDED\",\"object\":{"));
        let frame = |object, text: &'static str| {
            event.frame(Encoding::Protobuf, "ADDED", object, || Bytes::from_static(text.as_bytes()))
        };
        assert_eq!(
            (&frame(&event.object, "one")[..], &frame(&event.object, "two")[..]),
            (&b"one"[..], &b"one"[..])
        );
        assert_eq!(frame(&object("converted", 7), "own"), "own", "each version has its own");
    }
}
