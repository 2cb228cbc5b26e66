//! What holds for the whole node.

use crate::net::{Be32, Ip6};

/// The one entry of STATE.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// [`crate::LAYOUT_VERSION`] of who wrote it, host order, low 32 bits; above it the salt of FE4
    /// ([`crate::frontend::home`]), chosen when that is made, never zero. Layout 1 has zero there.
    pub layout: u64,
    /// Node ports in use lie in `low..=high`: low in bits 0-15, high in bits 16-31, host order; zero is none. Bits 32-63
    /// say the same of host ports.
    pub node_ports: u64,
    /// Counts full synchronisations by agents; 0 means that no agent ever finished one.
    pub epoch: u64,
    /// How many networks of ClusterIPs [`Ranges`] has: of IPv4 in bits 0-7, of IPv6 in bits 8-15, each at most
    /// [`MAX_RANGES`]; zero until they are known. And [`HAS_PACKET_PODS`].
    pub ranges: u64,
}

/// [`State::ranges`]: PACKET_PODS may have entries. Else no socket call looks there.
pub const HAS_PACKET_PODS: u64 = 1 << 32;

/// Most networks of ClusterIPs of one family.
pub const MAX_RANGES: usize = 8;

/// A network; `A` is [`Be32`] or [`Ip6`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range<A> {
    /// Its address.
    pub addr: A,
    /// Ones where its addresses agree.
    pub mask: A,
}

/// The one entry of RANGES: the networks that ClusterIPs are from. Written only while [`State::ranges`] is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Of IPv4.
    pub v4: [Range<Be32>; MAX_RANGES],
    /// Of IPv6.
    pub v6: [Range<Ip6>; MAX_RANGES],
}

/// Value in VIPS: an address of frontends.
pub const VIP_SERVED: u32 = 1;
/// Value in VIPS: the ClusterIP of a Service that is another's business, to be left alone.
pub const VIP_HELD: u32 = 2;

/// NODE_IPS flag: node ports answer here, for everybody.
pub const NODE_IP_ANY: u32 = 1;
/// NODE_IPS flag: node ports answer here, for sockets in the host's network namespace only (loopback; 127.0.0.1 stands
/// for its whole network).
pub const NODE_IP_HOST_ONLY: u32 = 2;
/// NODE_IPS flag: the node's own address, where no node port answers.
pub const NODE_IP_OWN: u32 = 4;

/// Counters in STATS, per CPU; the discriminant is the index.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// Connections and datagrams given an endpoint.
    Translated = 0,
    /// Refused, as the service has no endpoint.
    NoEndpoint = 1,
    /// Look-ups repeated as a slot had another owner.
    Retry = 2,
    /// Refused, as every repetition found another owner.
    Exhausted = 3,
    /// Replies and peer names given the VIP back.
    Reversed = 4,
    /// Translations pushed out of a socket's ring.
    Overflow = 5,
    /// Endpoints given again by session affinity.
    AffinityHit = 6,
    /// Frontend values whose tag was another key's.
    TagMismatch = 7,
    /// Refused, as the ClusterIP has no such port.
    NoPort = 8,
    /// Refused, as no Service has the address.
    Unallocated = 9,
    /// Refused by loadBalancerSourceRanges.
    Denied = 10,
}

/// Number of [`Stat`]s.
pub const STATS: u32 = 11;

const _: () = assert!(size_of::<State>() == 32 && size_of::<Ranges>() == 320);
