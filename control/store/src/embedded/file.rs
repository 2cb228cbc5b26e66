//! The database file: opening and checking it, copying a snapshot into a fresh one, moving that into place.
//!
//! Enters: paths and snapshots. Leaves: databases whose tables exist and whose counters are known. Blocking; called
//! by the writer thread, by `open` and by `backup`.

use super::apply::Tables;
use super::fault::Fault;
use super::format::{Counters, FORMAT, LOG, META, OBJECTS};
use crate::StoreError;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// A copy commits after this many bytes, so that its memory is bounded.
const COPY_BYTES: usize = 8 << 20;

/// Opens the file, or makes an empty store in a new one, and returns it with its counters.
///
/// After a crash redb verifies and repairs the file first, which reads all of it.
pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<(Database, Counters), Fault> {
    let directory = parent(path);
    fs::create_dir_all(&directory).map_err(|error| {
        StoreError::Configuration(format!("cannot create {}: {error}", directory.display()))
    })?;
    // redb trusts a file that was closed cleanly; if it was damaged since, it may panic instead of failing.
    let opened = panic::catch_unwind(AssertUnwindSafe(|| {
        let database = Database::builder().set_cache_size(cache_bytes).create(path)?;
        let counters = initialise(&database)?;
        Ok::<_, Fault>((database, counters))
    }));
    let (database, counters) = match opened {
        Ok(result) => result.map_err(|fault| refusal(path, fault))?,
        Err(_) => return Err(StoreError::Corrupt(format!("{} is damaged", path.display())).into()),
    };
    sync_directory(&directory)?;
    Ok((database, counters))
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
    fault
}

fn initialise(database: &Database) -> Result<Counters, Fault> {
    if let Some(counters) = stored_counters(&database.begin_read()?)? {
        return Ok(counters);
    }
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    let counters = Tables::open(&transaction, Counters::EMPTY)?.finish()?;
    transaction.commit()?;
    Ok(counters)
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
    snapshot: &ReadTransaction,
    target: &Path,
    cache_bytes: usize,
) -> Result<(Database, Counters), Fault> {
    remove_if_present(target)?;
    let mut counters =
        stored_counters(snapshot)?.ok_or_else(|| StoreError::Corrupt("no counters".to_owned()))?;
    let database = Database::builder().set_cache_size(cache_bytes).create(target)?;
    let (objects, log) = (snapshot.open_table(OBJECTS)?, snapshot.open_table(LOG)?);
    let mut rows = objects.iter()?;
    while copy_chunk(&database, |copy| Ok(copy.open_table(OBJECTS)?), &mut rows)? > 0 {}
    let mut rows = log.range(counters.compacted + 1..)?;
    counters.log_bytes = 0;
    loop {
        let bytes = copy_chunk(&database, |copy| Ok(copy.open_table(LOG)?), &mut rows)?;
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

/// Copies one bounded chunk and returns the bytes of its records; 0 only when there is nothing left.
fn copy_chunk<K, T>(
    database: &Database,
    open: T,
    rows: &mut redb::Range<'_, K, &'static [u8]>,
) -> Result<u64, Fault>
where
    K: redb::Key + 'static,
    T: for<'t> Fn(&'t redb::WriteTransaction) -> Result<redb::Table<'t, K, &'static [u8]>, Fault>,
{
    let transaction = database.begin_write()?;
    let mut copied = 0;
    {
        let mut table = open(&transaction)?;
        let mut bytes = 0;
        for row in rows {
            let (key, value) = row?;
            table.insert(key.value(), value.value())?;
            copied += value.value().len() as u64;
            bytes += value.value().len() + 64;
            if bytes > COPY_BYTES {
                break;
            }
        }
    }
    transaction.commit()?;
    Ok(copied)
}

/// Moves `from` over `to` durably.
pub(super) fn replace(from: &Path, to: &Path) -> Result<(), Fault> {
    fs::rename(from, to).map_err(|error| Fault::file("cannot move a copy to", to, error))?;
    sync_directory(&parent(to))
}

/// Makes the directory's entries durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), Fault> {
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .map_err(|error| Fault::file("cannot sync", directory, error))
}

/// Removes a file that may not exist.
pub(super) fn remove_if_present(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
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
