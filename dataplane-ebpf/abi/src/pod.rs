//! Pods of this node: their devices, where a packet from one to the other goes without the node's IP stack, and their addresses.

use crate::net::Ip6;

/// A pod of this node, by its address (IPv4 in mapped form).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalPod {
    /// Index of its device on the node.
    pub device: u32,
    /// Its own hardware address.
    pub mac: [u8; 6],
    /// The hardware address of its device on the node.
    pub node_mac: [u8; 6],
}

/// What sockets of a network namespace send from, unless they are bound: value in NETNS_IPS, by the namespace's cookie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// In mapped form, zero without one.
    pub v4: Ip6,
    /// Zero without one.
    pub v6: Ip6,
}

const _: () = assert!(size_of::<LocalPod>() == 16 && size_of::<OwnAddresses>() == 32);
