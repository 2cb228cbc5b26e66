//! The embedded engine: one redb file on this machine, written by one thread with group commit.
//!
//! Enters: the [`Store`] calls. Leaves: durable writes (many share one fsync), snapshot reads that never wait for
//! it, watches from memory or from the log. `writer` owns the file's future, `shared` its present, `feed` its recent
//! past; `apply`, `format` and `retention` are the decisions. redb locks the file against a second process.

mod apply;
#[cfg(test)]
mod crashes;
mod disk;
mod fault;
mod feed;
mod file;
mod format;
mod past;
mod retention;
mod rewrite;
mod shared;
#[cfg(test)]
mod simulated;
mod upkeep;
mod watcher;
mod writer;

pub use retention::Retention;
pub use rewrite::RewritePolicy;
pub use upkeep::{Status, Usage};

use crate::keys::scope;
use crate::{Entry, Expect, ListAt, MAX_VALUE_BYTES, Page, Revision, Store, StoreError, Watch};
use apply::{Action, Write, Written};
use async_trait::async_trait;
use bytes::Bytes;
use disk::{Disk, System};
use fault::Fault;
use feed::Feed;
use parking_lot::Mutex;
use shared::{Shared, blocking};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};
use writer::{Command, Reply, Request, Writer};

/// The queue to the writer holds at most this much, in KiB (each write counts its value and one more); further
/// writers wait.
const QUEUE_KIB: usize = 64 * 1024;

/// How an [`Embedded`] store behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// redb's page cache, in bytes; 64 MiB by default.
    pub cache_bytes: usize,
    /// What automatic compaction keeps of the log; none: only [`Store::compact`] compacts.
    pub retention: Option<Retention>,
    /// The most changes kept in memory for watchers; 8192 by default.
    pub recent_events: usize,
    /// The most bytes of changes kept in memory for watchers; 32 MiB by default.
    pub recent_bytes: usize,
    /// When the file is rewritten to give space back.
    pub rewrite: RewritePolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            retention: Some(Retention::default()),
            recent_events: 8192,
            recent_bytes: 32 << 20,
            rewrite: RewritePolicy::default(),
        }
    }
}

/// The embedded store. Dropping it waits for the commit that is running, and closes the file.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    room: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens the store in `path`, creating the file and its directory where missing.
    ///
    /// Blocking: after a crash the file is verified, about a second per gigabyte. [`StoreError::Locked`] if another
    /// process has it, [`StoreError::Corrupt`] if it is damaged or not a store, [`StoreError::Configuration`] if the
    /// path is unusable.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Arc<Self>, StoreError> {
        Self::open_on(Arc::new(System), path.as_ref(), options)
    }

    fn open_on(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Arc<Self>, StoreError> {
        let path = path.to_owned();
        let prepare = || {
            let (database, counters) = file::open(&*disk, &path, options.cache_bytes)?;
            // Only now, since the file's lock says that no other process is rewriting.
            file::remove_if_present(&*disk, &rewrite::draft(&path))?;
            Ok((database, counters))
        };
        let (database, counters) = prepare().map_err(|fault: Fault| fault.into_store(&path))?;
        tracing::info!(path = %path.display(), revision = counters.head, "store opened");
        let feed = Feed::new(counters.head, options.recent_events, options.recent_bytes);
        let shared = Arc::new(Shared::new(path, disk, feed, database));
        let (commands, queue) = channel();
        let writer = Writer::new(shared.clone(), options, counters, queue, commands.clone());
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let shared = shared.clone();
                move || run(writer, &shared)
            })
            .map_err(|error| StoreError::Configuration(format!("cannot start the writer thread: {error}")))?;
        let room = Arc::new(Semaphore::new(QUEUE_KIB));
        Ok(Arc::new(Self { shared, commands, room, thread: Mutex::new(Some(thread)) }))
    }

    /// Rewrites the file so that it holds live data only; reads go on, writes pause for the last step.
    ///
    /// It happens by itself by [`RewritePolicy`]; this is for an operator who wants the space now.
    pub async fn rewrite(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Rewrite { reply }).await
    }

    /// Finishes the queued writes, ends all watches and closes the file; later calls fail with `Closed`.
    pub async fn close(&self) {
        let _ = self.commands.send(Command::Close);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn write(&self, key: &str, action: Action, expect: Expect) -> Result<Written, StoreError> {
        if key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        let write = Write { key: key.to_owned(), action, expect };
        let kib = u32::try_from(1 + write.bytes() / 1024).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(kib).await.map_err(|_| StoreError::Closed)?;
        self.ask(|reply| Command::Write(Request { write, reply, room })).await
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Close);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// The writer thread's body; a panic (a damaged file can cause one inside redb) ends the store, not the process.
fn run(writer: Writer, shared: &Shared) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run())).is_err() {
        tracing::error!(path = %shared.path.display(), "the store's writer panicked; the store is closed");
        shared.close();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        self.shared.get(key)
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let (shared, scope) = (self.shared.clone(), scope(prefix));
        blocking(move || shared.list(&scope)).await
    }

    async fn list_at(&self, prefix: &str, page: ListAt) -> Result<Page, StoreError> {
        let (shared, scope) = (self.shared.clone(), scope(prefix));
        blocking(move || shared.list_at(&scope, &page)).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(StoreError::TooLarge { key: key.to_owned(), size: value.len() });
        }
        Ok(self.write(key, Action::Put(value), expect).await?.revision)
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<(Revision, Entry), StoreError> {
        let written = self.write(key, Action::Delete, expect).await?;
        let deleted = written
            .deleted
            .ok_or_else(|| StoreError::Corrupt(format!("{key} was deleted without a value")))?;
        Ok((written.revision, deleted))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let counters = self.shared.counters()?;
        if after > counters.head {
            return Err(StoreError::FutureRevision { requested: after, head: counters.head });
        }
        if after < counters.compacted {
            return Err(StoreError::Compacted { oldest: counters.compacted });
        }
        // The first revision is that of the empty store: no change has it.
        Ok(watcher::start(self.shared.clone(), scope(prefix), after.max(1)))
    }

    async fn head(&self) -> Result<Revision, StoreError> {
        // Every write asks for it first: changes are published before they are acknowledged, so the feed knows.
        self.shared.database()?;
        Ok(self.shared.feed.head())
    }

    async fn compact(&self, up_to: Revision) -> Result<(), StoreError> {
        self.ask(|reply| Command::Compact { up_to, reply }).await
    }
}
