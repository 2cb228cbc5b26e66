//! NetworkPolicy: which pods are isolated, what is allowed to and from them, and the flows that were.
//!
//! Everything is seen from the pod that a device belongs to: *ingress* goes to it, *egress* comes from it. A packet is
//! judged by the class of the other address (POLICY_CLASSES) and the destination's port (POLICY_RULES), once a flow: what
//! is allowed is kept in POLICY_FLOWS, and its answers need no rule.

use crate::net::{Be16, Ip6};

/// To the pod.
pub const INGRESS: u8 = 0;
/// From the pod.
pub const EGRESS: u8 = 1;
/// The class in rules for every address, also those of no class.
pub const ANYONE: u32 = 0;
/// Bits of a whole [`ClassKey`].
pub const CLASS_BITS: u32 = 160;
/// Bits of a [`ClassKey`] before its address.
pub const CLASS_BITS_FAMILY: u32 = 32;
/// Bits of a [`RuleKey`] that hold for all protocols: set, class and direction.
pub const RULE_BITS_ALL: u32 = 72;
/// Bits of a [`RuleKey`] before its port.
pub const RULE_BITS_PORT: u32 = 80;
/// Bits of a whole [`RuleKey`].
pub const RULE_BITS: u32 = 96;

/// The policy of a pod, by the index of its device on the node; replaced whole, so that a packet sees one or the other.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodPolicy {
    /// The pod's set of rules; never the same for two pods, and never used again.
    pub set: u32,
    /// Bit [`INGRESS`] and bit [`EGRESS`]: only what a rule allows passes in that direction.
    pub isolated: u32,
}

impl PodPolicy {
    /// Whether a direction is isolated.
    #[inline(always)]
    pub const fn is_isolated(&self, direction: u8) -> bool {
        self.isolated >> direction & 1 != 0
    }
}

/// Key data of POLICY_CLASSES. The family comes first: no block of IPv6 is one of IPv4 in mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClassKey {
    /// 4 or 6, in the first byte.
    pub family: [u8; 4],
    /// Address; IPv4 in mapped form.
    pub address: [u8; 16],
}

impl ClassKey {
    /// Of an address.
    #[inline(always)]
    pub const fn new(address: &Ip6) -> Self {
        let family = if address.as_mapped().is_some() { 4 } else { 6 };
        Self { family: [family, 0, 0, 0], address: address.octets() }
    }
}

/// Key data of POLICY_RULES. Numbers in network order, so that a prefix of the bits is a range of ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuleKey {
    /// [`PodPolicy::set`].
    pub set: [u8; 4],
    /// Class of the other address, or [`ANYONE`].
    pub class: [u8; 4],
    /// [`INGRESS`] or [`EGRESS`].
    pub direction: u8,
    /// IP protocol.
    pub proto: u8,
    /// The destination's port; zero for protocols without.
    pub port: [u8; 2],
}

/// A flow as the pod sees it, the same for both directions; IPv4 addresses in mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyFlowKey {
    /// The pod's address.
    pub pod: Ip6,
    /// The other address.
    pub other: Ip6,
    /// The pod's port; the identifier of an echo.
    pub pod_port: Be16,
    /// The other port.
    pub other_port: Be16,
    /// The pod's device.
    pub device: u32,
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// A flow that was allowed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyFlow {
    /// Monotonic nanoseconds of the last packet.
    pub last: u64,
    /// The generation of policies (POLICY_STATE) that allowed it; of another one, its next packet is judged anew.
    pub generation: u64,
    /// In which direction it was begun.
    pub direction: u8,
    /// 1 if the node itself began it: allowed by no rule, and not to be judged.
    pub own: u8,
    /// Zero.
    pub pad: [u8; 6],
}

/// Counters, per CPU; the discriminant is the index into POLICY_COUNTS.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyStat {
    /// Flows to selected pods that were allowed, or allowed again after a change of policies.
    IngressAllowed = 0,
    /// Packets to selected pods that were dropped.
    IngressDropped = 1,
    /// Flows from selected pods that were allowed.
    EgressAllowed = 2,
    /// Packets from selected pods that were dropped.
    EgressDropped = 3,
}

/// Number of [`PolicyStat`]s.
pub const POLICY_STATS: u32 = 4;

const _: () = {
    assert!(size_of::<ClassKey>() * 8 == CLASS_BITS as usize);
    assert!(size_of::<PodPolicy>() == 8 && size_of::<RuleKey>() * 8 == RULE_BITS as usize);
    assert!(size_of::<PolicyFlowKey>() == 44 && size_of::<PolicyFlow>() == 24);
};
