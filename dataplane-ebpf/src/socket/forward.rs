//! From a VIP to an endpoint.

use aya_ebpf::{helpers::generated::bpf_ktime_get_coarse_ns, maps::LruHashMap};
use xebec_abi::{
    AffinityKey, AffinityValue, Be16, Ip6,
    backend::BackendState,
    event::Reason,
    service::{
        FeValue, KIND_CLUSTER_IP, KIND_LOAD_BALANCER, META_AFFINITY, META_INTERNAL_LOCAL, META_SOURCE_RANGES,
        Meta, SCOPE_ADDRESS, SCOPE_HOST, SCOPE_NODE, Sel,
    },
    state::{Stat, VIP_HELD},
};

use super::{
    Call,
    family::{Endpoint, Family},
    unchanged,
};
use crate::maps::{
    affinity::AFF,
    backend,
    flow::{VIPS, is_listed},
    pod::NETNS_IPS,
    service::{META, row_offset, turn},
    state::{count, node_ports},
};

/// Repetitions when a slot turns out to be another service's.
const RETRIES: u32 = 3;
const NANOSECONDS: u64 = 1_000_000_000;
const BPF_NOEXIST: u64 = 1;
const BPF_ANY: u64 = 0;

/// What a service gave.
pub enum Choice<A> {
    Endpoint(Endpoint<A>),
    Empty,
    /// Not for this client.
    Denied(Reason),
}

/// The service at an address and port: its own, or a NodePort's or a pod's hostPort if the address is the node's.
#[inline(always)]
pub fn frontend<A: Family>(call: &Call<'_>, addr: A, port: Be16, proto: u8) -> Option<FeValue> {
    if let Some(value) = tagged::<A>(addr, port, proto, SCOPE_ADDRESS) {
        return Some(value);
    }
    let ports = node_ports();
    if ports.maybe_service(port.host()) && addr.is_node(call) {
        if let Some(value) = tagged::<A>(A::ANY, port, proto, SCOPE_NODE) {
            return Some(value);
        }
    }
    if ports.maybe_host(port.host()) && addr.is_host(call) {
        return host_port(addr, port, proto);
    }
    None
}

/// The pod's at a port of the node: at this address, or at all.
#[inline(always)]
pub fn host_port<A: Family>(addr: A, port: Be16, proto: u8) -> Option<FeValue> {
    match tagged::<A>(addr, port, proto, SCOPE_HOST) {
        None => tagged::<A>(A::ANY, port, proto, SCOPE_HOST),
        value => value,
    }
}

/// What an address without a frontend at the port is.
pub enum Vacancy {
    /// Nothing of ours: whoever has it answers.
    Elsewhere,
    /// A ClusterIP, which has other ports.
    NoPort,
    /// From where ClusterIPs are, and no Service has it.
    Unallocated,
}

/// Tells what an address without a frontend at the port is. What is outside the networks of ClusterIPs costs a look
/// at them and nothing else.
#[inline(always)]
pub fn vacancy<A: Family>(addr: A) -> Vacancy {
    if !addr.in_ranges() {
        return Vacancy::Elsewhere;
    }
    // SAFETY: one aligned word of the map's memory.
    let held = VIPS.get_ptr(addr.wide()).map(|value| unsafe { *value });
    match held {
        Some(VIP_HELD) => Vacancy::Elsewhere,
        // The node's own kernel answers there.
        _ if addr.node_flags().is_some() => Vacancy::Elsewhere,
        Some(_) => Vacancy::NoPort,
        None => Vacancy::Unallocated,
    }
}

/// The frontend at a key, if it really is that key's.
#[inline(always)]
pub fn tagged<A: Family>(addr: A, port: Be16, proto: u8, scope: u8) -> Option<FeValue> {
    let (value, tag) = A::lookup(addr, port, proto, scope)?;
    if value.tag() == tag {
        return Some(value);
    }
    // The element was given to another key under our eyes; the map holds the truth by now.
    count(Stat::TagMismatch);
    let (value, tag) = A::lookup(addr, port, proto, scope)?;
    if value.tag() == tag { Some(value) } else { None }
}

