//! What the file holds: four tables and two record layouts. Pure; called by every other file of this room.
//!
//! `objects`: key -> create revision, mod revision, value. `log`: revision -> the change, with the state before it.
//! `history`: (key, revision) for every change in the log, which makes the past of a key range readable without the
//! whole log. `meta`: name -> number. All integers inside records are little endian; `meta/format` names the layout: a
//! file of the layout before is taken over (see `file.rs`), one of another is refused.

use crate::{Entry, EventKind, Revision, WatchEvent};
use bytes::Bytes;
use redb::TableDefinition;

/// Live entries by key.
pub(super) const OBJECTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("objects");
/// Every change since compaction, by revision; there is exactly one for each revision.
pub(super) const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
/// One row for each row of the log: the changed key and the revision.
pub(super) const HISTORY: TableDefinition<'static, (&str, u64), ()> = TableDefinition::new("history");
/// The counters.
pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// The layout this build reads and writes.
pub(super) const FORMAT: u64 = 2;
/// The layout before it: no `history`, and changes that do not tell the revision they replaced.
pub(super) const FORMAT_WITHOUT_HISTORY: u64 = 1;

const ENTRY_HEADER: usize = 16;
const CHANGE_HEADER: usize = 26;
const NO_PREVIOUS: u32 = u32::MAX;

/// A record that does not decode.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum FormatError {
    /// A live entry is too short.
    #[error("the entry {key} is cut off")]
    Entry { key: String },
    /// A log record is malformed.
    #[error("the change of revision {revision} is malformed")]
    Change { revision: Revision },
}

/// The bytes of a live entry.
pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut record = Vec::with_capacity(ENTRY_HEADER + entry.value.len());
    record.extend_from_slice(&entry.create_revision.to_le_bytes());
    record.extend_from_slice(&entry.mod_revision.to_le_bytes());
    record.extend_from_slice(&entry.value);
    record
}

/// The entry `key` has, from its bytes.
pub(super) fn decode_entry(key: &str, record: &[u8]) -> Result<Entry, FormatError> {
    let (create, mod_revision, value) =
        split_entry(record).ok_or_else(|| FormatError::Entry { key: key.to_owned() })?;
    Ok(Entry {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value),
        create_revision: create,
        mod_revision,
    })
}

fn split_entry(record: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (create, rest) = record.split_first_chunk::<8>()?;
    let (modified, value) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*create), u64::from_le_bytes(*modified), value))
}

/// The bytes a live entry takes, key included; what the live-data counter counts.
pub(super) fn entry_bytes(key: &str, value: &[u8]) -> u64 {
    (ENTRY_HEADER + key.len() + value.len()) as u64
}

/// The bytes of a change that replaced the put of `previous_modified` (0: it created the key).
///
/// A delete's value is its previous value and is stored once.
pub(super) fn encode_change(event: &WatchEvent, previous_modified: Revision) -> Vec<u8> {
    let value: &[u8] = if event.kind == EventKind::Put { &event.entry.value } else { &[] };
    let previous = event.previous.as_deref().unwrap_or_default();
    let mut record = Vec::with_capacity(CHANGE_HEADER + event.entry.key.len() + previous.len() + value.len());
    record.push(u8::from(event.kind == EventKind::Delete));
    record.push(0);
    record.extend_from_slice(&event.entry.create_revision.to_le_bytes());
    record.extend_from_slice(&previous_modified.to_le_bytes());
    record.extend_from_slice(&(event.entry.key.len() as u32).to_le_bytes());
    let previous_length = event.previous.as_ref().map_or(NO_PREVIOUS, |bytes| bytes.len() as u32);
    record.extend_from_slice(&previous_length.to_le_bytes());
    record.extend_from_slice(event.entry.key.as_bytes());
    record.extend_from_slice(previous);
    record.extend_from_slice(value);
    record
}

/// The revision of the put that a change replaced; 0 if it created the key.
pub(super) fn previous_modified(revision: Revision, record: &[u8]) -> Result<Revision, FormatError> {
    split_change(record).map(|parts| parts.previous_modified).ok_or(FormatError::Change { revision })
}

/// The entry as it was before a change; none if there was none.
pub(super) fn entry_before(revision: Revision, record: &[u8]) -> Result<Option<Entry>, FormatError> {
    let parts = split_change(record).ok_or(FormatError::Change { revision })?;
    Ok(parts.previous.map(|previous| Entry {
        key: parts.key.to_owned(),
        value: Bytes::copy_from_slice(previous),
        create_revision: parts.create_revision,
        mod_revision: parts.previous_modified,
    }))
}

/// Whether there was an entry before a change.
pub(super) fn existed_before(revision: Revision, record: &[u8]) -> Result<bool, FormatError> {
    split_change(record).map(|parts| parts.previous.is_some()).ok_or(FormatError::Change { revision })
}

/// A change's key, without decoding the rest; for filtering.
pub(super) fn change_key(revision: Revision, record: &[u8]) -> Result<&str, FormatError> {
    split_change(record).map(|parts| parts.key).ok_or(FormatError::Change { revision })
}

