//! The memory of a BPF_F_MMAPABLE array, as 64-bit words. Every store here is one the programs see whole.
#![expect(unsafe_code, reason = "mmap of map memory")]

use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::MapError;

/// One mapped array of `len` values of `words` words each.
#[derive(Debug)]
pub(crate) struct Mapping {
    name: &'static str,
    memory: NonNull<AtomicU64>,
    bytes: usize,
    len: u32,
    words: u32,
}

// SAFETY: the memory is shared with the kernel for the life of the mapping and only touched by atomic words.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps an array whose values are `words` words long.
    pub(crate) fn new(name: &'static str, map: &MapData, len: u32, words: u32) -> Result<Self, MapError> {
        let fail = |source: rustix::io::Errno| MapError::Mmap { map: name, source: source.into() };
        let bytes = (len as usize * words as usize * 8).next_multiple_of(rustix::param::page_size());
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let memory =
            unsafe { mmap(std::ptr::null_mut(), bytes, prot, MapFlags::SHARED, map.fd().as_fd(), 0) };
        let memory =
            NonNull::new(memory.map_err(fail)?.cast()).ok_or_else(|| fail(rustix::io::Errno::NOMEM))?;
        Ok(Self { name, memory, bytes, len, words })
    }

    fn word(&self, index: u32, word: u32) -> Result<&AtomicU64, MapError> {
        if index >= self.len || word >= self.words {
            return Err(MapError::Outside { map: self.name, index, len: self.len });
        }
        // SAFETY: inside the mapping, as just checked; aligned, as the mapping starts on a page.
        Ok(unsafe { self.memory.add((index * self.words) as usize + word as usize).as_ref() })
    }

    /// Stores one word; everything stored before is visible to whoever reads it.
    pub(crate) fn publish(&self, index: u32, word: u32, value: u64) -> Result<(), MapError> {
        self.word(index, word)?.store(value, Ordering::Release);
        Ok(())
    }

    /// Replaces one word if it is still `old`; whether it was.
    pub(crate) fn exchange(&self, index: u32, word: u32, old: u64, new: u64) -> Result<bool, MapError> {
        let word = self.word(index, word)?;
        Ok(word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }

    /// Stores a whole value that nobody reads yet.
    pub(crate) fn fill(&self, index: u32, values: &[u64]) -> Result<(), MapError> {
        for (word, value) in (0..).zip(values) {
            self.word(index, word)?.store(*value, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Loads one word.
    pub(crate) fn load(&self, index: u32, word: u32) -> Result<u64, MapError> {
        Ok(self.word(index, word)?.load(Ordering::Acquire))
    }

    /// Loads a whole value.
    pub(crate) fn value<const WORDS: usize>(&self, index: u32) -> Result<[u64; WORDS], MapError> {
        let mut out = [0; WORDS];
        for (word, value) in (0..).zip(&mut out) {
            *value = self.load(index, word)?;
        }
        Ok(out)
    }

    /// Number of values.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nothing points into any more.
        let _ = unsafe { munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}
