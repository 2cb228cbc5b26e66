//! Which endpoint a packet from outside is for.

use xebec_abi::{
    Be16, Be32, Ip6,
    event::Reason,
    flow::{ClientKey, FlowKey, NO_SERVICE, PacketStat},
    service::{
        FeValue, KIND_CLUSTER_IP, KIND_LOAD_BALANCER, KIND_PROBE, META_AFFINITY, META_DIRECT,
        META_EXTERNAL_LOCAL, META_INTERNAL_LOCAL, META_SOURCE_RANGES, SCOPE_ADDRESS, SCOPE_NODE, client_hash,
    },
    state::{NODE_IP_ANY, VIP_SERVED},
};

use crate::{
    maps::{
        flow::{AFF_CLIENTS, VIPS, count, is_listed},
        service::META,
        state::node_ports,
        tunnel::{ENDPOINT_NODES, tunnel},
    },
    socket::{Choice, Family, Vacancy, choose_for, host_port, tagged, vacancy},
};

/// An endpoint for the packet.
pub struct Chosen {
    pub addr: Ip6,
    pub port: Be16,
    pub id: u32,
    pub state: u64,
    pub local: bool,
    /// The endpoint's node, if that is to get the packet as it is; else zero.
    pub node: Ip6,
}

/// What is to be done with the first packet of a flow.
pub enum Selection {
    /// It is for no service.
    None,
    /// The service (by index) does not answer this client here, or no Service has the address.
    Drop(u32, Reason),
    /// The service (by index) has no endpoint, or the VIP no such port: refuse.
    Refuse(u32),
    /// The service's index, and the endpoint.
    To(u32, Chosen),
}

/// Whether an address is a frontend's and not also the node's own, where the node's kernel answers.
#[inline(always)]
pub fn is_vip<A: Family>(addr: A) -> bool {
    // SAFETY: one aligned word of the map's memory.
    let served = VIPS.get_ptr(addr.wide()).is_some_and(|value| unsafe { *value } == VIP_SERVED);
    served && addr.node_flags().is_none()
}

/// Whether a packet is for the node itself, at a number that may be a node port's.
#[inline(always)]
pub fn is_own(key: &FlowKey, v6: bool) -> bool {
    let (ports, port) = (node_ports(), key.dport.host());
    if !ports.maybe_service(port) && !ports.maybe_host(port) {
        return false;
    }
    let flags = if v6 { key.dst.node_flags() } else { Be32::narrow(key.dst).node_flags() };
    flags.is_some()
}

/// What answers at a port of the node, if the address is its: a Service's node port, else a pod's hostPort. Out of the
/// tunnel comes what the client asked of another node's address.
#[inline(always)]
fn at_node<A: Family>(vip: A, key: &FlowKey, tunnelled: bool) -> Option<FeValue> {
    if tunnelled {
        return tagged::<A>(A::ANY, key.dport, key.proto, SCOPE_NODE);
    }
    let (ports, port) = (node_ports(), key.dport.host());
    if !ports.maybe_service(port) && !ports.maybe_host(port) {
        return None;
    }
    let flags = vip.node_flags()?;
    if ports.maybe_service(port) && flags & NODE_IP_ANY != 0 {
        if let Some(value) = tagged::<A>(A::ANY, key.dport, key.proto, SCOPE_NODE) {
            return Some(value);
        }
    }
    if ports.maybe_host(port) { host_port(vip, key.dport, key.proto) } else { None }
}

/// The node of an endpoint, if packets can be sent there as they are; else zero.
#[inline(always)]
fn node_of(endpoint: Ip6) -> Ip6 {
    if tunnel().is_none() {
        return Ip6([0; 4]);
    }
    // SAFETY: written before a Service's endpoint is selected; user space replaces the element whole.
    unsafe { ENDPOINT_NODES.get(endpoint) }.copied().unwrap_or(Ip6([0; 4]))
}

/// Looks the destination up and chooses; what is `tunnelled` came from another node, which chose this one for it.
#[inline(always)]
pub fn select<A: Family>(key: &FlowKey, tunnelled: bool) -> Selection {
    let vip = A::narrow(key.dst);
    let own = tagged::<A>(vip, key.dport, key.proto, SCOPE_ADDRESS);
    let found = match own {
        Some(value) => Some(value),
        None => at_node(vip, key, tunnelled),
    };
    let Some(service) = found else {
        if tunnelled {
            return Selection::None;
        }
        if is_vip(vip) {
            return Selection::Refuse(NO_SERVICE);
        }
        // Dropped without an answer, as upstream's nftables mode does (KEP-3866).
        if let Vacancy::Unallocated = vacancy(vip) {
            count(PacketStat::Unallocated);
            return Selection::Drop(NO_SERVICE, Reason::Unallocated);
        }
        return Selection::None;
    };
    let (index, kind) = (service.index(), service.kind());
    let Some(meta) = META.get_ptr(index) else { return Selection::None };
    if kind == KIND_PROBE {
        return Selection::None;
    }
    // SAFETY: the map's own memory, written before the frontend was.
    let flags = unsafe { core::ptr::read_volatile(&raw const (*meta).flags) };
    if kind == KIND_LOAD_BALANCER && flags & META_SOURCE_RANGES != 0 {
        if !is_listed(index, key.src) {
            count(PacketStat::Denied);
            return Selection::Drop(index, Reason::SourceRanges);
        }
    }
    let external = kind != KIND_CLUSTER_IP;
    let policy = if external { META_EXTERNAL_LOCAL } else { META_INTERNAL_LOCAL };
    // What comes from the cluster's own pods is not external, whatever address of the Service they ask.
    let mut local = flags & policy != 0 && !(external && is_listed(NO_SERVICE, key.src));
    if tunnelled {
        if !external || flags & META_DIRECT == 0 {
            return Selection::None;
        }
        // Where the last endpoint of this node has just left, any other is better than none.
        // SAFETY: one aligned word of the map's memory.
        local = unsafe { core::ptr::read_volatile(&raw const (*meta).sel_local) }.count() != 0;
    }
    let client = ClientKey { addr: key.src, index, pad: 0 };
    // Only what is exposed has a row, and only these frontends are entered through several nodes.
    let hash = if external && !local {
        let port = if flags & META_AFFINITY != 0 { Be16(0) } else { key.sport };
        Some(client_hash(&key.src, port, key.proto))
    } else {
        None
    };
    match choose_for::<A, _>(&AFF_CLIENTS, client, index, meta, local, hash) {
        Choice::Endpoint(e) => {
            let addr = e.addr.wide();
            let direct = external && !tunnelled && !e.local && flags & META_DIRECT != 0;
            let node = if direct { node_of(addr) } else { Ip6([0; 4]) };
            Selection::To(
                index,
                Chosen { addr, port: e.port, id: e.backend, state: e.state, local: e.local, node },
            )
        }
        // Endpoints elsewhere: upstream drops, so that a load balancer's retry finds a node that has one.
        // SAFETY: one aligned word of the map's memory.
        Choice::Empty
            if external
                && local
                && unsafe { core::ptr::read_volatile(&raw const (*meta).sel_cluster) }.count() != 0 =>
        {
            count(PacketStat::NoLocal);
            Selection::Drop(index, Reason::NoLocalEndpoints)
        }
        // Who asks was looked at above.
        Choice::Empty | Choice::Denied(_) => Selection::Refuse(index),
    }
}
