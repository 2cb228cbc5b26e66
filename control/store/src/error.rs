//! The one error of the store: what the API server needs to tell apart.

use crate::{Entry, MAX_VALUE_BYTES, Revision};
use std::path::PathBuf;

/// Why a store operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The key was not as expected; read `current` and decide again.
    #[error("{key} is not at the expected revision (it is {})", describe(.current))]
    Conflict {
        /// The key of the write.
        key: String,
        /// The entry that is there, if any.
        current: Option<Entry>,
    },
    /// The requested revision is below compaction; list again.
    #[error("the requested revision is compacted; the oldest a watch can start after is {oldest}")]
    Compacted {
        /// The smallest revision a watch can start after.
        oldest: Revision,
    },
    /// The requested revision has not happened yet; a caller that saw it spoke to another store.
    #[error("revision {requested} is above the head, {head}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// The store's head.
        head: Revision,
    },
    /// The value exceeds the size limit; not to be retried.
    #[error("the value of {key} is {size} bytes, above the limit of {MAX_VALUE_BYTES}")]
    TooLarge {
        /// The key of the write.
        key: String,
        /// The size of the value, in bytes.
        size: usize,
    },
    /// The key is empty; a caller's mistake.
    #[error("a key must not be empty")]
    EmptyKey,
    /// The store was closed; this process is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The store cannot answer now (disk full, connection lost, timeout); retry with a pause. A write may have happened.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Another process has the file open; stop it or choose another data directory.
    #[error("another process holds {}", .path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The value of this key cannot be decrypted; nothing was changed. The operator must give the key it was encrypted
    /// with.
    #[error("{key} cannot be decrypted: {reason}")]
    Undecryptable {
        /// The key of the entry.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// What the engine holds cannot be read; an operator must restore a backup.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The engine's configuration is unusable (an endpoint, a certificate, a path); a restart alone does not help.
    #[error("the store cannot be opened: {0}")]
    Configuration(String),
}

fn describe(current: &Option<Entry>) -> String {
    current.as_ref().map_or_else(|| "absent".to_owned(), |entry| format!("at {}", entry.mod_revision))
}
