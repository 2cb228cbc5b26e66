//! A disk in memory that remembers every operation, so that a crash can be placed at any of them; and one that is full.
//!
//! Enters: what the engine does to files and names. Leaves: the disk as it could be found after a crash at a given
//! operation. What was synced is there; of what was written after the last sync any part may be, down to a torn write.

use super::disk::Disk;
use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, StorageBackend};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Id = u64;
/// The unit a disk writes or does not write.
const SECTOR: usize = 512;
/// The unit of a file's space.
const PAGE: u64 = 4096;

#[derive(Clone, Debug)]
enum Operation {
    Write(Id, u64, Arc<[u8]>),
    SetLength(Id, u64),
    Sync(Id),
    Create(PathBuf, Id),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDirectory,
}

/// What of the operations since the last sync a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// All of them: the process was killed, the machine goes on.
    Everything,
    /// None of them.
    Nothing,
    /// All but the last, which is cut off in its middle.
    Torn,
    /// Some of them, and of those some sectors, chosen by this number.
    Some(u64),
}

#[derive(Clone, Debug, Default)]
struct State {
    files: HashMap<Id, Vec<u8>>,
    names: BTreeMap<PathBuf, Id>,
    done: Vec<Operation>,
    next: Id,
    capacity: Option<u64>,
    tells_free: bool,
    pages: HashMap<Id, HashSet<u64>>,
}

/// The disk; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Simulated(Arc<Mutex<State>>);

#[derive(Debug)]
struct Open {
    disk: Simulated,
    id: Id,
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl State {
    /// Bytes of the pages that are written.
    fn used(&self) -> u64 {
        self.pages.values().map(|pages| pages.len() as u64 * PAGE).sum()
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(id, offset, data) => {
                let Some(file) = self.files.get_mut(id) else { return };
                let end = *offset as usize + data.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset as usize..end].copy_from_slice(data);
            }
            Operation::SetLength(id, length) => {
                if let Some(file) = self.files.get_mut(id) {
                    file.resize(*length as usize, 0);
                }
            }
            Operation::Create(path, id) => {
                self.files.insert(*id, Vec::new());
                self.names.insert(path.clone(), *id);
            }
            Operation::Rename(from, to) => {
                if let Some(id) = self.names.remove(from) {
                    self.names.insert(to.clone(), id);
                }
            }
            Operation::Remove(path) => drop(self.names.remove(path)),
            Operation::Sync(_) | Operation::SyncDirectory => {}
        }
    }

    fn perform(&mut self, operation: Operation) -> io::Result<()> {
        // Files are sparse: a length costs nothing, a written page does.
        if let (Operation::Write(id, offset, data), Some(capacity)) = (&operation, self.capacity) {
            let touched = offset / PAGE..(offset + data.len() as u64).div_ceil(PAGE);
            let owned = self.pages.entry(*id).or_default();
            let new = touched.clone().filter(|page| !owned.contains(page)).count() as u64;
            if new > 0 && self.used() + new * PAGE > capacity {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.pages.entry(*id).or_default().extend(touched);
        }
        self.apply(&operation);
        self.done.push(operation);
        Ok(())
    }
}

impl Simulated {
    /// How many operations were done.
    pub fn operations(&self) -> usize {
        self.0.lock().done.len()
    }

    /// The disk holds at most this many bytes from now on; it may or may not tell how many are left.
    pub fn set_capacity(&self, bytes: Option<u64>, tells_free: bool) {
        let mut state = self.0.lock();
        (state.capacity, state.tells_free) = (bytes, tells_free);
    }

