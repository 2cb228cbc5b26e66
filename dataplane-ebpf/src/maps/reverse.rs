//! Translations kept with the socket.

use aya_ebpf::{
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, LruHashMap},
};
use xebec_abi::reverse::{OverflowKey, OverflowValue, PEERS, Peer4, Peer6, Ring4, Ring6};

#[btf_map]
pub static REV4: SkStorage<Ring4> = SkStorage::new();
#[btf_map]
pub static REV6: SkStorage<Ring6> = SkStorage::new();
#[map]
pub static OVERFLOW: LruHashMap<OverflowKey, OverflowValue> = LruHashMap::with_max_entries(16_384, 0);
#[map]
pub static PEERS4: Array<Peer4> = Array::with_max_entries(PEERS, 0);
#[map]
pub static PEERS6: Array<Peer6> = Array::with_max_entries(PEERS, 0);
