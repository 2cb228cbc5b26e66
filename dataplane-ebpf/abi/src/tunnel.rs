//! Direct server return: a packet from outside is sent on, untouched, to the node of the endpoint that was chosen for it; that
//! node picks one of its own endpoints, and answers the client by itself, from the virtual IP. The endpoint sees the client,
//! and answers do not pass the node that the client asked.
//!
//! Between the nodes such a packet travels in VXLAN (RFC 7348), by a device of every node that takes each packet's other
//! end from the program (`external`). Its inner Ethernet addresses are [`MAC`] on both sides, on every node.

use crate::net::{Be32, Ip6};

/// The network identifier.
pub const VNI: u32 = 0x0078_6265;
/// The hardware address of every node's device: locally administered, and on no wire.
pub const MAC: [u8; 6] = [0x02, b'x', b'e', b'b', b'e', b'c'];
/// Whom a packet is from: the kernel takes one from the device's own address for its own, come round in a circle.
pub const SENDER: [u8; 6] = [0x02, b'x', b'e', b'b', b'e', b'd'];
/// What a packet grows by between nodes that are known by IPv4 addresses: Ethernet, VXLAN, UDP, IP.
pub const OVERHEAD_V4: u16 = 14 + 8 + 8 + 20;
/// As [`OVERHEAD_V4`], by IPv6 addresses.
pub const OVERHEAD_V6: u16 = 14 + 8 + 8 + 40;

/// The one entry of TUNNEL; all zero while there is no device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// Interface index of the device.
    pub device: u32,
    /// The largest segment of TCP over IPv4 that a client may send so that it fits between the nodes; host order.
    pub mss4: u16,
    /// As `mss4`, over IPv6.
    pub mss6: u16,
    /// The node's own address, by which others know it; zero without one of IPv4.
    pub own4: Be32,
    /// As `own4`, of IPv6.
    pub own6: Ip6,
}

const _: () = assert!(size_of::<Tunnel>() == 28);
