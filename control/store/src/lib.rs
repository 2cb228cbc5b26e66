//! Cluster state: one trait, two engines.
//!
//! Enters: keys (`/registry/<group or "core">/<plural>/<namespace>/<name>`) and opaque values from the API
//! server's registry. Leaves: entries with revisions, and ordered watches. Called by `xebec-apiserver` alone;
//! every other part of Xebec is a client of the API.
//!
//! The model is etcd's: one counter ([`Revision`]) moves by one with every write, a write may be conditional on
//! the key's last revision ([`Expect`]), and a watch replays every change after a revision until compaction.
//! [`embedded::Embedded`] keeps it in one file on this machine, [`etcd::Etcd`] in an etcd cluster, and
//! [`contract`] is the suite both must pass.

mod error;
mod keys;
mod model;
mod watch;

pub mod contract;
pub mod embedded;
pub mod etcd;
pub mod snapshot;

pub use embedded::Embedded;
pub use error::StoreError;
pub use etcd::{Etcd, EtcdOptions, EtcdTls};
pub use keys::resource;
pub use model::{Entry, EventKind, Expect, ListAt, MAX_VALUE_BYTES, Page, Revision, WatchEvent};
pub use watch::Watch;

use async_trait::async_trait;
use bytes::Bytes;

/// A revisioned key-value store with compare-and-swap and ordered watches.
///
/// Prefixes are paths: `/a/b` and `/a/b/` both mean the keys below `/a/b/`, never `/a/bc`; the empty prefix
/// means every key. A future dropped before it resolves may still have written.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one key.
    ///
    /// Returns the entry, if any, and the head revision of the snapshot it was read from; a linearizable read
    /// (it sees every write acknowledged before it began). [`StoreError::Unavailable`] may be retried.
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError>;

    /// Reads every key below `prefix`, in key order, from one consistent snapshot.
    ///
    /// Returns the snapshot's head revision with them: a [`Store::watch`] after that revision continues the list
    /// without a gap or a duplicate.
    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError>;

    /// Reads one page of the keys below `prefix`, in key order, as they were at a revision.
    ///
    /// Pages of one revision fit together whatever is written between them. [`StoreError::Compacted`] if the revision is
    /// below the compacted one (list afresh), [`StoreError::FutureRevision`] if it is above the head. Costs what the page
    /// holds and the keys that follow (they are counted), not what has changed since.
    async fn list_at(&self, prefix: &str, page: ListAt) -> Result<Page, StoreError>;

    /// Writes one key if it is as expected, and returns the write's revision once it is durable.
    ///
    /// [`StoreError::Conflict`] carries the entry that stood in the way; [`StoreError::TooLarge`] is a value above
    /// [`MAX_VALUE_BYTES`]; after [`StoreError::Unavailable`] the write may or may not have happened.
    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, StoreError>;

    /// Deletes one key if it is as expected, and returns the delete's revision and the deleted entry.
    ///
    /// A key that does not exist is [`StoreError::Conflict`] with `current: None`, whatever was expected.
    async fn delete(&self, key: &str, expect: Expect) -> Result<(Revision, Entry), StoreError>;

    /// Watches every change below `prefix` with a revision above `after`, in revision order.
    ///
    /// [`StoreError::Compacted`] if `after` is below the compacted revision (list again),
    /// [`StoreError::FutureRevision`] if it is above the head. A slow consumer is never dropped: it is served from
    /// the log, and only meets `Compacted`, as the stream's last item, when compaction overtakes it.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// The revision of the last durable write; 1 in a store that was never written.
    async fn head(&self) -> Result<Revision, StoreError>;

    /// Forgets the changes up to and including `up_to`: watches may then start at `up_to` or later.
    ///
    /// Live entries stay. Compacting what is already compacted is no error; beyond the head is
    /// [`StoreError::FutureRevision`].
    async fn compact(&self, up_to: Revision) -> Result<(), StoreError>;

    /// Whether the key should be written again although its value is to stay: a layer above the engine (encryption)
    /// would store it in another form now. A key that does not exist is not stale.
    async fn is_stale(&self, key: &str) -> Result<bool, StoreError> {
        let _ = key;
        Ok(false)
    }

    /// What layers above the engine (encryption) say of their own health: names of health checks, and what is wrong.
    /// The engine answers for itself by [`Store::head`].
    fn checks(&self) -> Vec<(&'static str, Result<(), String>)> {
        Vec::new()
    }
}
