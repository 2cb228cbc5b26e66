//! The node's addresses, at which NodePorts answer. Enters: rtnetlink's notices. Leaves: the set of addresses, read
//! anew whenever the kernel says that one came or went. Called by run.
#![expect(unsafe_code, reason = "getifaddrs")]

use std::collections::{BTreeSet, HashMap};
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;

use crate::maps::tracked::DeviceAddresses;

/// The addresses of this network namespace's interfaces, without link-local ones and IPv4 loopback (the programs know
/// 127.0.0.0/8 themselves).
///
/// # Errors
/// The kernel's.
pub fn local_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let mut out = BTreeSet::new();
    each_interface(|_, entry| {
        if let Entry::Address(addr) = entry {
            out.insert(addr);
        }
    })?;
    Ok(out)
}

/// Those of [`local_addresses`] that others may see, in the kernel's order: of the first devices first.
///
/// # Errors
/// The kernel's.
pub(crate) fn sending_addresses() -> io::Result<Vec<IpAddr>> {
    let mut out = Vec::new();
    each_interface(|_, entry| match entry {
        Entry::Address(addr) if !addr.is_loopback() => out.push(addr),
        _ => {}
    })?;
    Ok(out)
}

/// The Ethernet devices with addresses of the node, by interface index: those that outside traffic passes, on its way to
/// pods of other nodes too. A pod's veth has none on the node's end.
///
/// # Errors
/// The kernel's.
pub fn outside_devices() -> io::Result<HashMap<u32, DeviceAddresses>> {
    let (mut indices, mut by_name) = (HashMap::new(), HashMap::<String, Vec<IpAddr>>::new());
    each_interface(|name, entry| match entry {
        Entry::Ethernet(index, _) => {
            indices.insert(name.to_owned(), index);
        }
        Entry::Address(addr) if !addr.is_loopback() => by_name.entry(name.to_owned()).or_default().push(addr),
        Entry::Address(_) => {}
    })?;
    let known = by_name
        .into_iter()
        .filter_map(|(name, addresses)| Some((*indices.get(&name)?, DeviceAddresses { name, addresses })));
    Ok(known.collect())
}

/// The pod network's own device to the pods of other nodes. It has an address, so that traffic from outside to a pod elsewhere
/// may leave by it and be translated there, but no machine is at its other end: nobody asks there who has an address, and
/// what goes from node to node never passes it. (That network is another part; a test holds the two names equal.)
pub const POD_TUNNEL: &str = "xebec-pods";

/// Those of [`outside_devices`] that other machines are on a network with.
///
/// # Errors
/// The kernel's.
pub fn network_devices() -> io::Result<HashMap<u32, DeviceAddresses>> {
    let mut found = outside_devices()?;
    found.retain(|_, device| device.name != POD_TUNNEL);
    Ok(found)
}

/// A device of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Link address.
    pub mac: [u8; 6],
}

/// The Ethernet devices of this network namespace.
///
/// # Errors
/// The kernel's.
pub fn ethernet_devices() -> io::Result<Vec<Ethernet>> {
    let mut out = Vec::new();
    each_interface(|name, entry| {
        if let Entry::Ethernet(index, mac) = entry {
            out.push(Ethernet { index, name: name.to_owned(), mac });
        }
    })?;
    Ok(out)
}

enum Entry {
    /// An address of the node.
    Address(IpAddr),
    /// The index and link address of an Ethernet device.
    Ethernet(u32, [u8; 6]),
}

/// Shows what getifaddrs tells of each interface, by name.
fn each_interface(mut show: impl FnMut(&str, Entry)) -> io::Result<()> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the list is written by the call and freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut at = list;
    while !at.is_null() {
        // SAFETY: an entry of the list just returned.
        let entry = unsafe { &*at };
        // SAFETY: the entry's name, a C string.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
        // SAFETY: the entry's address, null or as long as its family says.
        if let Some(addr) = unsafe { address(entry.ifa_addr) }.filter(is_node_address) {
            show(&name, Entry::Address(addr));
        }
        // SAFETY: as above.
        if let Some((index, mac)) = unsafe { ethernet(entry.ifa_addr) } {
            show(&name, Entry::Ethernet(index, mac));
        }
        at = entry.ifa_next;
    }
    // SAFETY: the list of getifaddrs, freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(())
}

/// The index of an Ethernet device and its address, from its link address.
///
/// # Safety
/// As [`address`].
unsafe fn ethernet(at: *const libc::sockaddr) -> Option<(u32, [u8; 6])> {
    if at.is_null() {
        return None;
    }
    // SAFETY: by this function's contract; the copy is unaligned on purpose.
    unsafe {
        if i32::from((*at).sa_family) != libc::AF_PACKET {
            return None;
        }
        let link = at.cast::<libc::sockaddr_ll>().read_unaligned();
        let [a, b, c, d, e, f, ..] = link.sll_addr;
        (link.sll_hatype == libc::ARPHRD_ETHER).then_some((link.sll_ifindex as u32, [a, b, c, d, e, f]))
    }
}

/// # Safety
/// `at` is null or points to a socket address as long as its family's.
unsafe fn address(at: *const libc::sockaddr) -> Option<IpAddr> {
    if at.is_null() {
        return None;
    }
    // SAFETY: by this function's contract; the copies are unaligned on purpose.
    unsafe {
        match i32::from((*at).sa_family) {
            libc::AF_INET => {
                let addr = at.cast::<libc::sockaddr_in>().read_unaligned();
                Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(addr.sin_addr.s_addr))))
            }
            libc::AF_INET6 => {
                let addr = at.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(IpAddr::V6(Ipv6Addr::from(addr.sin6_addr.s6_addr)))
            }
            _ => None,
        }
    }
}

fn is_node_address(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_unicast_link_local() && !a.is_unspecified() && !a.is_multicast(),
    }
}

/// Tells when something of this network namespace came, went or changed.
#[derive(Debug)]
pub struct Notices {
    socket: AsyncFd<OwnedFd>,
}

impl Notices {
    /// Of addresses.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_addresses() -> io::Result<Self> {
        const RTMGRP_IPV4_IFADDR: u32 = 0x10;
        const RTMGRP_IPV6_IFADDR: u32 = 0x100;
        Self::of(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)
    }

    /// Of devices.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_devices() -> io::Result<Self> {
        const RTMGRP_LINK: u32 = 1;
        Self::of(RTMGRP_LINK)
    }

    /// Subscribes to groups of rtnetlink.
    fn of(groups: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::RAW;
        // No protocol number: 0 is NETLINK_ROUTE.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        // SAFETY: the descriptor is owned by the AsyncFd and stays the same until both are dropped.
        Ok(Self { socket: unsafe { AsyncFd::register(socket) }? })
    }

    /// Returns after the next change; several changes at once are one.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn changed(&self) -> io::Result<()> {
        let mut guard = self.socket.readable().await?;
        let mut buffer = [0_u8; 4096];
        loop {
            match rustix::net::recv(self.socket.get_ref(), &mut buffer[..], RecvFlags::empty()) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    guard.clear_ready();
                    return Ok(());
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_local_are_no_node_addresses() {
        let no = ["127.0.0.1", "169.254.1.1", "0.0.0.0", "fe80::1", "::", "ff02::1"];
        let yes = ["10.0.0.1", "192.168.1.5", "2001:db8::1", "::1"];
        assert!(no.iter().all(|a| !is_node_address(&a.parse().unwrap())));
        assert!(yes.iter().all(|a| is_node_address(&a.parse().unwrap())));
    }
}
