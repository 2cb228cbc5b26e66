//! Backend liveness.

use aya_ebpf::{macros::map, maps::Array};

use super::F_MMAPABLE;

#[map]
pub static BE_STATE: Array<u64> = Array::with_max_entries(1024, F_MMAPABLE);

/// The state word of a backend id; `None` outside the map.
#[inline(always)]
pub fn state(backend: u32) -> Option<u64> {
    // SAFETY: the map's own memory; user space replaces the word by one aligned store.
    BE_STATE.get_ptr(backend).map(|p| unsafe { core::ptr::read_volatile(p) })
}
