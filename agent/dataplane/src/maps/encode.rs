//! Between the model's words and the ABI's memory.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aya::Pod;
use xebec_abi::flow::{Flow, FlowKey};
use xebec_abi::service::{FeKey4, FeKey6, SCOPE_ADDRESS, SCOPE_HOST, SCOPE_NODE, Slot4, Slot6};
use xebec_abi::{Be16, Be32, Ip6};

use crate::model::{Family, FrontKey, Protocol, SourceRange, Vip};

/// [`FeKey6`] as a map key of aya.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key6(pub(crate) FeKey6);

#[expect(unsafe_code, reason = "aya's marker for plain memory")]
// SAFETY: repr(C) of integers, without padding (the ABI asserts the size); every bit pattern is a value.
unsafe impl Pod for Key6 {}

/// [`FlowKey`] as a map key of aya.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowId(pub(crate) FlowKey);

/// [`Flow`] as a map value of aya.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowEntry(pub(crate) Flow);

#[expect(unsafe_code, reason = "aya's marker for plain memory")]
// SAFETY: as for `Key6`.
unsafe impl Pod for FlowId {}
#[expect(unsafe_code, reason = "aya's marker for plain memory")]
// SAFETY: as for `Key6`.
unsafe impl Pod for FlowEntry {}

/// An address as the packet programs keep it.
pub(crate) fn wide(addr: &IpAddr) -> Ip6 {
    match addr {
        IpAddr::V4(a) => Ip6::mapped(Be32::new(a.to_bits())),
        IpAddr::V6(a) => Ip6::from_octets(a.octets()),
    }
}

/// The inverse of [`wide`].
pub(crate) fn from_wide(addr: &Ip6) -> IpAddr {
    IpAddr::from(addr.octets()).to_canonical()
}

/// Prefix length and data of a network's key in SRC_LPM (the bytes of [`xebec_abi::flow::SourceKey`]).
pub(crate) fn source_key(index: u32, range: &SourceRange) -> (u32, [u8; 20]) {
    let mut data = [0; 20];
    data[..4].copy_from_slice(&index.to_be_bytes());
    data[4..].copy_from_slice(&wide(&range.addr).octets());
    let before = if range.addr.is_ipv4() { 32 + 96 } else { 32 };
    (before + u32::from(range.bits), data)
}

/// The inverse of [`source_key`]; `None` for a key no version of ours writes.
pub(crate) fn from_source_key(prefix: u32, data: &[u8; 20]) -> Option<(u32, SourceRange)> {
    let (index, addr) = data.split_at(4);
    let addr = Ipv6Addr::from(<[u8; 16]>::try_from(addr).ok()?);
    let bits = prefix.checked_sub(32)?;
    let range = match addr.to_ipv4_mapped() {
        Some(v4) => SourceRange { addr: v4.into(), bits: u8::try_from(bits.checked_sub(96)?).ok()? },
        None => SourceRange { addr: addr.into(), bits: u8::try_from(bits).ok()? },
    };
    Some((u32::from_be_bytes(index.try_into().ok()?), range))
}

/// The IPv4 frontend key, if the key is one.
pub fn key4(key: &FrontKey) -> Option<FeKey4> {
    let (addr, scope) = match key.vip {
        Vip::Address(IpAddr::V4(addr)) => (Be32::new(addr.to_bits()), SCOPE_ADDRESS),
        Vip::Node(Family::V4) => (Be32(0), SCOPE_NODE),
        Vip::Host(Family::V4) => (Be32(0), SCOPE_HOST),
        Vip::HostAddress(IpAddr::V4(addr)) => (Be32::new(addr.to_bits()), SCOPE_HOST),
        _ => return None,
    };
    Some(FeKey4 { addr, port: Be16::new(key.port), proto: key.protocol.number(), scope })
}

/// The IPv6 frontend key, if the key is one.
pub fn key6(key: &FrontKey) -> Option<FeKey6> {
    let (addr, scope) = match key.vip {
        Vip::Address(IpAddr::V6(addr)) => (Ip6::from_octets(addr.octets()), SCOPE_ADDRESS),
        Vip::Node(Family::V6) => (Ip6([0; 4]), SCOPE_NODE),
        Vip::Host(Family::V6) => (Ip6([0; 4]), SCOPE_HOST),
        Vip::HostAddress(IpAddr::V6(addr)) => (Ip6::from_octets(addr.octets()), SCOPE_HOST),
        _ => return None,
    };
    Some(FeKey6 { addr, port: Be16::new(key.port), proto: key.protocol.number(), scope, pad: 0 })
}

/// The inverse of [`key4`]; `None` for a key no version of ours writes.
pub(crate) fn from_key4(key: &FeKey4) -> Option<FrontKey> {
    let vip = match key.scope {
        SCOPE_ADDRESS => Vip::Address(IpAddr::V4(key.addr.host().into())),
        SCOPE_NODE => Vip::Node(Family::V4),
        SCOPE_HOST if key.addr.0 == 0 => Vip::Host(Family::V4),
        SCOPE_HOST => Vip::HostAddress(IpAddr::V4(key.addr.host().into())),
        _ => return None,
    };
    Some(FrontKey { vip, port: key.port.host(), protocol: Protocol::from_number(key.proto)? })
}

/// The inverse of [`key6`].
pub(crate) fn from_key6(key: &FeKey6) -> Option<FrontKey> {
    let vip = match key.scope {
        SCOPE_ADDRESS => Vip::Address(IpAddr::V6(Ipv6Addr::from(key.addr.octets()))),
        SCOPE_NODE => Vip::Node(Family::V6),
        SCOPE_HOST if key.addr.0 == [0; 4] => Vip::Host(Family::V6),
        SCOPE_HOST => Vip::HostAddress(IpAddr::V6(Ipv6Addr::from(key.addr.octets()))),
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
