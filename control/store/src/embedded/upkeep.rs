//! What an operator asks of the embedded store: what is in it, a snapshot of it, a new one from a snapshot.
//!
//! Enters: a running store, or a snapshot. Leaves: numbers, a snapshot, a store file. Reads only while the store runs;
//! called by `xebec-control store`.

use super::apply::Tables;
use super::disk::{Disk, System};
use super::fault::Fault;
use super::file;
use super::format::{self, Counters, FORMAT, META, OBJECTS};
use super::shared::blocking;
use super::{Embedded, Options};
use crate::keys::resource;
use crate::snapshot::{Header, Reader, Writer};
use crate::{Revision, StoreError};
use redb::{Database, ReadableTable, ReadableTableMetadata};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What [`Embedded::status`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// The head revision.
    pub revision: Revision,
    /// Changes up to this revision are compacted.
    pub compacted_revision: Revision,
    /// Bytes of live entries, keys included.
    pub live_bytes: u64,
    /// Bytes of the change log.
    pub log_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl Status {
    /// Bytes of the file beyond what it holds; a defragmentation gives back most of them.
    pub fn reclaimable_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.live_bytes + self.log_bytes)
    }
}

/// The entries of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// How many there are.
    pub keys: u64,
    /// Their bytes, keys included.
    pub bytes: u64,
}

impl Embedded {
    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Revision, sizes and compaction of the store as it is now.
    pub async fn status(&self) -> Result<Status, StoreError> {
        let shared = self.shared.clone();
        blocking(move || {
            let counters = shared.counters()?;
            let file_bytes = shared.disk.length(&shared.path).map_err(|error| {
                Fault::file("cannot look at", &shared.path, error).into_store(&shared.path)
            })?;
            Ok(Status {
                revision: counters.head,
                compacted_revision: counters.compacted,
                live_bytes: counters.object_bytes,
                log_bytes: counters.log_bytes,
                file_bytes,
            })
        })
        .await
    }

    /// Keys and bytes of each resource (`core/pods`, `apps/deployments`); reads every entry.
    pub async fn usage(&self) -> Result<BTreeMap<String, Usage>, StoreError> {
        let shared = self.shared.clone();
        blocking(move || {
            shared.read(|snapshot, _| {
                let mut resources: BTreeMap<String, Usage> = BTreeMap::new();
                for row in snapshot.open_table(OBJECTS)?.iter()? {
                    let (key, record) = row?;
                    let name = resource(key.value());
                    let usage = match resources.get_mut(name) {
                        Some(usage) => usage,
                        None => resources.entry(name.to_owned()).or_default(),
                    };
                    usage.keys += 1;
                    usage.bytes += (key.value().len() + record.value().len()) as u64;
                }
                Ok(resources)
            })
        })
        .await
    }

    /// Writes a snapshot of the latest revision to `sink`, while the store goes on serving.
    ///
    /// As long as it takes, the space of what is deleted meanwhile is not used again: a sink that may stand still needs a
    /// time limit of its own.
    pub async fn snapshot(&self, sink: impl Write + Send + 'static) -> Result<Header, StoreError> {
        let shared = self.shared.clone();
        blocking(move || {
            shared.read(|snapshot, counters| {
                let objects = snapshot.open_table(OBJECTS)?;
                let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let header = Header { revision: counters.head, created, entries: objects.len()? };
                let mut writer = Writer::new(sink, header)?;
                for row in objects.iter()? {
                    let (key, record) = row?;
                    writer.entry(&format::decode_entry(key.value(), record.value())?)?;
                }
                Ok(writer.finish()?.0)
            })
        })
        .await
    }

    /// Makes a store file at `target` from the snapshot file `source`; returns the new store's head.
    ///
    /// The new head is the snapshot's revision plus `bump`, and everything below it is compacted: what was written after
    /// the snapshot had revisions that clients may have seen, and they must neither be given again nor be continued from.
    /// So `bump` must exceed the number of writes that are lost (etcd's `--bump-revision` and `--mark-compacted`).
    /// Blocking. `target` must not exist and appears only once it is whole and durable; [`StoreError::Corrupt`] if the
    /// snapshot is not whole, in which case nothing is written.
    pub fn restore(
        source: impl AsRef<Path>,
        target: impl AsRef<Path>,
        bump: u64,
    ) -> Result<Revision, StoreError> {
        let (source, target) = (source.as_ref(), target.as_ref());
        if target.exists() {
            let text = format!("{} exists already; it is never overwritten", target.display());
            return Err(StoreError::Configuration(text));
        }
        let open = || {
            let opened = File::open(source);
            let unreadable =
                |error| StoreError::Configuration(format!("cannot read {}: {error}", source.display()));
            opened.map(|file| BufReader::with_capacity(1 << 20, file)).map_err(unreadable)
        };
        crate::snapshot::verify(open()?)?;
        let draft = file::beside(target, ".restore");
        let fill = || {
            System.create_directory(&file::parent(target)).map_err(|error| {
                StoreError::Configuration(format!(
                    "cannot create {}: {error}",
                    file::parent(target).display()
                ))
            })?;
            file::remove_if_present(&System, &draft)?;
            let head = fill(&draft, Reader::new(open()?)?, bump)?;
            System.rename(&draft, target).map_err(|error| Fault::file("cannot move to", target, error))?;
            file::sync_directory(&System, &file::parent(target))?;
            Ok(head)
        };
        fill().map_err(|fault: Fault| {
            let _ = System.remove(&draft);
            fault.into_store(target)
        })
    }
}

/// Writes the snapshot's entries into a new database, in bounded transactions.
fn fill(path: &Path, mut snapshot: Reader<impl std::io::Read>, bump: u64) -> Result<Revision, Fault> {
    let header = snapshot.header();
    let cache_bytes = Options::default().cache_bytes;
    let database: Database = System.database(Database::builder().set_cache_size(cache_bytes), path)?;
    let head = header.revision.checked_add(bump).ok_or_else(|| {
        StoreError::Configuration(format!("revision {} plus {bump} is too large", header.revision))
    })?;
    let mut counters = Counters { head, compacted: head, object_bytes: 0, log_bytes: 0 };
    loop {
        let transaction = database.begin_write()?;
        let mut bytes = 0;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            while bytes < file::COPY_BYTES
                && let Some(entry) = snapshot.entry()?
            {
                objects.insert(entry.key.as_str(), format::encode_entry(&entry).as_slice())?;
                bytes += format::entry_bytes(&entry.key, &entry.value);
            }
        }
        counters.object_bytes += bytes;
        if bytes < file::COPY_BYTES {
            transaction.open_table(META)?.insert("format", FORMAT)?;
            Tables::open(&transaction, counters)?.finish()?;
            transaction.commit()?;
            return Ok(head);
        }
        transaction.commit()?;
    }
}
