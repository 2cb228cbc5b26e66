//! Frontends, services, slots. The loader may override the sizes.

use aya_ebpf::{
    Global,
    helpers::generated::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, HashMap},
};
use xebec_abi::frontend::{Bucket, KEY, PLACES, REACH, home, reach, word};
use xebec_abi::service::{FeKey4, FeKey6, Meta, Sel, Slot4, Slot6, row_entry, row_place};

use super::{F_MMAPABLE, F_NO_PREALLOC};

/// See [`frontend4`].
#[map]
static FE4: Array<Bucket> = Array::with_max_entries(1024, F_MMAPABLE);
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

/// Homes in FE4, set at load.
#[unsafe(no_mangle)]
pub static FE4_HOMES: Global<u32> = Global::new(1024 - REACH);
/// Salt of FE4, set at load.
#[unsafe(no_mangle)]
pub static FE4_SALT: Global<u32> = Global::new(0);

/// What a frontend's key has in FE4; the value may be another key's, and callers compare the tag.
#[inline(always)]
pub fn frontend4(key: &FeKey4) -> Option<u64> {
    let word = word(key);
    let at = home(word, FE4_SALT.load(), FE4_HOMES.load());
    match value(at, word) {
        Ok(value) => Some(value),
        Err(0) => None,
        Err(reach) => match xebec_frontend_beyond(word, at, reach) {
            0 => None,
            value => Some(value),
        },
    }
}

/// The value of a key in a bucket, or how far the bucket reaches.
#[inline(always)]
fn value(at: u32, key: u64) -> Result<u64, u32> {
    let Some(bucket) = FE4.get_ptr(at) else { return Err(0) };
    // SAFETY: aligned words of the map's own memory, replaced by user space one by one.
    let read = |word: *const u64| unsafe { core::ptr::read_volatile(word) };
    // SAFETY: inside the bucket.
    let (keys, values) = unsafe { (&raw const (*bucket).keys, &raw const (*bucket).values) };
    let first = read(keys.cast());
    if first & KEY == key {
        return Ok(read(values.cast()));
    }
    let mut place = 1;
    while place < PLACES as usize {
        // SAFETY: as above.
        if read(unsafe { keys.cast::<u64>().add(place) }) == key {
            // SAFETY: as above.
            return Ok(read(unsafe { values.cast::<u64>().add(place) }));
        }
        place += 1;
    }
    Err(reach(first))
}

/// The value of a key that is in none of its home's places; zero if it is in none of the buckets after it. Rare, and a
/// function of its own, which the verifier goes through once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn xebec_frontend_beyond(key: u64, home: u32, reach: u32) -> u64 {
    let mut distance = 1;
    while distance <= REACH {
        if distance > reach {
            break;
        }
        if let Ok(value) = value(home.wrapping_add(distance), key) {
            return value;
        }
        distance += 1;
    }
    0
}

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
