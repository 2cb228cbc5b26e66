//! What differs between IPv4 and IPv6: the maps and the width of an address.

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE, btf_maps::SkStorage, helpers::generated::bpf_sk_storage_get,
    programs::SockAddrContext,
};
use xebec_abi::{
    Be16, Be32, Ip6,
    pod::OwnAddresses,
    reverse::{Peer, Ring},
    service::{FeKey4, FeKey6, FeValue},
    state::{NODE_IP_ANY, NODE_IP_HOST_ONLY},
};

use super::{Call, call::owner};
use crate::maps::{
    reverse::{PEERS4, PEERS6, REV4, REV6},
    service::{FE6, SLOT4, SLOT6, frontend4},
    state::{HOST_NETNS, NODE_IPS4, NODE_IPS6, in_ranges4, in_ranges6},
};

/// An endpoint as read from its slot.
#[derive(Clone, Copy)]
pub struct Endpoint<A> {
    pub addr: A,
    pub port: Be16,
    /// The slot's owner.
    pub index: u32,
    pub backend: u32,
    /// The backend's state word when chosen.
    pub state: u64,
    /// On this node.
    pub local: bool,
}

/// An address of either family.
pub trait Family: Copy {
    /// The address that stands for every address of the node.
    const ANY: Self;
    /// The frontend's value and the tag it must carry.
    fn lookup(addr: Self, port: Be16, proto: u8, scope: u8) -> Option<(FeValue, u32)>;
    /// The endpoint at a slot; `None` outside the map.
    fn slot(at: u32) -> Option<Endpoint<Self>>;
    /// The address's flags in NODE_IPS.
    fn node_flags(self) -> Option<u32>;
    /// Whether ClusterIPs are from where the address is.
    fn in_ranges(self) -> bool;
    /// The one of the family that sockets of a namespace send from, IPv4 in mapped form; zero without one.
    fn of_namespace(own: &OwnAddresses) -> Ip6;
    /// Whether NodePorts answer at this address for this socket.
    fn is_node(self, call: &Call<'_>) -> bool;
    /// Whether hostPorts answer at this address for this socket.
    #[inline(always)]
    fn is_host(self, call: &Call<'_>) -> bool {
        if self.is_loopback() { call.netns() == HOST_NETNS.load() } else { self.node_flags().is_some() }
    }
    /// Whether every network namespace has this address for itself.
    fn is_loopback(self) -> bool;
    /// The socket's ring; null if it has none and `create` is false, or if memory ran out.
    fn ring(ctx: &SockAddrContext, create: bool) -> *mut Ring<Self>;
    /// The place of a TCP socket's peer; `None` outside the map.
    fn peer(at: u32) -> Option<*mut Peer<Self>>;
    /// Equality without a call to memcmp, which the target lacks.
    fn same(self, other: Self) -> bool;
    /// As an IPv6 address, mapped if it is IPv4.
    fn wide(self) -> Ip6;
    /// The inverse of [`Family::wide`].
    fn narrow(wide: Ip6) -> Self;
}

/// 127.0.0.1, which stands for its network.
const LOOPBACK: Be32 = Be32::new(0x7f00_0001);

/// Whether node ports answer a socket at an address of these flags.
#[inline(always)]
fn answers(flags: u32, call: &Call<'_>) -> bool {
    flags & NODE_IP_ANY != 0 || (flags & NODE_IP_HOST_ONLY != 0 && call.netns() == HOST_NETNS.load())
}

/// The socket's value in a map of socket storage; null if it has none and `create` is false, or if memory ran out.
#[inline(always)]
fn storage<T>(map: *const SkStorage<T>, ctx: &SockAddrContext, create: bool) -> *mut T {
    let flags = if create { BPF_SK_STORAGE_GET_F_CREATE as u64 } else { 0 };
    // SAFETY: the map itself, and a socket that is valid for the program's run.
    unsafe { bpf_sk_storage_get(map.cast_mut().cast(), owner(ctx), core::ptr::null_mut(), flags).cast() }
}

impl Family for Be32 {
    const ANY: Self = Be32(0);

    #[inline(always)]
    fn lookup(addr: Self, port: Be16, proto: u8, scope: u8) -> Option<(FeValue, u32)> {
        let key = FeKey4 { addr, port, proto, scope };
        Some((FeValue(frontend4(&key)?), key.tag()))
    }