/// An endpoint of the service, by affinity or at random; `source` tells what the socket sends from, zero if it is bound to
/// nothing.
#[inline(always)]
pub fn choose<A: Family>(call: &Call<'_>, service: FeValue, source: impl Fn() -> A) -> Choice<A> {
    let index = service.index();
    let Some(meta) = META.get_ptr(index) else { return Choice::Empty };
    // SAFETY: the map's own memory, written before the frontend was.
    let flags = unsafe { (*meta).flags };
    let local = flags & META_INTERNAL_LOCAL != 0 && service.kind() == KIND_CLUSTER_IP;
    // One question for most services.
    if flags & (META_AFFINITY | META_SOURCE_RANGES) != 0 {
        if flags & META_SOURCE_RANGES != 0 && service.kind() == KIND_LOAD_BALANCER {
            if let Some(reason) = is_denied(call, index, source()) {
                return Choice::Denied(reason);
            }
        }
        if flags & META_AFFINITY != 0 {
            let key = AffinityKey { netns: call.netns(), index, pad: 0 };
            return choose_for::<A, _>(&AFF, key, index, meta, local, None);
        }
    }
    pick(index, meta, local, None, !call.is_tcp())
}

/// Why a socket may not ask a load balancer's address, if so: it sends from `source`, or from its namespace's address if that
/// is zero. The kernel finds out which that is after this call, on the way to the endpoint.
#[inline(always)]
fn is_denied<A: Family>(call: &Call<'_>, index: u32, source: A) -> Option<Reason> {
    let mut from = source.wide();
    if source.same(A::ANY) {
        // SAFETY: two addresses, which user space replaces with the element.
        from = unsafe { NETNS_IPS.get(call.netns()) }.map_or(Ip6([0; 4]), A::of_namespace);
        if from.same(Ip6([0; 4])) {
            return Some(Reason::UnknownSource);
        }
    }
    if is_listed(index, from) { None } else { Some(Reason::SourceRanges) }
}

