//! What a VIP maps to: frontends, their services, and the slots of endpoints.
//!
//! Path of a look-up: frontend key -> [`FeValue`] -> [`Meta`] at its index -> one [`Sel`] -> one slot.

use crate::net::{Be16, Be32, Ip6};

/// Key scope of a frontend that is an address of its own (ClusterIP, external IP, load balancer IP).
pub const SCOPE_ADDRESS: u8 = 0;
/// Key scope of a NodePort frontend: its address is zero and stands for every address in NODE_IPS.
pub const SCOPE_NODE: u8 = 1;
/// Key scope of a pod's hostPort: its address is one of the node's, or zero for every one of them.
pub const SCOPE_HOST: u8 = 2;

/// Frontend kind: ClusterIP.
pub const KIND_CLUSTER_IP: u8 = 1;
/// Frontend kind: NodePort.
pub const KIND_NODE_PORT: u8 = 2;
/// Frontend kind: `spec.externalIPs`.
pub const KIND_EXTERNAL_IP: u8 = 3;
/// Frontend kind: `status.loadBalancer.ingress[].ip` with ipMode VIP.
pub const KIND_LOAD_BALANCER: u8 = 4;
/// Frontend kind: the agent's self-probe, always without endpoints.
pub const KIND_PROBE: u8 = 5;
/// Frontend kind: a pod's hostPort.
pub const KIND_HOST_PORT: u8 = 6;

/// [`Meta::flags`]: a ClusterIP frontend selects from `sel_local` (internalTrafficPolicy Local).
pub const META_INTERNAL_LOCAL: u32 = 1;
/// [`Meta::flags`]: session affinity ClientIP with `affinity_seconds`.
pub const META_AFFINITY: u32 = 2;
/// [`Meta::flags`]: the slots are [`Slot6`].
pub const META_V6: u32 = 4;
/// [`Meta::flags`]: from outside, frontends other than the ClusterIP select from `sel_local` (externalTrafficPolicy
/// Local).
pub const META_EXTERNAL_LOCAL: u32 = 8;
/// [`Meta::flags`]: load balancer frontends answer only sources in SRC_LPM.
pub const META_SOURCE_RANGES: u32 = 16;
/// [`Meta::flags`]: from outside, endpoints on other nodes get the packets by direct server return (see `tunnel`).
pub const META_DIRECT: u32 = 32;

/// Most shards of SERVED; beyond so many CPUs several share one, and a few counts get lost among them.
pub const MAX_SHARDS: u32 = 32;
/// Largest service index (24 bits).
pub const MAX_INDEX: u32 = 0x00ff_ffff;
/// Largest number of endpoints in one [`Sel`] (20 bits).
pub const MAX_ENDPOINTS: u32 = 0x000f_ffff;

/// Frontend key, IPv4.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeKey4 {
    /// VIP, or zero with [`SCOPE_NODE`].
    pub addr: Be32,
    /// Port.
    pub port: Be16,
    /// IP protocol.
    pub proto: u8,
    /// [`SCOPE_ADDRESS`], [`SCOPE_NODE`] or [`SCOPE_HOST`].
    pub scope: u8,
}

impl FeKey4 {
    /// Hash of the key that the value must repeat: a map element reused under a reader shows as a mismatch.
    #[inline(always)]
    pub const fn tag(&self) -> u32 {
        let rest = ((self.port.0 as u32) << 16) | ((self.proto as u32) << 8) | self.scope as u32;
        mix(mix(0x9e37_79b9, self.addr.0), rest)
    }
}

/// Frontend key, IPv6.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeKey6 {
    /// As [`FeKey4::addr`].
    pub addr: Ip6,
    /// Port.
    pub port: Be16,
    /// IP protocol.
    pub proto: u8,
    /// [`SCOPE_ADDRESS`] or [`SCOPE_NODE`].
    pub scope: u8,
    /// Zero.
    pub pad: u32,
}

