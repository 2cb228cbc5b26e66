//! Events, and whether anybody watches.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use xebec_abi::event::{EVENT_STATS, EVENTS_BYTES, EventStat, Gate, Watch};

use super::F_MMAPABLE;

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
#[map]
pub static WATCH: Array<Watch> = Array::with_max_entries(1, F_MMAPABLE);
#[map]
pub static WATCH_GATE: Array<Gate> = Array::with_max_entries(1, 0);
#[map]
static EVENT_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(EVENT_STATS, 0);

/// Whether the kernel tells cgroup programs which process calls (6.1), set at load.
#[unsafe(no_mangle)]
pub static PROCESS_KNOWN: Global<u8> = Global::new(0);

/// Adds one to a counter, exactly: a packet may come in while a socket's program counts.
#[inline(always)]
pub fn count(stat: EventStat) {
    if let Some(value) = EVENT_COUNTS.get_ptr_mut(stat as u32) {
        // SAFETY: this CPU's own copy, an aligned word.
        unsafe { add_one(value) };
    }
}

/// Adds one in a single step. The compiler has no such operation for this target: its atomics must be able to exchange,
/// too.
///
/// # Safety
/// `word` points to an aligned word of a map's memory.
#[inline(always)]
pub unsafe fn add_one(word: *mut u64) {
    // SAFETY: by this function's contract; an aligned word, added to atomically (BPF_ATOMIC | BPF_ADD).
    unsafe {
        core::arch::asm!("lock *(u64 *)({word} + 0) += {one}", word = in(reg) word, one = in(reg) 1_u64)
    };
}
