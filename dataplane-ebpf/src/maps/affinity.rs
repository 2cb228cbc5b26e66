//! Session affinity.

use aya_ebpf::{macros::map, maps::LruHashMap};
use xebec_abi::{AffinityKey, AffinityValue};

#[map]
pub static AFF: LruHashMap<AffinityKey, AffinityValue> = LruHashMap::with_max_entries(32_768, 0);
