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

/// Set at load, another number on each node.
#[unsafe(no_mangle)]
pub static SEED: Global<u32> = Global::new(0);

/// Where this CPU counts a service's.
#[inline(always)]
fn place(index: u32) -> u32 {
    // SAFETY: a helper without arguments.
    let shard = unsafe { bpf_get_smp_processor_id() } & SHARD_MASK.load();
    shard.wrapping_mul(SERVICES.load()).wrapping_add(index)
}

/// Counts one connection or datagram flow of a service.
#[inline(always)]
pub fn served(index: u32) {
    if let Some(value) = SERVED.get_ptr_mut(place(index)) {
        // SAFETY: this CPU's own word, as in `state::count`.
        unsafe { *value += 1 };
    }
}

/// A number that is another one with every connection of a service, and goes through others on other CPUs and nodes.
#[inline(always)]
pub fn turn(index: u32) -> u32 {
    let place = place(index);
    // SAFETY: as in `served`.
    let count = SERVED.get_ptr(place).map_or(0, |value| unsafe { *value } as u32);
    place.wrapping_mul(0x9e37_79b1).wrapping_add(SEED.load()).wrapping_add(count)
}
