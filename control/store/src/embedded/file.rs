//! The database file: opening and checking it, copying a snapshot into a fresh one, moving that into place.
//!
//! Enters: paths and snapshots. Leaves: databases whose tables exist and whose counters are known. Blocking; called
//! by the writer thread, by `open` and by restoring.

use super::apply::Tables;
use super::disk::Disk;
use super::fault::Fault;
use super::format::{self, Counters, FORMAT, FORMAT_WITHOUT_HISTORY, HISTORY, LOG, META, OBJECTS};
use crate::StoreError;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use std::ffi::OsString;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// A copy commits after this many bytes, so that its memory is bounded.
pub(super) const COPY_BYTES: u64 = 8 << 20;

/// Opens the file, or makes an empty store in a new one, and returns it with its counters.
///
/// After a crash redb verifies and repairs the file first, which reads all of it.
pub(super) fn open(disk: &dyn Disk, path: &Path, cache_bytes: usize) -> Result<(Database, Counters), Fault> {
    let directory = parent(path);
    disk.create_directory(&directory).map_err(|error| {
        StoreError::Configuration(format!("cannot create {}: {error}", directory.display()))
    })?;
    if disk.exists(path) {
        let opened = checked(disk, path, cache_bytes)?;
        sync_directory(disk, &directory)?;
        return Ok(opened);
    }
    // A file gets its name once there is a whole store in it: a crash while the first one is made must not leave one that
    // cannot be opened. A draft that such a crash left is of no use to anybody.
    let draft = beside(path, ".new");
    let opened = match checked(disk, &draft, cache_bytes) {
        Err(Fault::Store(StoreError::Corrupt(_))) => {
            remove_if_present(disk, &draft)?;
            checked(disk, &draft, cache_bytes)?
        }
        opened => opened?,
    };
    disk.rename(&draft, path).map_err(|error| Fault::file("cannot move the new store to", path, error))?;
    sync_directory(disk, &directory)?;
    Ok(opened)
}

/// Opens a file and reads its counters, or makes it an empty store.
fn checked(disk: &dyn Disk, path: &Path, cache_bytes: usize) -> Result<(Database, Counters), Fault> {
    // redb trusts a file that was closed cleanly; if it was damaged since, it may panic instead of failing.
    let opened = panic::catch_unwind(AssertUnwindSafe(|| {
        let database = disk.database(Database::builder().set_cache_size(cache_bytes), path)?;
        let counters = initialise(&database)?;
        Ok::<_, Fault>((database, counters))
    }));
    match opened {
        Ok(result) => result.map_err(|fault| refusal(path, fault)),
        Err(_) => Err(StoreError::Corrupt(format!("{} is damaged", path.display())).into()),
    }
}

/// A file that cannot be opened at all is a matter of configuration, not of waiting.
fn refusal(path: &Path, fault: Fault) -> Fault {
    if let Fault::Engine(error) = &fault
        && let redb::Error::Io(error) = &**error
        && matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory | io::ErrorKind::ReadOnlyFilesystem
        )
    {
        return StoreError::Configuration(format!("cannot open {}: {error}", path.display())).into();
    }
    fault.into_store(path).into()
}

fn initialise(database: &Database) -> Result<Counters, Fault> {
    let snapshot = database.begin_read()?;
    if stored_format(&snapshot)? == Some(FORMAT_WITHOUT_HISTORY) {
        return take_over(database);
    }
    if let Some(counters) = stored_counters(&snapshot)? {
        return Ok(counters);
    }
    drop(snapshot);
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    let counters = Tables::open(&transaction, Counters::EMPTY)?.finish()?;
    transaction.commit()?;
    Ok(counters)
}

/// Brings a file without history to the present layout: its objects stay, its log is compacted away, so that clients
/// list once more and nothing is lost.
fn take_over(database: &Database) -> Result<Counters, Fault> {
    let transaction = database.begin_write()?;
    let number = |name: &str| -> Result<u64, Fault> {
        let row = transaction.open_table(META)?.get(name)?.map(|number| number.value());
        row.ok_or_else(|| StoreError::Corrupt(format!("the counter {name} is missing")).into())
    };
    let (head, object_bytes) = (number("head")?, number("object_bytes")?);
    transaction.delete_table(LOG)?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    let counters = Counters { head, compacted: head, object_bytes, log_bytes: 0 };
    let counters = Tables::open(&transaction, counters)?.finish()?;
    transaction.commit()?;
    tracing::info!(revision = head, "the store's file was brought to layout {FORMAT}");
    Ok(counters)
}