    /// The disk as it could be after a crash when `count` operations were done; it starts to remember anew.
    pub fn after_crash(&self, base: &Self, count: usize, remains: Remains) -> Self {
        let (mut state, done) = (base.0.lock().clone(), self.0.lock().done[..count].to_vec());
        state.done.clear();
        state.next = self.0.lock().next;
        // Names are journalled in order; a file's data is durable up to its last sync.
        let names_synced = done.iter().rposition(|operation| matches!(operation, Operation::SyncDirectory));
        let synced =
            |id: &Id| done.iter().rposition(|operation| matches!(operation, Operation::Sync(of) if of == id));
        let last_write = done.iter().rposition(|operation| matches!(operation, Operation::Write(..)));
        let mut dice = Dice(match remains {
            Remains::Some(seed) => seed,
            _ => 0,
        });
        let mut names_end = false;
        for (index, operation) in done.iter().enumerate() {
            let durable = match operation {
                Operation::Write(id, ..) | Operation::SetLength(id, _) => {
                    synced(id).is_some_and(|at| index < at)
                }
                // A name that was never synced may be lost, but never before an earlier one.
                Operation::Create(..) | Operation::Rename(..) | Operation::Remove(_) => {
                    names_synced.is_some_and(|at| index < at)
                }
                Operation::Sync(_) | Operation::SyncDirectory => true,
            };
            let named =
                matches!(operation, Operation::Create(..) | Operation::Rename(..) | Operation::Remove(_));
            match (durable, remains) {
                (true, _) | (_, Remains::Everything) => state.apply(operation),
                (_, Remains::Torn) if Some(index) == last_write => state.apply(&halved(operation)),
                (_, Remains::Torn) => state.apply(operation),
                // The file itself must exist for its data to be looked at.
                (_, Remains::Nothing) => lose(&mut state, operation),
                (_, Remains::Some(_)) if named => {
                    names_end = names_end || dice.flip();
                    if names_end { lose(&mut state, operation) } else { state.apply(operation) }
                }
                (_, Remains::Some(_)) => partly(&mut state, operation, &mut dice),
            }
        }
        Self(Arc::new(Mutex::new(state)))
    }
}

/// A creation whose name is lost leaves a file without a name.
fn lose(state: &mut State, operation: &Operation) {
    if let Operation::Create(_, id) = operation {
        state.files.insert(*id, Vec::new());
    }
}

fn halved(operation: &Operation) -> Operation {
    match operation {
        Operation::Write(id, offset, data) => Operation::Write(*id, *offset, data[..data.len() / 2].into()),
        other => other.clone(),
    }
}

fn partly(state: &mut State, operation: &Operation, dice: &mut Dice) {
    match operation {
        Operation::Write(id, offset, data) => {
            for (index, sector) in data.chunks(SECTOR).enumerate() {
                if dice.flip() {
                    let at = offset + (index * SECTOR) as u64;
                    state.apply(&Operation::Write(*id, at, sector.into()));
                }
            }
        }
        other if dice.flip() => state.apply(other),
        _ => {}
    }
}

struct Dice(u64);

impl Dice {
    fn flip(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 63 == 1
    }
}

impl Disk for Simulated {
    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        let id = {
            let mut state = self.0.lock();
            match state.names.get(path) {
                Some(id) => *id,
                None => {
                    state.next += 1;
                    let id = state.next;
                    state.perform(Operation::Create(path.to_owned(), id)).map_err(redb::StorageError::Io)?;
                    id
                }
            }
        };
        builder.create_with_backend(Open { disk: self.clone(), id })
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        let id = state.names.get(path).ok_or_else(|| not_found(path))?;
        Ok(state.files[id].len() as u64)
    }

    fn free(&self, _path: &Path) -> Option<u64> {
        let state = self.0.lock();
        let capacity = state.capacity.filter(|_| state.tells_free)?;
        Some(capacity.saturating_sub(state.used()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if !state.names.contains_key(from) {
            return Err(not_found(from));
        }
        // What is replaced is closed soon, and then its space is free.
        if let Some(replaced) = state.names.get(to).copied() {
            state.pages.remove(&replaced);
        }
        state.perform(Operation::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let id = *state.names.get(path).ok_or_else(|| not_found(path))?;
        state.perform(Operation::Remove(path.to_owned()))?;
        // Nothing holds a removed draft open, so its space is free again.
        if state.capacity.is_some() {
            state.files.remove(&id);
            state.pages.remove(&id);
        }
        Ok(())
    }

    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        self.0.lock().perform(Operation::SyncDirectory)
    }
}

impl StorageBackend for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[&self.id].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock();
        let start = offset as usize;
        let found = state.files[&self.id].get(start..start + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.0.lock().perform(Operation::SetLength(self.id, length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.0.lock().perform(Operation::Sync(self.id))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.0.lock().perform(Operation::Write(self.id, offset, data.into()))
    }
}