/// An endpoint for a client, who keeps it while the service has affinity; `hash` as for [`pick`].
#[inline(always)]
pub fn choose_for<A: Family, K: Copy>(
    clients: &LruHashMap<K, AffinityValue>,
    key: K,
    index: u32,
    meta: *const Meta,
    local: bool,
    hash: Option<u32>,
) -> Choice<A> {
    // SAFETY: the map's own memory, written before the frontend was.
    let (flags, seconds) = unsafe { ((*meta).flags, (*meta).affinity_seconds) };
    if flags & META_AFFINITY == 0 {
        return pick(index, meta, local, hash, true);
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let oldest = now.saturating_sub(seconds as u64 * NANOSECONDS);
    let (known, valid) = recall::<A, K>(clients, &key, index, now, oldest);
    if let Some(endpoint) = valid {
        return Choice::Endpoint(endpoint);
    }
    let chosen = pick::<A>(index, meta, local, hash, true);
    if let Choice::Endpoint(endpoint) = &chosen {
        let value = AffinityValue {
            last: now,
            state: endpoint.state,
            addr: endpoint.addr.wide(),
            backend: endpoint.backend,
            port: endpoint.port,
            local: endpoint.local as u16,
        };
        // Of clients that race for the first choice one wins, and the others take its endpoint.
        if clients.insert(key, value, if known { BPF_ANY } else { BPF_NOEXIST }).is_err() {
            if let (_, Some(winner)) = recall::<A, K>(clients, &key, index, now, oldest) {
                return Choice::Endpoint(winner);
            }
        }
    }
    chosen
}

/// Whether the client is known, and its endpoint if that is still good.
#[inline(always)]
fn recall<A: Family, K: Copy>(
    clients: &LruHashMap<K, AffinityValue>,
    key: &K,
    index: u32,
    now: u64,
    oldest: u64,
) -> (bool, Option<Endpoint<A>>) {
    let Some(entry) = clients.get_ptr_mut(key) else { return (false, None) };
    // SAFETY: the element's memory; concurrent writers store the same endpoint or a newer time.
    let value = unsafe { core::ptr::read_volatile(entry) };
    if value.last < oldest || !unchanged(value.backend, value.state) {
        return (true, None);
    }
    // SAFETY: one aligned word of the element.
    unsafe { core::ptr::write_volatile(&raw mut (*entry).last, now) };
    count(Stat::AffinityHit);
    let addr = A::narrow(value.addr);
    (
        true,
        Some(Endpoint {
            addr,
            port: value.port,
            index,
            backend: value.backend,
            state: value.state,
            local: value.local != 0,
        }),
    )
}

/// Whether a slot of a selection is one of this node's. In the moment between the stores of both selections nobody
/// knows, and the answer is no: an endpoint here that is treated as elsewhere is still reached.
#[inline(always)]
fn is_local(at: u32, sel: Sel, meta: *const Meta) -> bool {
    // SAFETY: one aligned word, replaced whole by user space.
    let local: Sel = unsafe { core::ptr::read_volatile(&raw const (*meta).sel_local) };
    local.generation() == sel.generation() && at.wrapping_sub(local.base()) < local.count()
}

/// The place of a client's endpoint in a selection of everybody's by its row; `None` without a row of that selection.
#[inline(always)]
fn by_row(hash: u32, sel: Sel, meta: *const Meta) -> Option<u32> {
    // SAFETY: one aligned word, replaced whole by user space.
    let row: Sel = unsafe { core::ptr::read_volatile(&raw const (*meta).lut) };
    if row.count() == 0 || row.generation() != sel.generation() { None } else { row_offset(row, hash) }
}

/// An endpoint: that of the client's hash if there is one and the service has a row, else by lot. Sockets have no hash: what
/// they choose is theirs on this node only, and nothing here is compiled into their programs for it.
///
/// With `stated`, its backend's state is read, too, and one that has just left is not taken. A connection of a socket does
/// without: it stays with its endpoint whatever becomes of that, and every cache line counts, since the calls between two
/// connects push most of them out.
#[inline(always)]
fn pick<A: Family>(index: u32, meta: *const Meta, local: bool, hash: Option<u32>, stated: bool) -> Choice<A> {
    let turn = turn(index);
    let mut attempt = 0;
    while attempt < RETRIES {
        attempt += 1;
        // SAFETY: one aligned word, replaced whole by user space.
        let sel: Sel = unsafe {
            core::ptr::read_volatile(if local {
                &raw const (*meta).sel_local
            } else {
                &raw const (*meta).sel_cluster
            })
        };
        if sel.count() == 0 {
            count(Stat::NoEndpoint);
            return Choice::Empty;
        }
        let offset = match hash.and_then(|hash| by_row(hash, sel, meta)) {
            Some(offset) => offset,
            None => {
                let lot = scattered(turn.wrapping_add(attempt << 28));
                ((lot as u64 * sel.count() as u64) >> 32) as u32
            }
        };
        let at = sel.base().wrapping_add(offset);
        let Some(mut endpoint) = A::slot(at) else { break };
        let state =
            if stated { backend::state(endpoint.backend).unwrap_or(0) } else { BackendState::UNASKED.0 };
        if endpoint.index == index && BackendState(state).is_live() {
            endpoint.state = state;
            endpoint.local = is_local(at, sel, meta);
            return Choice::Endpoint(endpoint);
        }
        // The selection was replaced between our two loads: the new one is there already.
        count(Stat::Retry);
    }
    count(Stat::Exhausted);
    Choice::Empty
}

/// A number that looks random, the same for the same `turn` (MurmurHash3's finalizer, which leaves no two turns alike). The
/// kernel's own random numbers cost a helper and its state in memory: a quarter of what `choose` takes.
#[inline(always)]
fn scattered(turn: u32) -> u32 {
    let h = (turn ^ (turn >> 16)).wrapping_mul(0x85eb_ca6b);
    let h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}