fn stored_format(snapshot: &ReadTransaction) -> Result<Option<u64>, Fault> {
    match snapshot.open_table(META) {
        Ok(meta) => Ok(meta.get("format")?.map(|number| number.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The counters of a snapshot; none if the file was never initialised.
pub(super) fn stored_counters(snapshot: &ReadTransaction) -> Result<Option<Counters>, Fault> {
    let meta = match snapshot.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let number = |name: &str| -> Result<u64, Fault> {
        let row = meta.get(name)?.map(|number| number.value());
        row.ok_or_else(|| StoreError::Corrupt(format!("the counter {name} is missing")).into())
    };
    let format = number("format")?;
    if format != FORMAT {
        let text = format!("its format is {format}, this build reads {FORMAT}");
        return Err(StoreError::Corrupt(text).into());
    }
    Ok(Some(Counters {
        head: number("head")?,
        compacted: number("compacted")?,
        object_bytes: number("object_bytes")?,
        log_bytes: number("log_bytes")?,
    }))
}

/// Copies what is live in `snapshot` (entries, and the log above compaction) into a new file at `target`, durably.
pub(super) fn copy(
    disk: &dyn Disk,
    snapshot: &ReadTransaction,
    target: &Path,
    cache_bytes: usize,
) -> Result<(Database, Counters), Fault> {
    remove_if_present(disk, target)?;
    let mut counters =
        stored_counters(snapshot)?.ok_or_else(|| StoreError::Corrupt("no counters".to_owned()))?;
    let database = disk.database(Database::builder().set_cache_size(cache_bytes), target)?;
    let (objects, log) = (snapshot.open_table(OBJECTS)?, snapshot.open_table(LOG)?);
    let mut rows = objects.iter()?;
    while copy_objects(&database, &mut rows)? > 0 {}
    let mut rows = log.range(counters.compacted + 1..)?;
    counters.log_bytes = 0;
    loop {
        let bytes = copy_log(&database, &mut rows)?;
        if bytes == 0 {
            break;
        }
        counters.log_bytes += bytes;
    }
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    Tables::open(&transaction, counters)?.finish()?;
    transaction.commit()?;
    Ok((database, counters))
}

/// Copies one bounded chunk of entries and returns the bytes of its records; 0 only when there is nothing left.
fn copy_objects(
    database: &Database,
    rows: &mut redb::Range<'_, &'static str, &'static [u8]>,
) -> Result<u64, Fault> {
    let transaction = database.begin_write()?;
    let mut copied = 0;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for row in rows {
            let (key, record) = row?;
            objects.insert(key.value(), record.value())?;
            copied += (record.value().len() + key.value().len()) as u64;
            if copied > COPY_BYTES {
                break;
            }
        }
    }
    transaction.commit()?;
    Ok(copied)
}

/// Copies one bounded chunk of changes, with their rows in the history, and returns the bytes of its records; 0 only
/// when there is nothing left.
fn copy_log(database: &Database, rows: &mut redb::Range<'_, u64, &'static [u8]>) -> Result<u64, Fault> {
    let transaction = database.begin_write()?;
    let mut copied = 0;
    {
        let (mut log, mut history) = (transaction.open_table(LOG)?, transaction.open_table(HISTORY)?);
        for row in rows {
            let (revision, record) = row?;
            let (revision, record) = (revision.value(), record.value());
            log.insert(revision, record)?;
            history.insert((format::change_key(revision, record)?, revision), ())?;
            copied += record.len() as u64;
            if copied > COPY_BYTES {
                break;
            }
        }
    }
    transaction.commit()?;
    Ok(copied)
}

/// Makes the directory's entries durable.
pub(super) fn sync_directory(disk: &dyn Disk, directory: &Path) -> Result<(), Fault> {
    disk.sync_directory(directory).map_err(|error| Fault::file("cannot sync", directory, error))
}

/// Removes a file that may not exist.
pub(super) fn remove_if_present(disk: &dyn Disk, path: &Path) -> Result<(), Fault> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::file("cannot remove", path, error))
        }
        _ => Ok(()),
    }
}

/// The directory a file is in.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// `path` with a suffix, in the same directory.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::super::disk::System;
    use super::*;
    use crate::Entry;
    use bytes::Bytes;

    /// A file as the build before wrote it: objects, a log in the old layout, no history.
    fn old_file(path: &Path) {
        let database = Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        let value = Bytes::from_static(b"kept");
        let entry = Entry { key: "/k".into(), value, create_revision: 2, mod_revision: 7 };
        transaction.open_table(OBJECTS).unwrap().insert("/k", &*format::encode_entry(&entry)).unwrap();
        transaction.open_table(LOG).unwrap().insert(7, &b"in the old layout"[..]).unwrap();
        let numbers = [
            ("format", FORMAT_WITHOUT_HISTORY),
            ("head", 7),
            ("compacted", 0),
            ("object_bytes", 22),
            ("log_bytes", 17),
        ];
        for (name, number) in numbers {
            transaction.open_table(META).unwrap().insert(name, number).unwrap();
        }
        transaction.commit().unwrap();
    }

    #[test]
    fn a_file_without_history_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        old_file(&path);
        for _ in 0..2 {
            let (database, counters) = open(&System, &path, 1 << 20).unwrap();
            assert_eq!(counters, Counters { head: 7, compacted: 7, object_bytes: 22, log_bytes: 0 });
            let snapshot = database.begin_read().unwrap();
            let objects = snapshot.open_table(OBJECTS).unwrap();
            assert_eq!(objects.get("/k").unwrap().unwrap().value()[16..], *b"kept");
            assert!(snapshot.open_table(LOG).unwrap().first().unwrap().is_none(), "clients list again");
            assert_eq!(stored_format(&snapshot).unwrap(), Some(FORMAT));
        }
    }

    #[test]
    fn a_file_of_a_later_build_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        drop(open(&System, &path, 1 << 20).unwrap());
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let Err(fault) = open(&System, &path, 1 << 20) else { panic!("a later layout is not read") };
        assert!(fault.to_string().contains("its format is 3, this build reads 2"), "{fault}");
    }
}
