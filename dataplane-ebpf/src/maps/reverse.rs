//! Translations kept with the socket.

use aya_ebpf::{btf_maps::SkStorage, macros::btf_map, macros::map, maps::LruHashMap};
use xebec_abi::reverse::{OverflowKey, OverflowValue, Ring4, Ring6};

#[btf_map]
pub static REV4: SkStorage<Ring4> = SkStorage::new();
#[btf_map]
pub static REV6: SkStorage<Ring6> = SkStorage::new();
#[map]
pub static OVERFLOW: LruHashMap<OverflowKey, OverflowValue> = LruHashMap::with_max_entries(16_384, 0);
