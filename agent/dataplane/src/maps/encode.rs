//! Between the model's words and the ABI's memory.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aya::Pod;
use xebec_abi::service::{FeKey4, FeKey6, SCOPE_ADDRESS, SCOPE_NODE, Slot4, Slot6};
use xebec_abi::{Be16, Be32, Ip6};

use crate::model::{Family, FrontKey, Protocol, Vip};

/// [`FeKey4`] as a map key of aya.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key4(pub(crate) FeKey4);

/// [`FeKey6`] as a map key of aya.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key6(pub(crate) FeKey6);

#[expect(unsafe_code, reason = "aya's marker for plain memory")]
// SAFETY: repr(C) of integers, without padding (the ABI asserts the size); every bit pattern is a value.
unsafe impl Pod for Key4 {}
#[expect(unsafe_code, reason = "aya's marker for plain memory")]
// SAFETY: as for `Key4`.
unsafe impl Pod for Key6 {}

/// The IPv4 frontend key, if the key is one.
pub fn key4(key: &FrontKey) -> Option<FeKey4> {
    let (addr, scope) = match key.vip {
        Vip::Address(IpAddr::V4(addr)) => (Be32::new(addr.to_bits()), SCOPE_ADDRESS),
        Vip::Node(Family::V4) => (Be32(0), SCOPE_NODE),
        _ => return None,
    };
    Some(FeKey4 { addr, port: Be16::new(key.port), proto: key.protocol.number(), scope })
}

/// The IPv6 frontend key, if the key is one.
pub fn key6(key: &FrontKey) -> Option<FeKey6> {
    let (addr, scope) = match key.vip {
        Vip::Address(IpAddr::V6(addr)) => (Ip6::from_octets(addr.octets()), SCOPE_ADDRESS),
        Vip::Node(Family::V6) => (Ip6([0; 4]), SCOPE_NODE),
        _ => return None,
    };
    Some(FeKey6 { addr, port: Be16::new(key.port), proto: key.protocol.number(), scope, pad: 0 })
}

/// The inverse of [`key4`]; `None` for a key no version of ours writes.
pub(crate) fn from_key4(key: &FeKey4) -> Option<FrontKey> {
    let vip = match key.scope {
        SCOPE_ADDRESS => Vip::Address(IpAddr::V4(key.addr.host().into())),
        SCOPE_NODE => Vip::Node(Family::V4),
        _ => return None,
    };
    Some(FrontKey { vip, port: key.port.host(), protocol: Protocol::from_number(key.proto)? })
}

/// The inverse of [`key6`].
pub(crate) fn from_key6(key: &FeKey6) -> Option<FrontKey> {
    let vip = match key.scope {
        SCOPE_ADDRESS => Vip::Address(IpAddr::V6(Ipv6Addr::from(key.addr.octets()))),
        SCOPE_NODE => Vip::Node(Family::V6),
        _ => return None,
    };
    Some(FrontKey { vip, port: key.port.host(), protocol: Protocol::from_number(key.proto)? })
}

/// The tag a frontend's value carries.
pub(crate) fn tag(key: &FrontKey) -> u32 {
    match (key4(key), key6(key)) {
        (Some(key), _) => key.tag(),
        (None, Some(key)) => key.tag(),
        (None, None) => 0,
    }
}

/// The endpoint in a slot.
pub fn endpoint4(slot: &Slot4) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(slot.addr.host().into()), slot.port.host())
}

/// The endpoint in a slot.
pub fn endpoint6(slot: &Slot6) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(slot.addr.octets())), slot.port.host())
}
