//! The node: its addresses, its node ports, its counters.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use xebec_abi::{
    Be32, Ip6,
    state::{HAS_PACKET_PODS, MAX_RANGES, Range, Ranges, STATS, Stat, State},
};

use super::{F_MMAPABLE, F_NO_PREALLOC};

#[map]
pub static STATE: Array<State> = Array::with_max_entries(1, F_MMAPABLE);
#[map]
static RANGES: Array<Ranges> = Array::with_max_entries(1, F_MMAPABLE);
#[map]
pub static NODE_IPS4: HashMap<Be32, u32> = HashMap::with_max_entries(1024, F_NO_PREALLOC);
#[map]
pub static NODE_IPS6: HashMap<Ip6, u32> = HashMap::with_max_entries(1024, F_NO_PREALLOC);
#[map]
static STAT: PerCpuArray<u64> = PerCpuArray::with_max_entries(STATS, 0);

/// Cookie of the host's network namespace, set at load.
#[unsafe(no_mangle)]
pub static HOST_NETNS: Global<u64> = Global::new(0);

/// 1 where the kernel tells which connection a path of multipath TCP is of (5.19); set at load.
#[unsafe(no_mangle)]
pub static MPTCP_KNOWN: Global<u8> = Global::new(0);

/// Adds one to a counter.
#[inline(always)]
pub fn count(stat: Stat) {
    if let Some(value) = STAT.get_ptr_mut(stat as u32) {
        // SAFETY: this CPU's own copy; an increment lost to a preempting program is a statistic's error only.
        unsafe { *value += 1 };
    }
}

/// Whether there are pods that are served packet by packet, whose sockets are left alone.
#[inline(always)]
pub fn has_packet_pods() -> bool {
    // SAFETY: as in `node_ports`.
    let word = |state: *const State| unsafe { core::ptr::read_volatile(&raw const (*state).ranges) };
    STATE.get_ptr(0).is_some_and(|state| word(state) & HAS_PACKET_PODS != 0)
}

/// Which ports (host order) may be the node's.
#[derive(Clone, Copy)]
pub struct NodePorts(u64);

/// As user space has written it last.
#[inline(always)]
pub fn node_ports() -> NodePorts {
    // SAFETY: the map's own memory; user space replaces the word by one aligned store.
    let word = |state: *const State| unsafe { core::ptr::read_volatile(&raw const (*state).node_ports) };
    NodePorts(STATE.get_ptr(0).map_or(0, word))
}

impl NodePorts {
    /// Whether a port may be a Service's node port.
    #[inline(always)]
    pub fn maybe_service(self, port: u16) -> bool {
        Self::within(self.0 as u32, port)
    }

    /// Whether a port may be a pod's hostPort.
    #[inline(always)]
    pub fn maybe_host(self, port: u16) -> bool {
        Self::within((self.0 >> 32) as u32, port)
    }

    #[inline(always)]
    fn within(range: u32, port: u16) -> bool {
        range != 0 && port >= range as u16 && port <= (range >> 16) as u16
    }
}

/// The networks that ClusterIPs are from, and how many there are of IPv4 (`shift` 0) or IPv6 (8); `None` for none.
#[inline(always)]
fn ranges(shift: u32) -> Option<(*const Ranges, usize)> {
    let state = STATE.get_ptr(0)?;
    // SAFETY: as in `node_ports`.
    let count = (unsafe { core::ptr::read_volatile(&raw const (*state).ranges) } >> shift) as u8;
    if count == 0 { None } else { Some((RANGES.get_ptr(0)?, count as usize)) }
}

/// Whether one of the first `count` of a family's networks has what `inside` says.
#[inline(always)]
fn any<A: Copy>(first: *const Range<A>, count: usize, inside: impl Fn(&Range<A>) -> bool) -> bool {
    let mut i = 0;
    while i < MAX_RANGES && i < count {
        // SAFETY: inside the array, as `i` is below its length.
        if inside(unsafe { &*first.add(i) }) {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether ClusterIPs are from where an address is.
#[inline(always)]
pub fn in_ranges4(addr: Be32) -> bool {
    let Some((ranges, count)) = ranges(0) else { return false };
    // SAFETY: the map's own memory, which user space writes only while the count is zero.
    any(unsafe { &raw const (*ranges).v4 }.cast(), count, |range: &Range<Be32>| {
        addr.0 & range.mask.0 == range.addr.0
    })
}

/// As [`in_ranges4`].
#[inline(always)]
pub fn in_ranges6(addr: Ip6) -> bool {
    let Some((ranges, count)) = ranges(8) else { return false };
    // SAFETY: as in `in_ranges4`.
    any(unsafe { &raw const (*ranges).v6 }.cast(), count, |range: &Range<Ip6>| {
        let (a, m, r) = (addr.0, range.mask.0, range.addr.0);
        let off = |i: usize| (a[i] & m[i]) ^ r[i];
        off(0) | off(1) | off(2) | off(3) == 0
    })
}
