//! Frontends, services, slots. The loader may override the sizes.

use aya_ebpf::{
    Global,
    helpers::generated::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, HashMap},
};
use xebec_abi::service::{FeKey4, FeKey6, Meta, Sel, Slot4, Slot6, row_entry, row_place};

use super::{F_MMAPABLE, F_NO_PREALLOC};

#[map]
pub static FE4: HashMap<FeKey4, u64> = HashMap::with_max_entries(262_144, F_NO_PREALLOC);
#[map]
pub static FE6: HashMap<FeKey6, u64> = HashMap::with_max_entries(262_144, F_NO_PREALLOC);
#[map]
pub static META: Array<Meta> = Array::with_max_entries(1024, F_MMAPABLE);
#[map]
pub static SLOT4: Array<Slot4> = Array::with_max_entries(1024, F_MMAPABLE);
#[map]
pub static SLOT6: Array<Slot6> = Array::with_max_entries(1024, F_MMAPABLE);
/// Maglev rows: each entry is the offset of a slot from the base of the selection that the row was made for.
#[map]
static LUT: Array<u64> = Array::with_max_entries(1024, F_MMAPABLE);
/// Connections and datagram flows given an endpoint, by `shard * SERVICES + index`: each CPU has a shard, so that none
/// waits for another's memory.
#[map]
static SERVED: Array<u64> = Array::with_max_entries(1024, F_MMAPABLE);

/// Entries of META, set at load.
#[unsafe(no_mangle)]
pub static SERVICES: Global<u32> = Global::new(1024);
/// Number of shards less one; a power of two less one, set at load.
#[unsafe(no_mangle)]
pub static SHARD_MASK: Global<u32> = Global::new(0);

/// What a row has for a client's hash; `None` outside the map.
#[inline(always)]
pub fn row_offset(row: Sel, hash: u32) -> Option<u32> {
    let (element, shift) = row_place(row_entry(hash, row.count()));
    let word = LUT.get_ptr(row.base().wrapping_add(element))?;
    // SAFETY: one aligned word of the map's memory.
    let word = unsafe { core::ptr::read_volatile(word) };
    Some((word >> shift) as u16 as u32)
}

/// Counts one connection or datagram flow of a service.
#[inline(always)]
pub fn served(index: u32) {
    // SAFETY: a helper without arguments.
    let shard = unsafe { bpf_get_smp_processor_id() } & SHARD_MASK.load();
    if let Some(value) = SERVED.get_ptr_mut(shard.wrapping_mul(SERVICES.load()).wrapping_add(index)) {
        // SAFETY: this CPU's own word, as in `state::count`.
        unsafe { *value += 1 };
    }
}
