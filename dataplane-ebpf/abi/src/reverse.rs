//! What a socket was told it talks to: kept in socket storage, so it lives and dies with the socket; of TCP sockets,
//! that have one peer only, in a table from which the socket's end removes it.

use crate::net::{Be16, Be32, Ip6};

/// Entries per socket; older ones go to the overflow map.
pub const RING: usize = 4;

/// [`Ring::connected`]: the first entry is what the socket is connected to.
pub const CONNECTED: u32 = 1;
/// As [`CONNECTED`], and the socket speaks UDP.
pub const CONNECTED_UDP: u32 = 2;

/// One translation; `A` is [`Be32`] (also for v4-mapped v6 sockets) or [`Ip6`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rev<A> {
    /// What the application asked for.
    pub vip: A,
    /// Where it went.
    pub addr: A,
    /// The VIP's port.
    pub vport: Be16,
    /// The endpoint's port.
    pub port: Be16,
    /// Index into BE_STATE.
    pub backend: u32,
    /// The backend's state word at the time; zero in an unused entry.
    pub state: u64,
}

/// A socket's translations.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring<A> {
    /// The translations.
    pub entries: [Rev<A>; RING],
    /// How many were ever written; the next one goes to this modulo [`RING`].
    pub head: u32,
    /// [`CONNECTED`] or [`CONNECTED_UDP`]; zero if the socket is not connected through a VIP.
    pub connected: u32,
}

/// A socket's translations, IPv4.
pub type Ring4 = Ring<Be32>;
/// A socket's translations, IPv6.
pub type Ring6 = Ring<Ip6>;

/// Entries of PEERS4 and PEERS6, a power of two: as many connections to VIPs as live at once without socket storage.
pub const PEERS: u32 = 32_768;

/// What a TCP socket is connected to: at the socket's cookie modulo [`PEERS`], or in its storage while another socket
/// has that place. Socket storage costs half a microsecond to allocate, this a few nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer<A> {
    /// The socket's cookie; zero if the place is free.
    pub owner: u64,
    /// What the application asked for.
    pub vip: A,
    /// Where it went.
    pub addr: A,
    /// The VIP's port.
    pub vport: Be16,
    /// The endpoint's port.
    pub port: Be16,
    /// Zero.
    pub pad: u32,
}

/// A TCP socket's peer, IPv4.
pub type Peer4 = Peer<Be32>;
/// A TCP socket's peer, IPv6.
pub type Peer6 = Peer<Ip6>;

/// Key of a translation that no longer fits its socket's ring; IPv4 addresses in mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OverflowKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// The endpoint.
    pub addr: Ip6,
    /// The endpoint's port.
    pub port: Be16,
    /// Zero.
    pub pad: [u16; 3],
}

/// What the application asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverflowValue {
    /// The VIP.
    pub vip: Ip6,
    /// The VIP's port.
    pub vport: Be16,
    /// Zero.
    pub pad: [u16; 3],
}

const _: () = {
    assert!(size_of::<Rev<Be32>>() == 24 && size_of::<Rev<Ip6>>() == 48);
    assert!(size_of::<Peer4>() == 24 && size_of::<Peer6>() == 48 && PEERS.is_power_of_two());
    assert!(size_of::<Ring4>() == 104 && size_of::<Ring6>() == 200);
    assert!(size_of::<OverflowKey>() == 32 && size_of::<OverflowValue>() == 24);
};
