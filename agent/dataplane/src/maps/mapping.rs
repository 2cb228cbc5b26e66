//! The memory of a BPF_F_MMAPABLE array, as 64-bit words. Every store here is one the programs see whole.
//!
//! The kernel counts every page of a mapping as this process's from the start, so only those windows of an array are mapped
//! that have been asked for: arrays are made for the most endpoints there may be, and are given out from their beginning.
#![expect(unsafe_code, reason = "mmap of map memory")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::MapError;

/// Bytes of a window, whole pages. The largest arrays take some eight thousand of the 65,530 mappings a process may have.
const WINDOW: usize = 128 << 10;
const WINDOW_WORDS: usize = WINDOW / 8;

/// One array of `len` values of `words` words each, mapped as far as it was asked for.
#[derive(Debug)]
pub(crate) struct Mapping {
    name: &'static str,
    map: OwnedFd,
    windows: Box<[OnceLock<Window>]>,
    bytes: usize,
    len: u32,
    words: u32,
}

/// A mapped part of an array.
#[derive(Debug)]
struct Window {
    memory: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the memory is shared with the kernel for the life of the mapping and only touched by atomic words.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    fn new(map: &OwnedFd, offset: usize, bytes: usize) -> io::Result<Self> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let memory =
            unsafe { mmap(std::ptr::null_mut(), bytes, prot, MapFlags::SHARED, map, offset as u64)? };
        let memory = NonNull::new(memory.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { memory, bytes })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nothing points into any more.
        let _ = unsafe { munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}

impl Mapping {
    /// An array whose values are `words` words long.
    ///
    /// # Errors
    /// The array cannot be mapped; later the kernel may still be out of memory for more of it.
    pub(crate) fn new(name: &'static str, map: &MapData, len: u32, words: u32) -> Result<Self, MapError> {
        Self::of(name, map.fd().as_fd().try_clone_to_owned(), len, words)
    }

    /// The same array once more: what only one reader looks through is not mapped for longer than that.
    ///
    /// # Errors
    /// As [`Mapping::new`].
    pub(crate) fn again(&self) -> Result<Self, MapError> {
        Self::of(self.name, self.map.try_clone(), self.len, self.words)
    }

    fn of(name: &'static str, map: io::Result<OwnedFd>, len: u32, words: u32) -> Result<Self, MapError> {
        let map = map.map_err(|source| MapError::Mmap { map: name, source })?;
        let bytes = (len as usize * words as usize * 8).next_multiple_of(rustix::param::page_size());
        let windows = (0..bytes.div_ceil(WINDOW)).map(|_| OnceLock::new()).collect();
        let mapping = Self { name, map, windows, bytes, len, words };
        mapping.word(0, 0)?;
        Ok(mapping)
    }

    fn window(&self, at: usize) -> Result<&Window, MapError> {
        let cell = &self.windows[at];
        if let Some(window) = cell.get() {
            return Ok(window);
        }
        let offset = at * WINDOW;
        let new = Window::new(&self.map, offset, WINDOW.min(self.bytes - offset))
            .map_err(|source| MapError::Mmap { map: self.name, source })?;
        // Another thread's may have come first, and then this one goes.
        Ok(cell.get_or_init(|| new))
    }

    fn word(&self, index: u32, word: u32) -> Result<&AtomicU64, MapError> {
        if index >= self.len || word >= self.words {
            return Err(MapError::Outside { map: self.name, index, len: self.len });
        }
        let at = index as usize * self.words as usize + word as usize;
        let window = self.window(at / WINDOW_WORDS)?;
        // SAFETY: inside the window, as the index is inside the array; aligned, as a window starts on a page.
        Ok(unsafe { window.memory.add(at % WINDOW_WORDS).as_ref() })
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

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    #[test]
    fn only_what_is_asked_for_is_mapped() {
        let memory = memfd_create("array", MemfdFlags::CLOEXEC).unwrap();
        let (words, per_window) = (40, WINDOW as u32 / 320);
        let len = per_window * 4 + 7;
        ftruncate(&memory, u64::from(len) * 320).unwrap();
        let mapping = Mapping::of("array", Ok(memory), len, words).unwrap();
        let mapped = || mapping.windows.iter().filter(|window| window.get().is_some()).count();
        assert_eq!((mapping.windows.len(), mapped()), (5, 1));
        // The value at a window's end goes on in the next.
        let values: Vec<u64> = (1..=40).collect();
        mapping.fill(per_window, &values).unwrap();
        assert_eq!((mapping.value::<40>(per_window).unwrap().as_slice(), mapped()), (&values[..], 2));
        mapping.publish(len - 1, 39, 5).unwrap();
        assert_eq!(mapped(), 3);
        let again = mapping.again().unwrap();
        assert_eq!((again.load(len - 1, 39).unwrap(), again.load(per_window, 39).unwrap()), (5, 40));
        assert_eq!(mapped(), 3);
        assert!(matches!(mapping.load(len, 0), Err(MapError::Outside { .. })));
    }
}
