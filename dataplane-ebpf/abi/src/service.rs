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

/// Where a client's flow is in every Maglev row, as a fraction of 2^32: the same on all nodes, so that whichever of them a
/// router sends the flow's next packet to gives it the same endpoint. `port` is zero where the client's address alone
/// decides (session affinity). Not a secret: who picks their port picks their endpoint, as with a router's own hash.
#[inline(always)]
pub const fn client_hash(addr: &Ip6, port: Be16, proto: u8) -> u32 {
    // In host order, so that nodes of both byte orders agree.
    let a = addr.0;
    let low = mix(mix(0xc2b2_ae3d, u32::from_be(a[0])), u32::from_be(a[1]));
    let high = mix(mix(low, u32::from_be(a[2])), u32::from_be(a[3]));
    let h = mix(high, ((port.host() as u32) << 16) | proto as u32);
    // The entry is taken from the high bits: every bit of the client has to reach them (MurmurHash3's finalizer).
    let h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    let h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// Which entry of a row of `size` entries a [`client_hash`] leads to.
#[inline(always)]
pub const fn row_entry(hash: u32, size: u32) -> u32 {
    ((hash as u64 * size as u64) >> 32) as u32
}

/// Entries in one element of LUT: array elements take eight bytes at least, and an entry two.
pub const ROW_ENTRIES: u32 = 4;

/// Which element of LUT, counted from the row's first, has an entry, and how far its lowest bit is up in it.
#[inline(always)]
pub const fn row_place(entry: u32) -> (u32, u32) {
    (entry / ROW_ENTRIES, entry % ROW_ENTRIES * 16)
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
    /// The Maglev row of the `sel_cluster` of the same generation: first element of LUT, number of entries, generation;
    /// zero without one. A reader that finds another generation stands between the stores of both words and chooses
    /// without the row. `sel_local` has none: nodes need not agree on endpoints that only one of them has. Programs that
    /// know no rows need no other layout: they never look here, and zero is what agents that know none write.
    pub lut: Sel,
    /// Zero.
    pub reserved: u64,
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
    assert!(core::mem::offset_of!(Meta, lut) == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the hashes fall into each of 64 parts of a row, least and most.
    fn spread(hashes: impl Iterator<Item = u32>) -> (u32, u32) {
        let mut parts = [0_u32; 64];
        for hash in hashes {
            parts[row_entry(hash, 64) as usize] += 1;
        }
        (*parts.iter().min().unwrap(), *parts.iter().max().unwrap())
    }

    #[test]
    fn neighbouring_clients_spread_evenly() {
        let v4 = |n: u32| Ip6::mapped(Be32::new(0x0a00_0000 + n));
        let v6 = |n: u32| Ip6([0xfd00_0000_u32.to_be(), 0, 0, n.to_be()]);
        let port = |p: u32| Be16::new(p as u16);
        // 1,000 in each part on average, so a standard deviation of 32; the bounds are six of them.
        for (least, most) in [
            spread((0..64_000).map(|p| client_hash(&v4(1), port(p), 6))),
            spread((0..64_000).map(|p| client_hash(&v6(1), port(p), 17))),
            spread((0..64_000).map(|n| client_hash(&v4(n), Be16(0), 6))),
            spread((0..64_000).map(|n| client_hash(&v6(n), port(40_000), 6))),
            spread((0..64_000).map(|n| client_hash(&v6(n << 16), port(n), 6))),
        ] {
            assert!(least > 800 && most < 1200, "{least} {most}");
        }
    }

    #[test]
    fn every_part_of_a_client_counts_and_no_version_changes_it() {
        let hash = |n: u32, port: u16, proto| client_hash(&Ip6::mapped(Be32::new(n)), Be16::new(port), proto);
        let all = [hash(1, 1, 6), hash(2, 1, 6), hash(1, 2, 6), hash(1, 1, 17), hash(1, 256, 6)];
        assert!(all.iter().enumerate().all(|(i, h)| !all[..i].contains(h)));
        // Nodes of two versions serve one address together while a cluster is upgraded.
        assert_eq!(hash(0x0ac7_0001, 5000, 17), 375_112_382);
    }

    #[test]
    fn entries_lie_in_the_row() {
        for size in [1, 251, 131_071] {
            assert_eq!((row_entry(0, size), row_entry(u32::MAX, size)), (0, size - 1));
        }
        assert_eq!([0, 3, 4, 250].map(row_place), [(0, 0), (0, 48), (1, 0), (62, 32)]);
    }
}
