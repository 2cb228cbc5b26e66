//! The one writer thread: drains the queue, commits a batch with one fsync, publishes, acknowledges.
//!
//! Enters: [`Command`]s from the async side. Leaves: replies, changes in the feed, and a file that stays bounded
//! (log trimming rides on the batches; a rewrite runs beside them, see `rewrite.rs`). Nothing is acknowledged before
//! it is durable, refusals included, since a refusal may be due to a write of the same batch.

use super::apply::{Tables, Trim, Write, Written};
use super::fault::Fault;
use super::file;
use super::format::Counters;
use super::retention::{Timeline, expired};
use super::rewrite::Rewriting;
use super::shared::Shared;
use super::{Options, rewrite};
use crate::{Revision, StoreError, WatchEvent};
use redb::Database;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The most writes in one commit.
const BATCH_WRITES: usize = 1024;
/// A batch takes no further write above this many bytes.
const BATCH_BYTES: usize = 16 << 20;
/// How often the log is trimmed when nothing is written, and how long a failed file rests before a reopening.
const TICK: Duration = Duration::from_secs(1);
/// The most log records one idle step removes.
const IDLE_TRIM: usize = 1000;
/// How long a reopening waits for running reads.
const READER_PATIENCE: Duration = Duration::from_secs(5);

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the async side asks of the writer.
#[derive(Debug)]
pub(super) enum Command {
    Write(Request),
    Compact { up_to: Revision, reply: Reply<()> },
    Rewrite { reply: Reply<()> },
    Copied(Result<(Database, Counters), Fault>),
    Close,
}

/// A write, where to answer, and the room in the queue it occupies until then.
#[derive(Debug)]
pub(super) struct Request {
    pub write: Write,
    pub reply: Reply<Written>,
    pub room: OwnedSemaphorePermit,
}

/// The writer thread's state.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) options: Options,
    pub(super) counters: Counters,
    pub(super) rewriting: Rewriting,
    pub(super) commands_to_self: Sender<Command>,
    pub(super) trim_pending: bool,
    commands: Receiver<Command>,
    timeline: Timeline,
    opened: Instant,
    ticked: Instant,
    broken: Option<(Instant, StoreError)>,
}

type Committed = (Counters, Vec<Result<Written, StoreError>>, Vec<Arc<WatchEvent>>, bool);

