//! The disk as the engine uses it: one small trait, so that a test can stand in for it and cut every write.
//!
//! Enters: paths. Leaves: databases on files, and the few operations on names that a rewrite needs. Called by `file`,
//! `rewrite` and `writer`; the other implementation is `simulated` (tests).

use redb::{Builder, Database, DatabaseError};
use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Files and their names.
pub(super) trait Disk: Debug + Send + Sync + 'static {
    /// Opens the database in a file, creating both where missing; the file is locked while it is open.
    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError>;
    /// The file's length in bytes.
    fn length(&self, path: &Path) -> io::Result<u64>;
    /// Whether there is such a name.
    fn exists(&self, path: &Path) -> bool {
        self.length(path).is_ok()
    }
    /// Bytes that can still be written to the disk of `path`; none where that is not known.
    fn free(&self, path: &Path) -> Option<u64>;
    /// Gives a file another name, whose former file is gone; one step or none.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(super) struct System;

impl Disk for System {
    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        builder.create(path)
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|metadata| metadata.len())
    }

    fn free(&self, path: &Path) -> Option<u64> {
        let room = rustix::fs::statvfs(path).ok()?;
        Some(room.f_bavail.saturating_mul(room.f_frsize))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}