impl FeKey6 {
    /// As [`FeKey4::tag`].
    #[inline(always)]
    pub const fn tag(&self) -> u32 {
        let rest = ((self.port.0 as u32) << 16) | ((self.proto as u32) << 8) | self.scope as u32;
        let a = self.addr.0;
        mix(mix(mix(mix(mix(0x85eb_ca6b, a[0]), a[1]), a[2]), a[3]), rest)
    }
}

#[inline(always)]
const fn mix(hash: u32, word: u32) -> u32 {
    let h = (hash ^ word).wrapping_mul(0x9e37_79b1);
    h ^ (h >> 15)
}

/// Frontend value: index (24 bits), kind (8), tag (32), in one word so that it is read and replaced whole.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FeValue(pub u64);

impl FeValue {
    /// Packs; `index` must not exceed [`MAX_INDEX`].
    pub const fn new(index: u32, kind: u8, tag: u32) -> Self {
        Self(((index & MAX_INDEX) as u64) << 40 | (kind as u64) << 32 | tag as u64)
    }
    /// Index into META.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        (self.0 >> 40) as u32
    }
    /// One of the `KIND_` constants.
    #[inline(always)]
    pub const fn kind(self) -> u8 {
        (self.0 >> 32) as u8
    }
    /// The key's tag.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        self.0 as u32
    }
}

/// A selection of endpoints: base slot (32 bits), count (20), generation (12). Published by one aligned store.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sel(pub u64);

impl Sel {
    /// Packs; `count` must not exceed [`MAX_ENDPOINTS`], `generation` wraps at 4096.
    pub const fn new(base: u32, count: u32, generation: u16) -> Self {
        Self((base as u64) << 32 | ((count & MAX_ENDPOINTS) as u64) << 12 | (generation & 0xfff) as u64)
    }
    /// First slot.
    #[inline(always)]
    pub const fn base(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// Number of slots.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        ((self.0 >> 12) as u32) & MAX_ENDPOINTS
    }
    /// Counts publications, so that two selections with one base differ.
    pub const fn generation(self) -> u16 {
        (self.0 & 0xfff) as u16
    }
}

/// One service port of one family, at its index in META. The whole is written before its frontend is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Endpoints for everybody.
    pub sel_cluster: Sel,
    /// Endpoints on this node.
    pub sel_local: Sel,
    /// Reserved for the Maglev row of `sel_cluster`; zero.
    pub lut: u64,
    /// Reserved for the Maglev row of `sel_local`; zero.
    pub lut_local: u64,
    /// `META_` bits.
    pub flags: u32,
    /// Session affinity timeout in seconds, 1 to 86400; 0 without affinity.
    pub affinity_seconds: u32,
    /// Reserved for loadBalancerSourceRanges; zero.
    pub source_range: u32,
    /// Zero.
    pub pad: [u32; 5],
}

/// One endpoint, IPv4. Written only while no published selection covers it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot4 {
    /// Endpoint address.
    pub addr: Be32,
    /// Endpoint port.
    pub port: Be16,
    /// Zero.
    pub flags: u16,
    /// The owner: a reader that finds another index here has read a recycled slot and retries.
    pub index: u32,
    /// Index into BE_STATE.
    pub backend: u32,
}

/// One endpoint, IPv6. Written only while no published selection covers it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot6 {
    /// Endpoint address.
    pub addr: Ip6,
    /// Endpoint port.
    pub port: Be16,
    /// Zero.
    pub flags: u16,
    /// As [`Slot4::index`].
    pub index: u32,
    /// Index into BE_STATE.
    pub backend: u32,
    /// Zero.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<FeKey4>() == 8 && size_of::<FeKey6>() == 24 && size_of::<FeValue>() == 8);
    assert!(size_of::<Meta>() == 64 && align_of::<Meta>() == 8);
    assert!(size_of::<Slot4>() == 16 && size_of::<Slot6>() == 32);
    assert!(core::mem::offset_of!(Meta, sel_local) == 8 && core::mem::offset_of!(Meta, flags) == 32);
};