impl Writer {
    /// A writer for an open store.
    pub fn new(
        shared: Arc<Shared>,
        options: Options,
        counters: Counters,
        commands: Receiver<Command>,
        commands_to_self: Sender<Command>,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            options,
            counters,
            rewriting: Rewriting::new(now),
            commands_to_self,
            trim_pending: true,
            commands,
            timeline: Timeline::default(),
            opened: now,
            ticked: now,
            broken: None,
        }
    }

    /// Runs until it is told to close; the thread's body.
    pub fn run(mut self) {
        loop {
            let mut batch = Vec::new();
            let control = match self.commands.recv_timeout(TICK) {
                Ok(first) => self.gather(first, &mut batch),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if !batch.is_empty() {
                self.commit_batch(batch);
            }
            match control {
                Some(Command::Close) => break,
                Some(command) => self.control(command),
                None => {}
            }
            if self.ticked.elapsed() >= TICK {
                self.tick();
            }
        }
        self.shared.close();
    }

    /// Fills the batch from what is queued; a command that is not a write ends it and is returned.
    fn gather(&self, first: Command, batch: &mut Vec<Request>) -> Option<Command> {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(command) = next {
            let Command::Write(request) = command else { return Some(command) };
            bytes += request.write.bytes();
            batch.push(request);
            if batch.len() >= BATCH_WRITES || bytes >= BATCH_BYTES {
                return None;
            }
            next = self.commands.try_recv().ok();
        }
        None
    }

    fn control(&mut self, command: Command) {
        match command {
            Command::Compact { up_to, reply } => {
                let _ = reply.send(self.compact(up_to));
            }
            Command::Rewrite { reply } => self.start_rewrite(Some(reply)),
            Command::Copied(result) => self.finish_rewrite(result),
            Command::Write(_) | Command::Close => {}
        }
    }

    fn commit_batch(&mut self, batch: Vec<Request>) {
        let (writes, replies): (Vec<Write>, Vec<_>) =
            batch.into_iter().map(|request| (request.write, (request.reply, request.room))).unzip();
        let steps = 64 + 2 * writes.len();
        match self.commit(self.counters, &writes, steps) {
            Ok((outcomes, events)) => {
                self.shared.feed.publish(events);
                for ((reply, room), outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(outcome);
                    drop(room);
                }
            }
            Err(error) => {
                for (reply, _room) in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn compact(&mut self, up_to: Revision) -> Result<(), StoreError> {
        if up_to > self.counters.head {
            return Err(StoreError::FutureRevision { requested: up_to, head: self.counters.head });
        }
        if up_to <= self.counters.compacted {
            return Ok(());
        }
        let counters = Counters { compacted: up_to, ..self.counters };
        self.commit(counters, &[], IDLE_TRIM).map(|_| ())
    }

    /// Once a second: samples the head, trims what has expired, and looks at the size of the file.
    fn tick(&mut self) {
        self.ticked = Instant::now();
        if self.mend().is_err() {
            return;
        }
        self.timeline.observe(self.opened.elapsed(), self.counters.head);
        let trim = self.trim(IDLE_TRIM);
        let counters = self.counters;
        if trim.up_to > counters.compacted || counters.log_bytes > trim.max_log_bytes || self.trim_pending {
            // A failure is remembered and reported to the next write.
            let _ = self.commit(counters, &[], IDLE_TRIM);
        }
        self.consider_rewrite();
    }

    fn trim(&mut self, steps: usize) -> Trim {
        let Some(retention) = &self.options.retention else {
            return Trim { up_to: 0, max_log_bytes: u64::MAX, steps };
        };
        let settled = self.timeline.settled(self.opened.elapsed(), retention.age);
        let up_to = expired(retention, self.counters.head, settled);
        Trim { up_to, max_log_bytes: retention.log_bytes, steps }
    }

    /// Commits `writes`, starting from `counters`, and trims the log by up to `steps` changes.
    #[expect(clippy::type_complexity, reason = "outcomes and events of one batch, used in one place")]
    fn commit(
        &mut self,
        counters: Counters,
        writes: &[Write],
        steps: usize,
    ) -> Result<(Vec<Result<Written, StoreError>>, Vec<Arc<WatchEvent>>), StoreError> {
        self.mend()?;
        let database = self.shared.database()?;
        let trim = self.trim(steps);
        match commit(&database, self.counters, counters, writes, trim) {
            Ok((counters, outcomes, events, more_to_trim)) => {
                self.counters = counters;
                self.trim_pending = more_to_trim;
                Ok((outcomes, events))
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Notes that the file failed; until it is reopened every write is refused.
    pub(super) fn fail(&mut self, fault: Fault) -> StoreError {
        let error = fault.into_store(&self.shared.path);
        tracing::error!(path = %self.shared.path.display(), %error, "a commit failed; writes are refused");
        self.broken = Some((Instant::now(), error.clone()));
        error
    }

    /// Reopens a file that failed. What was acknowledged is in it; what was not may be.
    fn mend(&mut self) -> Result<(), StoreError> {
        let Some((since, error)) = &self.broken else { return Ok(()) };
        if since.elapsed() < TICK {
            return Err(error.clone());
        }
        match self.reopen() {
            Ok(()) => {
                tracing::info!(path = %self.shared.path.display(), head = self.counters.head, "store reopened");
                self.broken = None;
                Ok(())
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        let path = self.shared.path.clone();
        if !self.shared.close_database(READER_PATIENCE) {
            tracing::warn!(path = %path.display(), "reads still hold the failed file");
        }
        let (database, counters) = file::open(&path, self.options.cache_bytes)?;
        if counters.head < self.counters.head {
            let text = format!(
                "acknowledged revision {} is lost, the file ends at {}",
                self.counters.head, counters.head
            );
            return Err(StoreError::Corrupt(text).into());
        }
        self.shared.replace_database(database);
        if counters.head != self.counters.head {
            self.shared.feed.reset(counters.head);
        }
        self.counters = counters;
        self.trim_pending = true;
        Ok(())
    }

    fn consider_rewrite(&mut self) {
        if !self.rewriting.due(Instant::now()) {
            return;
        }
        let live = self.counters.object_bytes + self.counters.log_bytes;
        let file = std::fs::metadata(&self.shared.path).map_or(0, |metadata| metadata.len());
        if rewrite::worthwhile(&self.options.rewrite, file, live) {
            tracing::info!(
                file_bytes = file,
                live_bytes = live,
                "rewriting the store's file to give space back"
            );
            self.start_rewrite(None);
        }
    }
}

/// One transaction: the writes in order, then the trimming; no commit (and no fsync) if nothing changed.
fn commit(
    database: &Database,
    stored: Counters,
    counters: Counters,
    writes: &[Write],
    trim: Trim,
) -> Result<Committed, Fault> {
    let transaction = database.begin_write()?;
    let mut outcomes = Vec::with_capacity(writes.len());
    let mut events = Vec::with_capacity(writes.len());
    let mut tables = Tables::open(&transaction, counters)?;
    for write in writes {
        outcomes.push(tables.write(write)?.map(|(written, event)| {
            events.push(event);
            written
        }));
    }
    let more_to_trim = tables.trim(trim)? == trim.steps;
    if tables.counters == stored {
        drop(tables);
        transaction.abort()?;
        return Ok((stored, outcomes, events, more_to_trim));
    }
    let counters = tables.finish()?;
    transaction.commit()?;
    Ok((counters, outcomes, events, more_to_trim))
}