    #[inline(always)]
    fn slot(at: u32) -> Option<Endpoint<Self>> {
        // SAFETY: the map's own memory; callers check the owner.
        let slot = SLOT4.get_ptr(at).map(|p| unsafe { core::ptr::read_volatile(p) })?;
        Some(Endpoint {
            addr: slot.addr,
            port: slot.port,
            index: slot.index,
            backend: slot.backend,
            state: 0,
            local: false,
        })
    }

    #[inline(always)]
    fn in_ranges(self) -> bool {
        in_ranges4(self)
    }

    #[inline(always)]
    fn of_namespace(own: &OwnAddresses) -> Ip6 {
        own.v4
    }

    #[inline(always)]
    fn is_node(self, call: &Call<'_>) -> bool {
        let own = if self.is_loopback() { LOOPBACK } else { self };
        own.node_flags().is_some_and(|flags| answers(flags, call))
    }

    #[inline(always)]
    fn is_loopback(self) -> bool {
        self.0 as u8 == 127
    }

    #[inline(always)]
    fn node_flags(self) -> Option<u32> {
        // SAFETY: one aligned word of the map's memory.
        NODE_IPS4.get_ptr(self).map(|flags| unsafe { *flags })
    }

    #[inline(always)]
    fn ring(ctx: &SockAddrContext, create: bool) -> *mut Ring<Self> {
        storage(&raw const REV4, ctx, create)
    }

    #[inline(always)]
    fn peer(at: u32) -> Option<*mut Peer<Self>> {
        PEERS4.get_ptr_mut(at)
    }

    #[inline(always)]
    fn same(self, other: Self) -> bool {
        self.0 == other.0
    }

    #[inline(always)]
    fn wide(self) -> Ip6 {
        Ip6::mapped(self)
    }

    #[inline(always)]
    fn narrow(wide: Ip6) -> Self {
        Be32(wide.0[3])
    }
}

impl Family for Ip6 {
    const ANY: Self = Ip6([0; 4]);

    #[inline(always)]
    fn lookup(addr: Self, port: Be16, proto: u8, scope: u8) -> Option<(FeValue, u32)> {
        let key = FeKey6 { addr, port, proto, scope, pad: 0 };
        // SAFETY: as for IPv4.
        let value = FE6.get_ptr(key).map(|p| unsafe { core::ptr::read_volatile(p) })?;
        Some((FeValue(value), key.tag()))
    }

    #[inline(always)]
    fn slot(at: u32) -> Option<Endpoint<Self>> {
        // SAFETY: as for IPv4.
        let slot = SLOT6.get_ptr(at).map(|p| unsafe { core::ptr::read_volatile(p) })?;
        Some(Endpoint {
            addr: slot.addr,
            port: slot.port,
            index: slot.index,
            backend: slot.backend,
            state: 0,
            local: false,
        })
    }

    #[inline(always)]
    fn in_ranges(self) -> bool {
        in_ranges6(self)
    }

    #[inline(always)]
    fn of_namespace(own: &OwnAddresses) -> Ip6 {
        own.v6
    }

    #[inline(always)]
    fn is_node(self, call: &Call<'_>) -> bool {
        self.node_flags().is_some_and(|flags| answers(flags, call))
    }

    #[inline(always)]
    fn is_loopback(self) -> bool {
        self.same(Ip6([0, 0, 0, 1_u32.to_be()]))
    }

    #[inline(always)]
    fn node_flags(self) -> Option<u32> {
        // SAFETY: one aligned word of the map's memory.
        NODE_IPS6.get_ptr(self).map(|flags| unsafe { *flags })
    }

    #[inline(always)]
    fn ring(ctx: &SockAddrContext, create: bool) -> *mut Ring<Self> {
        storage(&raw const REV6, ctx, create)
    }

    #[inline(always)]
    fn peer(at: u32) -> Option<*mut Peer<Self>> {
        PEERS6.get_ptr_mut(at)
    }

    #[inline(always)]
    fn same(self, other: Self) -> bool {
        let (a, b) = (self.0, other.0);
        a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3]
    }

    #[inline(always)]
    fn wide(self) -> Ip6 {
        self
    }

    #[inline(always)]
    fn narrow(wide: Ip6) -> Self {
        wide
    }
}
