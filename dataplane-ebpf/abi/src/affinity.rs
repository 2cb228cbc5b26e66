//! Session affinity: which endpoint a client last got from a service port.

use crate::net::{Be16, Ip6};

/// Affinity is per service port (upstream issue 103000) and per client: a pod is its network namespace, and every
/// process in the host's namespace is one client, as they share the source address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AffinityKey {
    /// The client's network namespace cookie.
    pub netns: u64,
    /// Service index.
    pub index: u32,
    /// Zero.
    pub pad: u32,
}

/// The endpoint; valid while its backend's state is the same and the timeout has not passed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AffinityValue {
    /// Monotonic nanoseconds of the last use.
    pub last: u64,
    /// The backend's state word when chosen.
    pub state: u64,
    /// Endpoint address; IPv4 in mapped form.
    pub addr: Ip6,
    /// Index into BE_STATE.
    pub backend: u32,
    /// Endpoint port.
    pub port: Be16,
    /// 1 if the endpoint was known to be on this node.
    pub local: u16,
}

const _: () = assert!(size_of::<AffinityKey>() == 16 && size_of::<AffinityValue>() == 40);
