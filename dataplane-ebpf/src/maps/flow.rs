//! Flows from outside, and what the packet programs need to know.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie},
};
use xebec_abi::{
    AffinityValue, Ip6,
    flow::{ClientKey, Device, Flow, FlowKey, FragmentKey, PACKET_STATS, PacketStat, SourceKey},
};

use super::F_NO_PREALLOC;

/// Flows that were answered: nothing evicts them but user space.
#[map]
pub static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(262_144, F_NO_PREALLOC);
/// Flows on probation, until they are answered: a flood of first packets evicts only its like.
#[map]
pub static FLOWS_NEW: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(32_768, 0);
/// Source and destination port of fragmented packets, from their first fragment.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, u32> = LruHashMap::with_max_entries(8_192, 0);
/// As AFF, for clients outside.
#[map]
pub static AFF_CLIENTS: LruHashMap<ClientKey, AffinityValue> = LruHashMap::with_max_entries(32_768, 0);
/// loadBalancerSourceRanges.
#[map]
static SRC_LPM: LpmTrie<SourceKey, u32> = LpmTrie::with_max_entries(65_536, F_NO_PREALLOC);
/// The addresses of frontends, IPv4 in mapped form: what no kernel would answer for.
#[map]
pub static VIPS: HashMap<Ip6, u32> = HashMap::with_max_entries(131_072, F_NO_PREALLOC);
/// By interface index.
#[map]
pub static DEVICES: HashMap<u32, Device> = HashMap::with_max_entries(256, F_NO_PREALLOC);
/// The hardware addresses of devices whose driver runs the programs, in the first six bytes, by interface index.
#[map]
pub static WIRES: HashMap<u32, [u8; 8]> = HashMap::with_max_entries(256, F_NO_PREALLOC);
#[map]
static PACKETS: PerCpuArray<u64> = PerCpuArray::with_max_entries(PACKET_STATS, 0);
/// Where a flow is put together: too large for the stack beside its keys.
#[map]
static DRAFT: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);

/// Bits of [`SourceKey`].
const SOURCE_BITS: u32 = 160;

/// Whether an address is in one of the networks listed under an index.
#[inline(always)]
pub fn is_listed(index: u32, addr: Ip6) -> bool {
    let source = SourceKey { index: index.to_be_bytes(), addr: addr.octets() };
    SRC_LPM.get(lpm_trie::Key::new(SOURCE_BITS, source)).is_some()
}

/// Adds one to a counter.
#[inline(always)]
pub fn count(stat: PacketStat) {
    if let Some(value) = PACKETS.get_ptr_mut(stat as u32) {
        // SAFETY: this CPU's own copy, as in `state::count`.
        unsafe { *value += 1 };
    }
}

/// This CPU's draft; no other program of ours runs on this CPU until this one is done.
#[inline(always)]
pub fn draft() -> Option<*mut Flow> {
    DRAFT.get_ptr_mut(0)
}
