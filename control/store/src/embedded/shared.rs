//! What the writer, the readers and the watchers share: the open database, the feed, and reads from snapshots.
//!
//! A read takes redb's latest committed snapshot; it waits neither for the writer nor for an fsync. Blocking calls:
//! the async side runs them on the blocking pool, except single-key reads, which are a few cached pages.

use super::disk::Disk;
use super::fault::Fault;
use super::feed::Feed;
use super::file;
use super::format::{self, Counters, LOG, OBJECTS};
use super::past;
use crate::keys::scope_end;
use crate::{Entry, ListAt, Page, Revision, StoreError, WatchEvent};
use parking_lot::RwLock;
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most log records one catch-up step looks at.
const CATCH_UP_RECORDS: usize = 1024;
/// The most bytes of matching events one catch-up step returns (one event more at most).
const CATCH_UP_BYTES: usize = 4 << 20;

/// The state behind an [`super::Embedded`].
#[derive(Debug)]
pub(super) struct Shared {
    /// The database file.
    pub path: PathBuf,
    /// Where the file is.
    pub disk: Arc<dyn Disk>,
    /// Recent changes for watchers.
    pub feed: Feed,
    database: RwLock<Option<Arc<Database>>>,
    closed: AtomicBool,
}

impl Shared {
    /// Shares an open database.
    pub fn new(path: PathBuf, disk: Arc<dyn Disk>, feed: Feed, database: Database) -> Self {
        let database = RwLock::new(Some(Arc::new(database)));
        Self { path, disk, feed, database, closed: AtomicBool::new(false) }
    }

    /// The open database.
    pub fn database(&self) -> Result<Arc<Database>, StoreError> {
        if let Some(database) = &*self.database.read() {
            return Ok(database.clone());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        Err(StoreError::Unavailable(format!("{} is being reopened", self.path.display())))
    }

    /// Puts another database in place; readers of the old one finish on it.
    pub fn replace_database(&self, database: Database) {
        *self.database.write() = Some(Arc::new(database));
    }

    /// Closes the database, waiting up to `patience` for readers to finish; false if some did not.
    pub fn close_database(&self, patience: Duration) -> bool {
        let Some(mut database) = self.database.write().take() else { return true };
        let started = Instant::now();
        loop {
            match Arc::try_unwrap(database) {
                Ok(alone) => {
                    drop(alone);
                    return true;
                }
                Err(_) if started.elapsed() > patience => return false,
                Err(in_use) => database = in_use,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends everything: reads fail with `Closed`, watches end.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if !self.close_database(Duration::from_secs(5)) {
            tracing::warn!(path = %self.path.display(), "a read is still running; the file closes when it ends");
        }
        self.feed.close();
    }

    /// Runs `read` on the latest committed snapshot.
    pub fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction, Counters) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        let run = || {
            let snapshot = database.begin_read()?;
            let counters = file::stored_counters(&snapshot)?
                .ok_or_else(|| StoreError::Corrupt("the counters are missing".to_owned()))?;
            read(&snapshot, counters)
        };
        run().map_err(|fault: Fault| fault.into_store(&self.path))
    }

    /// The counters of the latest committed snapshot.
    pub fn counters(&self) -> Result<Counters, StoreError> {
        self.read(|_, counters| Ok(counters))
    }

    /// One key and the snapshot's head.
    pub fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        self.read(|snapshot, counters| {
            let objects = snapshot.open_table(OBJECTS)?;
            let entry = match objects.get(key)? {
                Some(record) => Some(format::decode_entry(key, record.value())?),
                None => None,
            };
            Ok((entry, counters.head))
        })
    }

    /// Every key in `scope` and the snapshot's head.
    pub fn list(&self, scope: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.read(|snapshot, counters| {
            let objects = snapshot.open_table(OBJECTS)?;
            let range = match scope_end(scope) {
                Some(end) => objects.range::<&str>(scope..end.as_str())?,
                None => objects.range::<&str>(scope..)?,
            };
            let mut entries = Vec::new();
            for row in range {
                let (key, record) = row?;
                entries.push(format::decode_entry(key.value(), record.value())?);
            }
            Ok((entries, counters.head))
        })
    }

    /// One page of `scope` as of a revision.
    pub fn list_at(&self, scope: &str, page: &ListAt) -> Result<Page, StoreError> {
        self.read(|snapshot, counters| past::page(snapshot, counters, scope, page))
    }

    /// The next changes after `cursor` in `scope`, from the log, and the revision they reach to.
    pub fn catch_up(&self, cursor: Revision, scope: &str) -> Result<(Vec<WatchEvent>, Revision), StoreError> {
        self.read(|snapshot, counters| {
            if cursor < counters.compacted {
                return Err(StoreError::Compacted { oldest: counters.compacted }.into());
            }
            let log = snapshot.open_table(LOG)?;
            let mut events = Vec::new();
            let mut bytes = 0;
            let mut reached = cursor;
            for row in log.range(cursor + 1..)?.take(CATCH_UP_RECORDS) {
                let (revision, record) = row?;
                let (revision, record) = (revision.value(), record.value());
                if revision != reached + 1 {
                    break;
                }
                reached = revision;
                if format::change_key(revision, record)?.starts_with(scope) {
                    bytes += record.len();
                    events.push(format::decode_change(revision, record)?);
                }
                if bytes > CATCH_UP_BYTES {
                    break;
                }
            }
            if reached == cursor && cursor < counters.head {
                let text = format!("the change of revision {} is missing", cursor + 1);
                return Err(StoreError::Corrupt(text).into());
            }
            Ok((events, reached))
        })
    }
}

/// Runs a blocking read on the blocking pool.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(StoreError::Closed),
        Err(error) => Err(StoreError::Corrupt(format!("reading the store panicked: {error}"))),
    }
}
