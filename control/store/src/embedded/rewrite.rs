//! Giving space back without stopping: copy a snapshot beside the file, replay what came since, swap.
//!
//! Reads go on throughout; writes wait only for the replay and the rename, not for the copy. (redb's own
//! `Database::compact` would shut readers and writers out for its whole run.) The copy is durable before it is
//! renamed over the file, and the directory is synced before the next write, so a crash leaves one whole store.

use super::apply::Tables;
use super::fault::Fault;
use super::file;
use super::format::{self, Counters, LOG};
use super::writer::{Command, Reply, Writer};
use crate::StoreError;
use redb::{Database, ReadableDatabase};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// When the file is rewritten by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewritePolicy {
    /// Never below this file size, in bytes.
    pub min_file_bytes: u64,
    /// Only if the live data (entries and log) is less than this share of the file, in percent.
    pub live_percent: u64,
}

impl Default for RewritePolicy {
    /// Above 64 MiB, when less than a third is live.
    fn default() -> Self {
        Self { min_file_bytes: 64 << 20, live_percent: 33 }
    }
}

/// Whether a rewrite would give enough space back.
pub(super) fn worthwhile(policy: &RewritePolicy, file_bytes: u64, live_bytes: u64) -> bool {
    file_bytes >= policy.min_file_bytes && live_bytes < file_bytes / 100 * policy.live_percent
}

/// How often the size is looked at, and how long a failed rewrite rests.
const INTERVAL: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(600);

/// Room on the disk for the copy's own pages, beside what is copied.
const COPY_ROOM: u64 = 8 << 20;

/// Whether a rewrite runs, who waits for it, and when the next may start.
#[derive(Debug)]
pub(super) struct Rewriting {
    running: bool,
    waiting: Vec<Reply<()>>,
    next: Instant,
}

impl Rewriting {
    /// None runs; the first look is one interval away.
    pub fn new(now: Instant) -> Self {
        Self { running: false, waiting: Vec::new(), next: now + INTERVAL }
    }

    /// Whether it is time to look at the file; the next time is one interval later.
    pub fn due(&mut self, now: Instant) -> bool {
        let due = !self.running && now >= self.next;
        if due {
            self.next = now + INTERVAL;
        }
        due
    }
}

/// Where a rewrite of `path` is prepared.
pub(super) fn draft(path: &Path) -> PathBuf {
    file::beside(path, ".rewrite")
}

impl Writer {
    /// Starts copying on a thread of its own; a second request joins the running one.
    pub(super) fn start_rewrite(&mut self, reply: Option<Reply<()>>) {
        self.rewriting.waiting.extend(reply);
        if self.rewriting.running {
            return;
        }
        self.rewriting.running = true;
        let needed = self.counters.object_bytes + self.counters.log_bytes + COPY_ROOM;
        if self.shared.disk.free(&self.shared.path).is_some_and(|free| free < needed) {
            let text = format!("the copy needs {needed} bytes, the disk has less");
            self.finish_rewrite(Err(StoreError::Unavailable(text).into()));
            return;
        }
        let (path, cache_bytes) = (self.shared.path.clone(), self.options.cache_bytes);
        let (shared, commands) = (self.shared.clone(), self.commands_to_self.clone());
        let copy = move || {
            let result = panic::catch_unwind(AssertUnwindSafe(|| {
                let database = shared.database()?;
                let snapshot = database.begin_read()?;
                file::copy(&*shared.disk, &snapshot, &draft(&path), cache_bytes)
            }));
            let damaged = |_| Err(StoreError::Corrupt(format!("{} is damaged", path.display())).into());
            // The writer may have closed meanwhile; the draft is then removed at the next start.
            let _ = commands.send(Command::Copied(result.unwrap_or_else(damaged)));
        };
        if let Err(error) = std::thread::Builder::new().name("store-rewrite".into()).spawn(copy) {
            let fault = Fault::file("cannot start a thread to rewrite", &self.shared.path, error);
            self.finish_rewrite(Err(fault));
        }
    }

    /// Swaps the finished copy in and answers those who wait.
    pub(super) fn finish_rewrite(&mut self, copied: Result<(Database, Counters), Fault>) {
        self.rewriting.running = false;
        let swapped = copied.and_then(|(database, counters)| self.swap(database, counters));
        let outcome = swapped.map_err(|fault| fault.into_store(&self.shared.path));
        match &outcome {
            Ok(()) => {
                let bytes = self.shared.disk.length(&self.shared.path).unwrap_or_default();
                tracing::info!(file_bytes = bytes, "store rewritten");
            }
            Err(error) => {
                tracing::warn!(%error, "rewriting the store's file failed; it stays as it is");
                self.rewriting.next = Instant::now() + REST;
                if let Err(error) = file::remove_if_present(&*self.shared.disk, &draft(&self.shared.path)) {
                    tracing::warn!(%error, "the draft of the rewrite stays on disk");
                }
            }
        }
        for reply in self.rewriting.waiting.drain(..) {
            let _ = reply.send(outcome.clone());
        }
    }

    fn swap(&mut self, copy: Database, copied: Counters) -> Result<(), Fault> {
        if copied.head < self.counters.compacted {
            let text = "the log was trimmed beyond the copy; it will be tried again";
            return Err(StoreError::Unavailable(text.to_owned()).into());
        }
        let counters = self.replay(&copy, copied)?;
        let path = self.shared.path.clone();
        let draft = draft(&path);
        self.shared
            .disk
            .rename(&draft, &path)
            .map_err(|error| Fault::file("cannot move the rewrite to", &path, error))?;
        // From here the path names the copy, so it must be what is written to, whatever the sync says.
        self.shared.replace_database(copy);
        self.counters = counters;
        self.trim_pending = true;
        file::sync_directory(&*self.shared.disk, &file::parent(&path))
            .map_err(|fault| self.fail(fault).into())
    }

    /// Brings the copy to the head, durably.
    fn replay(&self, copy: &Database, copied: Counters) -> Result<Counters, Fault> {
        let database = self.shared.database()?;
        let snapshot = database.begin_read()?;
        let log = snapshot.open_table(LOG)?;
        let transaction = copy.begin_write()?;
        let mut tables = Tables::open(&transaction, copied)?;
        for row in log.range(copied.head + 1..)? {
            let (revision, record) = row?;
            let (revision, record) = (revision.value(), record.value());
            let event = format::decode_change(revision, record)?;
            tables.record(&event, format::previous_modified(revision, record)?)?;
        }
        tables.counters.compacted = self.counters.compacted;
        if tables.counters.head != self.counters.head {
            let text = format!("the log ends at {}, not at {}", tables.counters.head, self.counters.head);
            return Err(StoreError::Corrupt(text).into());
        }
        let counters = tables.finish()?;
        transaction.commit()?;
        Ok(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_must_be_worth_it() {
        let policy = RewritePolicy { min_file_bytes: 1000, live_percent: 50 };
        assert!(!worthwhile(&policy, 900, 0), "small files stay");
        assert!(worthwhile(&policy, 1000, 499));
        assert!(!worthwhile(&policy, 1000, 500));
    }
}
