//! The vocabulary of the store: revisions, entries, expectations and change events.

use bytes::Bytes;

/// The store-wide counter of writes: 1 in an empty store, one more with every write, never reused.
pub type Revision = u64;

/// The largest value a store accepts, in bytes: 1.5 MiB, etcd's default `--max-request-bytes`.
pub const MAX_VALUE_BYTES: usize = 3 * 512 * 1024;

/// One key as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The full key.
    pub key: String,
    /// The value, exactly as it was put.
    pub value: Bytes,
    /// The revision of the put that created the key (after its last delete).
    pub create_revision: Revision,
    /// The revision of the last put; in a delete event, of the delete.
    pub mod_revision: Revision,
}

/// What a conditional write requires of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: write whatever is there.
    Any,
    /// The key must not exist.
    Absent,
    /// The key must exist with this `mod_revision`.
    Revision(Revision),
}

impl Expect {
    /// Whether a key whose current `mod_revision` is `current` (none: it does not exist) is as expected.
    pub fn admits(self, current: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Revision(wanted) => current == Some(wanted),
        }
    }
}

/// Which part of a prefix to read, as of when; the pages of one list differ in `after` only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListAt {
    /// The revision whose state is read; none: the head.
    pub revision: Option<Revision>,
    /// Only keys after this one: the last key of the page before.
    pub after: Option<String>,
    /// The most entries to return; 0 for all.
    pub limit: usize,
    /// How many entries follow `after`, where the page before told; a store may then skip counting what follows.
    pub left: Option<u64>,
}

/// A part of a prefix, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in key order.
    pub entries: Vec<Entry>,
    /// The revision they are of.
    pub revision: Revision,
    /// How many entries of the prefix follow the last one, at that revision; 0 exactly when none does, whatever `left`
    /// said.
    pub remaining: u64,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was created or replaced.
    Put,
    /// It was deleted.
    Delete,
}

/// One change, as a watch delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventKind,
    /// The entry after a put; for a delete the last value, with `mod_revision` the revision of the delete.
    pub entry: Entry,
    /// The value before the change; none when the key was created, or on etcd when it is already compacted.
    pub previous: Option<Bytes>,
    /// The revision of the change.
    pub revision: Revision,
}

impl WatchEvent {
    /// Whether this put created the key.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.entry.create_revision == self.revision
    }
}

#[cfg(test)]
mod tests {
    use super::Expect;

    #[test]
    fn expectations() {
        assert!(Expect::Any.admits(None) && Expect::Any.admits(Some(3)));
        assert!(Expect::Absent.admits(None) && !Expect::Absent.admits(Some(3)));
        assert!(Expect::Revision(3).admits(Some(3)));
        assert!(!Expect::Revision(3).admits(Some(4)) && !Expect::Revision(3).admits(None));
    }
}
