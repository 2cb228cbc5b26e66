//! What the drain lister tells of a socket.

use crate::net::{Be16, Ip6};

/// A connected UDP socket whose endpoint no longer has the state it was chosen with; IPv4 addresses in mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// The socket's cookie.
    pub cookie: u64,
    /// What the application asked for.
    pub vip: Ip6,
    /// The endpoint.
    pub addr: Ip6,
    /// The VIP's port.
    pub vport: Be16,
    /// The endpoint's port.
    pub port: Be16,
    /// Zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Stale>() == 48);
