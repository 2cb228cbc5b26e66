//! One batch against the tables: compare-and-swap in order, revisions in order, trimming of the log.
//!
//! Enters: an open write transaction and the batch. Leaves: one outcome per write, the changes to publish and the
//! counters to store; nothing is durable until the caller commits. Called by the writer and by the file rewrite.

use super::fault::Fault;
use super::format::{self, Counters, HISTORY, LOG, META, OBJECTS};
use crate::{Entry, EventKind, Expect, Revision, StoreError, WatchEvent};
use bytes::Bytes;
use redb::{ReadableTable, Table, WriteTransaction};
use std::sync::Arc;

/// What a write does to its key.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Put(Bytes),
    Delete,
}

/// One conditional write.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub key: String,
    pub action: Action,
    pub expect: Expect,
}

/// What an accepted write answers.
#[derive(Debug)]
pub(super) struct Written {
    pub revision: Revision,
    pub deleted: Option<Entry>,
}

/// How far the log may be trimmed in one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trim {
    /// Changes up to this revision have expired.
    pub up_to: Revision,
    /// Above this many bytes the oldest changes go in any case.
    pub max_log_bytes: u64,
    /// The most changes to remove now.
    pub steps: usize,
}

/// The tables of one write transaction, with its counters.
pub(super) struct Tables<'t> {
    objects: Table<'t, &'static str, &'static [u8]>,
    log: Table<'t, u64, &'static [u8]>,
    history: Table<'t, (&'static str, u64), ()>,
    meta: Table<'t, &'static str, u64>,
    /// As they will be after the commit.
    pub counters: Counters,
}

impl<'t> Tables<'t> {
    /// Opens (in an empty file: creates) the tables.
    pub fn open(transaction: &'t WriteTransaction, counters: Counters) -> Result<Self, Fault> {
        Ok(Self {
            objects: transaction.open_table(OBJECTS)?,
            log: transaction.open_table(LOG)?,
            history: transaction.open_table(HISTORY)?,
            meta: transaction.open_table(META)?,
            counters,
        })
    }

    /// Evaluates one write against the state the batch has reached.
    pub fn write(&mut self, write: &Write) -> Result<Result<(Written, Arc<WatchEvent>), StoreError>, Fault> {
        let current = match self.objects.get(write.key.as_str())? {
            Some(record) => Some(format::decode_entry(&write.key, record.value())?),
            None => None,
        };
        let admitted = write.expect.admits(current.as_ref().map(|entry| entry.mod_revision));
        if !admitted || (matches!(write.action, Action::Delete) && current.is_none()) {
            return Ok(Err(StoreError::Conflict { key: write.key.clone(), current }));
        }
        let revision = self.counters.head + 1;
        let create_revision = current.as_ref().map_or(revision, |entry| entry.create_revision);
        let previous = current.as_ref().map(|entry| entry.value.clone());
        let (kind, value) = match &write.action {
            Action::Put(value) => (EventKind::Put, value.clone()),
            Action::Delete => (EventKind::Delete, previous.clone().unwrap_or_default()),
        };
        let entry = Entry { key: write.key.clone(), value, create_revision, mod_revision: revision };
        let event = Arc::new(WatchEvent { kind, entry, previous, revision });
        self.record(&event, current.as_ref().map_or(0, |entry| entry.mod_revision))?;
        let deleted = if kind == EventKind::Delete { current } else { None };
        Ok(Ok((Written { revision, deleted }, event)))
    }

    /// Makes `event`, which replaces the put of `previous_modified` (0: none), part of the state: the object, the log
    /// and the counters.
    pub fn record(&mut self, event: &WatchEvent, previous_modified: Revision) -> Result<(), Fault> {
        let key = event.entry.key.as_str();
        if let Some(previous) = &event.previous {
            self.counters.object_bytes =
                self.counters.object_bytes.saturating_sub(format::entry_bytes(key, previous));
        }
        match event.kind {
            EventKind::Put => {
                self.objects.insert(key, format::encode_entry(&event.entry).as_slice())?;
                self.counters.object_bytes += format::entry_bytes(key, &event.entry.value);
            }
            EventKind::Delete => {
                self.objects.remove(key)?;
            }
        }
        let change = format::encode_change(event, previous_modified);
        self.log.insert(event.revision, change.as_slice())?;
        self.history.insert((key, event.revision), ())?;
        self.counters.log_bytes += change.len() as u64;
        self.counters.head = event.revision;
        Ok(())
    }

    /// Removes what the log no longer needs, oldest first, and says how many changes went.
    pub fn trim(&mut self, trim: Trim) -> Result<usize, Fault> {
        for removed in 0..trim.steps {
            let Some((oldest, record)) = self.log.first()? else { return Ok(removed) };
            let revision = oldest.value();
            let expired = revision <= trim.up_to.max(self.counters.compacted);
            if !expired && self.counters.log_bytes <= trim.max_log_bytes {
                return Ok(removed);
            }
            let bytes = record.value().len() as u64;
            self.history.remove((format::change_key(revision, record.value())?, revision))?;
            drop((oldest, record));
            self.log.remove(revision)?;
            self.counters.log_bytes = self.counters.log_bytes.saturating_sub(bytes);
            self.counters.compacted = self.counters.compacted.max(revision);
        }
        Ok(trim.steps)
    }

    /// Stores the counters; the last thing before the commit.
    pub fn finish(mut self) -> Result<Counters, Fault> {
        for (name, number) in self.counters.rows() {
            self.meta.insert(name, number)?;
        }
        Ok(self.counters)
    }
}

impl Write {
    /// The bytes this write brings, key included.
    pub fn bytes(&self) -> usize {
        let value = if let Action::Put(value) = &self.action { value.len() } else { 0 };
        self.key.len() + value
    }
}
