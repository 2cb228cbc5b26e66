//! Between etcd's messages and ours: entries, events, errors. Pure.

use crate::{Entry, EventKind, Revision, StoreError, WatchEvent};
use bytes::Bytes;
use etcd_client::{Error, Event, EventType, KeyValue, ResponseHeader};

/// gRPC codes this engine tells apart (tonic's `Code` as a number).
const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;
const OUT_OF_RANGE: i32 = 11;

/// What an etcd error means, before the operation's own facts (key, revision) are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `mvcc: required revision has been compacted`.
    Compacted,
    /// `mvcc: required revision is a future revision`.
    Future,
    /// `etcdserver: request is too large`.
    TooLarge,
    /// The connection is unusable as configured (URI, credentials).
    Configuration(String),
    /// Anything a retry may cure: no leader, no space, connection lost.
    Unavailable(String),
}

/// Classifies a client error.
pub(super) fn refusal(error: &Error) -> Refusal {
    match error {
        Error::GRpcStatus(status) => by_status(status.code() as i32, status.message()),
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            Refusal::Configuration(error.to_string())
        }
        other => Refusal::Unavailable(other.to_string()),
    }
}

fn by_status(code: i32, message: &str) -> Refusal {
    match code {
        OUT_OF_RANGE if message.contains("compacted") => Refusal::Compacted,
        OUT_OF_RANGE if message.contains("future revision") => Refusal::Future,
        INVALID_ARGUMENT if message.contains("request is too large") => Refusal::TooLarge,
        // The server's own receive limit cuts off what is far above the request limit.
        RESOURCE_EXHAUSTED if message.contains("larger than max") => Refusal::TooLarge,
        _ => Refusal::Unavailable(format!("etcd: {message}")),
    }
}

impl Refusal {
    /// The store error, for an operation to which compaction, the future and size do not apply.
    pub fn into_store(self) -> StoreError {
        match self {
            Self::Configuration(text) => StoreError::Configuration(text),
            Self::Unavailable(text) => StoreError::Unavailable(text),
            other => StoreError::Unavailable(format!("etcd refused unexpectedly: {other:?}")),
        }
    }
}

/// A revision as etcd sends it; never negative.
pub(super) fn revision(number: i64) -> Revision {
    u64::try_from(number).unwrap_or(0)
}

/// A revision as etcd wants it.
pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// The revision of a response's header.
pub(super) fn head(header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
    let header =
        header.ok_or_else(|| StoreError::Unavailable("etcd answered without a header".to_owned()))?;
    Ok(revision(header.revision()))
}

/// An entry, taking the message's memory.
pub(super) fn entry(pair: KeyValue) -> Result<Entry, StoreError> {
    let (create, modified) = (revision(pair.create_revision()), revision(pair.mod_revision()));
    let (key, value) = pair.into_key_value();
    let key = String::from_utf8(key)
        .map_err(|error| StoreError::Corrupt(format!("etcd holds a key that is not UTF-8: {error}")))?;
    Ok(Entry { key, value: Bytes::from(value), create_revision: create, mod_revision: modified })
}

/// A change. etcd leaves out the previous value where it is compacted; a delete then has an empty value.
pub(super) fn event(event: &Event) -> Result<WatchEvent, StoreError> {
    let pair =
        event.kv().ok_or_else(|| StoreError::Corrupt("etcd sent an event without a key".to_owned()))?;
    let changed = entry(pair.clone())?;
    let previous = event.prev_kv().cloned().map(entry).transpose()?;
    let revision = changed.mod_revision;
    let previous_value = previous.as_ref().map(|entry| entry.value.clone());
    let (kind, entry) = match event.event_type() {
        EventType::Put => (EventKind::Put, changed),
        EventType::Delete => {
            let create_revision = previous.as_ref().map_or(0, |entry| entry.create_revision);
            let value = previous_value.clone().unwrap_or_default();
            (EventKind::Delete, Entry { value, create_revision, ..changed })
        }
    };
    Ok(WatchEvent { kind, entry, previous: previous_value, revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        assert_eq!(
            by_status(11, "etcdserver: mvcc: required revision has been compacted"),
            Refusal::Compacted
        );
        assert_eq!(
            by_status(11, "etcdserver: mvcc: required revision is a future revision"),
            Refusal::Future
        );
        assert_eq!(by_status(3, "etcdserver: request is too large"), Refusal::TooLarge);
        assert!(matches!(by_status(8, "etcdserver: mvcc: database space exceeded"), Refusal::Unavailable(_)));
        assert!(matches!(by_status(14, "etcdserver: leader changed"), Refusal::Unavailable(_)));
    }

    #[test]
    fn revisions_convert_without_wrapping() {
        assert_eq!((revision(7), revision(-1)), (7, 0));
        assert_eq!((number(7), number(u64::MAX)), (7, i64::MAX));
    }
}
