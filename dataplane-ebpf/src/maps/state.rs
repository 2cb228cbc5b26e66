//! The node: its addresses, its node ports, its counters.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use xebec_abi::{
    Be32, Ip6,
    state::{STATS, Stat, State},
};

use super::{F_MMAPABLE, F_NO_PREALLOC};

#[map]
pub static STATE: Array<State> = Array::with_max_entries(1, F_MMAPABLE);
#[map]
pub static NODE_IPS4: HashMap<Be32, u32> = HashMap::with_max_entries(1024, F_NO_PREALLOC);
#[map]
pub static NODE_IPS6: HashMap<Ip6, u32> = HashMap::with_max_entries(1024, F_NO_PREALLOC);
#[map]
static STAT: PerCpuArray<u64> = PerCpuArray::with_max_entries(STATS, 0);

/// Cookie of the host's network namespace, set at load.
#[unsafe(no_mangle)]
pub static HOST_NETNS: Global<u64> = Global::new(0);

/// Adds one to a counter.
#[inline(always)]
pub fn count(stat: Stat) {
    if let Some(value) = STAT.get_ptr_mut(stat as u32) {
        // SAFETY: this CPU's own copy; an increment lost to a preempting program is a statistic's error only.
        unsafe { *value += 1 };
    }
}

/// Whether a port (host order) may be a node port.
#[inline(always)]
pub fn maybe_node_port(port: u16) -> bool {
    let Some(state) = STATE.get_ptr(0) else { return false };
    // SAFETY: the map's own memory; user space replaces the word by one aligned store.
    let range = unsafe { core::ptr::read_volatile(&raw const (*state).node_ports) };
    range != 0 && port >= range as u16 && port <= (range >> 16) as u16
}
