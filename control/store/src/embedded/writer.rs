//! The one writer thread: drains the queue, commits a batch with one fsync, publishes, acknowledges.
//!
//! Enters: [`Command`]s from the async side. Leaves: replies, changes in the feed, and a file that stays bounded
//! (log trimming rides on the batches; a rewrite runs beside them, see `rewrite.rs`). Nothing is acknowledged before
//! it is durable, refusals included, since a refusal may be due to a write of the same batch.

use super::apply::{Action, Tables, Trim, Write, Written};
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
/// The pause between two steps of trimming while nothing is written.
const TRIM_PAUSE: Duration = Duration::from_millis(5);
/// The most log records one idle step removes.
const IDLE_TRIM: usize = 1000;
/// How long a reopening waits for running reads.
const READER_PATIENCE: Duration = Duration::from_secs(5);
/// Puts are refused when the disk has less room than this and eight times what they bring: a commit copies tree pages too.
const PUT_ROOM: u64 = 16 << 20;
/// Deletes and trimming, which make room, go on down to this.
const DELETE_ROOM: u64 = 4 << 20;

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
    broken: Option<Broken>,
}

/// A failure of the file that writes still wait for.
struct Broken {
    since: Instant,
    error: StoreError,
    reopened: bool,
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
            let patience = if self.trim_pending { TRIM_PAUSE } else { TICK };
            let control = match self.commands.recv_timeout(patience) {
                Ok(first) => self.gather(first, &mut batch),
                Err(RecvTimeoutError::Timeout) => {
                    self.trim_on();
                    None
                }
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

    /// Refuses the writes for which the disk has no room.
    ///
    /// Before the engine tries: a write that fails inside redb closes the file until it is reopened and verified, and
    /// reads with it.
    fn refuse_without_room(&self, batch: Vec<Request>) -> Vec<Request> {
        let Some(free) = self.shared.disk.free(&self.shared.path) else { return batch };
        let bytes: usize = batch.iter().map(|request| request.write.bytes()).sum();
        // The file has room inside, too; pages are powers of two, so what it holds may take twice its bytes.
        let held = 2 * (self.counters.object_bytes + self.counters.log_bytes);
        let file = self.shared.disk.length(&self.shared.path).unwrap_or_default();
        let free = free + file.saturating_sub(held);
        if free >= PUT_ROOM + 8 * bytes as u64 {
            return batch;
        }
        let (kept, refused): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|request| free >= DELETE_ROOM && matches!(request.write.action, Action::Delete));
        if !refused.is_empty() {
            tracing::error!(path = %self.shared.path.display(), free_bytes = free, "the disk is full, writes are refused; `xebec-control store compact` and deletes make room");
        }
        for request in refused {
            let _ = request.reply.send(Err(Fault::full(&self.shared.path)));
        }
        kept
    }

    fn commit_batch(&mut self, batch: Vec<Request>) {
        let batch = self.refuse_without_room(batch);
        if batch.is_empty() {
            return;
        }
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

    /// Goes on with a trimming that was too large for one step; a failure is remembered and reported to the next write.
    fn trim_on(&mut self) {
        if self.trim_pending && self.commit(self.counters, &[], IDLE_TRIM).is_err() {
            // The next tick tries again.
            self.trim_pending = false;
        }
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
        let outcome = commit(&database, self.counters, counters, writes, trim);
        // A failure reopens the file, which must then be nobody's.
        drop(database);
        match outcome {
            Ok((counters, outcomes, events, more_to_trim)) => {
                self.counters = counters;
                self.trim_pending = more_to_trim;
                Ok((outcomes, events))
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Notes that the file failed: writes are refused for a moment, and it is reopened at once, for the reads.
    pub(super) fn fail(&mut self, fault: Fault) -> StoreError {
        let error = fault.into_store(&self.shared.path);
        tracing::error!(path = %self.shared.path.display(), %error, "a commit failed; writes are refused");
        self.broken = Some(Broken { since: Instant::now(), error: error.clone(), reopened: false });
        self.try_reopen();
        error
    }

    fn try_reopen(&mut self) {
        let outcome = self.reopen();
        let Some(broken) = &mut self.broken else { return };
        match outcome {
            Ok(()) => {
                broken.reopened = true;
                tracing::info!(path = %self.shared.path.display(), head = self.counters.head, "store reopened");
            }
            Err(fault) => {
                let error = fault.into_store(&self.shared.path);
                tracing::error!(path = %self.shared.path.display(), %error, "the store could not be reopened");
                *broken = Broken { since: Instant::now(), error, reopened: false };
            }
        }
    }

    /// Lets writes go on after a failure once the moment is over. What was acknowledged is there; what was not may be.
    fn mend(&mut self) -> Result<(), StoreError> {
        let Some(broken) = &self.broken else { return Ok(()) };
        if broken.since.elapsed() < TICK {
            return Err(broken.error.clone());
        }
        if !broken.reopened {
            self.try_reopen();
        }
        match self.broken.take() {
            Some(broken) if !broken.reopened => {
                let error = broken.error.clone();
                self.broken = Some(broken);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        let path = self.shared.path.clone();
        if !self.shared.close_database(READER_PATIENCE) {
            tracing::warn!(path = %path.display(), "reads still hold the failed file");
        }
        let (database, counters) = file::open(&*self.shared.disk, &path, self.options.cache_bytes)?;
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
        let file = self.shared.disk.length(&self.shared.path).unwrap_or_default();
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