/// The change of `revision`, from its bytes.
pub(super) fn decode_change(revision: Revision, record: &[u8]) -> Result<WatchEvent, FormatError> {
    let parts = split_change(record).ok_or(FormatError::Change { revision })?;
    let previous = parts.previous.map(Bytes::copy_from_slice);
    let value = match (parts.kind, &previous) {
        (EventKind::Put, _) => Bytes::copy_from_slice(parts.value),
        (EventKind::Delete, Some(previous)) => previous.clone(),
        (EventKind::Delete, None) => return Err(FormatError::Change { revision }),
    };
    let entry = Entry {
        key: parts.key.to_owned(),
        value,
        create_revision: parts.create_revision,
        mod_revision: revision,
    };
    Ok(WatchEvent { kind: parts.kind, entry, previous, revision })
}

struct ChangeParts<'a> {
    kind: EventKind,
    create_revision: Revision,
    previous_modified: Revision,
    key: &'a str,
    previous: Option<&'a [u8]>,
    value: &'a [u8],
}

fn split_change(record: &[u8]) -> Option<ChangeParts<'_>> {
    let (head, rest) = record.split_first_chunk::<2>()?;
    let kind = match head[0] {
        0 => EventKind::Put,
        1 => EventKind::Delete,
        _ => return None,
    };
    let (create, rest) = rest.split_first_chunk::<8>()?;
    let (previous_modified, rest) = rest.split_first_chunk::<8>()?;
    let (key_length, rest) = rest.split_first_chunk::<4>()?;
    let (previous_length, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    let (previous, value) = match u32::from_le_bytes(*previous_length) {
        NO_PREVIOUS => (None, rest),
        length => {
            let (previous, value) = rest.split_at_checked(length as usize)?;
            (Some(previous), value)
        }
    };
    let key = std::str::from_utf8(key).ok()?;
    let create_revision = u64::from_le_bytes(*create);
    let previous_modified = u64::from_le_bytes(*previous_modified);
    Some(ChangeParts { kind, create_revision, previous_modified, key, previous, value })
}

/// The numbers kept in `meta`, written with every commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    /// The revision of the last write.
    pub head: Revision,
    /// Changes up to this revision are forgotten.
    pub compacted: Revision,
    /// Bytes of live entries, as [`entry_bytes`] counts.
    pub object_bytes: u64,
    /// Bytes of log records.
    pub log_bytes: u64,
}

impl Counters {
    /// The counters of a store that was never written: as in etcd, its head is 1.
    pub const EMPTY: Self = Self { head: 1, compacted: 0, object_bytes: 0, log_bytes: 0 };

    /// Names and numbers, as `meta` holds them.
    pub fn rows(&self) -> [(&'static str, u64); 4] {
        [
            ("head", self.head),
            ("compacted", self.compacted),
            ("object_bytes", self.object_bytes),
            ("log_bytes", self.log_bytes),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: EventKind, previous: Option<Vec<u8>>, value: Vec<u8>, revision: u64) -> WatchEvent {
        let previous = previous.map(Bytes::from);
        let value = match kind {
            EventKind::Put => Bytes::from(value),
            EventKind::Delete => previous.clone().unwrap_or_default(),
        };
        let entry =
            Entry {
                key: "/registry/é".into(), value, create_revision: revision / 2, mod_revision: revision
            };
        WatchEvent { kind, entry, previous, revision }
    }

    proptest! {
        #[test]
        fn changes_survive_the_round_trip(
            previous in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            value in proptest::collection::vec(any::<u8>(), 0..40),
            revision in 1_u64..,
        ) {
            let put = event(EventKind::Put, previous.clone(), value.clone(), revision);
            prop_assert_eq!(decode_change(revision, &encode_change(&put, 5)), Ok(put));
            if previous.is_some() {
                let delete = event(EventKind::Delete, previous, value, revision);
                prop_assert_eq!(decode_change(revision, &encode_change(&delete, 5)), Ok(delete));
            }
        }

        #[test]
        fn any_bytes_decode_or_fail_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_change(7, &bytes);
            let _ = decode_entry("/k", &bytes);
            let _ = (change_key(7, &bytes), entry_before(7, &bytes), previous_modified(7, &bytes));
        }
    }

    #[test]
    fn the_state_before_a_change_is_in_it() {
        let put = event(EventKind::Put, Some(b"old".to_vec()), b"new".to_vec(), 9);
        let before = entry_before(9, &encode_change(&put, 7)).unwrap().unwrap();
        assert_eq!((before.mod_revision, before.create_revision, &before.value[..]), (7, 4, &b"old"[..]));
        let create = encode_change(&event(EventKind::Put, None, b"new".to_vec(), 9), 0);
        assert_eq!((entry_before(9, &create), existed_before(9, &create)), (Ok(None), Ok(false)));
    }

    #[test]
    fn entries_survive_the_round_trip() {
        let entry =
            Entry { key: "/k".into(), value: Bytes::from_static(b"v"), create_revision: 3, mod_revision: 9 };
        assert_eq!(decode_entry("/k", &encode_entry(&entry)), Ok(entry));
        assert_eq!(decode_entry("/k", &[0; 15]), Err(FormatError::Entry { key: "/k".into() }));
    }
}
