//! Devices, addresses, neighbours and routes, by rtnetlink: what `connect`, `routes` and `tunnel` are made of.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use futures::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::route::RouteAttribute;
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::cidr::{IpNet, is_v6};
use crate::rate::device;
use crate::{DEVICE_PREFIX, NetworkError};

/// The node's device of an owner: 15 bytes at most (IFNAMSIZ), the same each time (FNV-1a, 48 bits of it).
pub fn host_device(owner: &str) -> String {
    let hash = owner.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{DEVICE_PREFIX}{:012x}", hash >> 16)
}

/// Whether this is a name that [`host_device`] gives: other devices of ours begin alike.
pub(crate) fn is_pod_device(name: &str) -> bool {
    let digits = name.strip_prefix(DEVICE_PREFIX).unwrap_or_default();
    digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the node has a device of this name.
pub(crate) fn exists(device: &str) -> bool {
    Path::new("/sys/class/net").join(device).exists() || rustix_index(device)
}

/// /sys may show another namespace's devices: the kernel's own answer decides.
fn rustix_index(device: &str) -> bool {
    let Ok(socket) =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
    else {
        return false;
    };
    rustix::net::netdevice::name_to_index(socket.as_fd(), device).is_ok()
}

/// Removes an owner's devices (both ends go together); none is no error.
pub(crate) async fn disconnect(owner: &str) -> Result<(), NetworkError> {
    let handle = netlink()?;
    remove(&handle, &host_device(owner)).await?;
    device::release(&handle, owner).await
}

/// Removes every pod's device on the node.
pub(crate) async fn remove_all() -> Result<(), NetworkError> {
    let handle = netlink()?;
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(NetworkError::netlink("list devices"))?;
    for name in links.iter().filter_map(name).filter(|name| is_pod_device(name)) {
        remove(&handle, name).await?;
    }
    device::remove_strays().await
}

pub(crate) async fn remove(handle: &Handle, device: &str) -> Result<(), NetworkError> {
    match find(handle, device).await? {
        Some(link) => remove_index(handle, link.header.index, device).await,
        None => Ok(()),
    }
}

/// Removes the device that had an index; its name is for errors.
pub(crate) async fn remove_index(handle: &Handle, index: u32, device: &str) -> Result<(), NetworkError> {
    match handle.link().del(index).execute().await {
        // Gone meanwhile: with its namespace, or by the other of two DELs.
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(()),
        result => result.map_err(NetworkError::netlink(format!("remove {device}"))),
    }
}

pub(crate) async fn find(handle: &Handle, device: &str) -> Result<Option<LinkMessage>, NetworkError> {
    match handle.link().get().match_name(device.to_owned()).execute().try_next().await {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
        result => result.map_err(NetworkError::netlink(format!("look up {device}"))),
    }
}

/// The MTU of the device that the default route leaves by, that of IPv4 if there are two; without one Ethernet's 1500.
pub(crate) async fn default_mtu(handle: &Handle) -> Result<u32, NetworkError> {
    let read = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let device = default4(&read("route")).or_else(|| default6(&read("ipv6_route")));
    let Some(device) = device else { return Ok(1500) };
    let link = find(handle, &device).await?;
    let mtu = link.as_ref().and_then(mtu_of);
    Ok(mtu.unwrap_or(1500))
}

/// The device of the first default route, from the text of /proc/net/route. PURE.
fn default4(text: &str) -> Option<String> {
    text.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let device = fields.next()?;
        (fields.next()? == "00000000").then(|| device.to_owned())
    })
}

/// The same from the text of /proc/net/ipv6_route: address and prefix length first, the device last. What leads to `lo` refuses.
fn default6(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let all = fields.first()?.bytes().all(|digit| digit == b'0') && *fields.get(1)? == "00";
        fields.last().filter(|device| all && **device != "lo").map(|device| (*device).to_owned())
    })
}

pub(crate) fn mtu_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

pub(crate) fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

pub(crate) fn mac(link: &LinkMessage) -> Vec<u8> {
    let address = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => Some(address.clone()),
        _ => None,
    });
    address.unwrap_or_default()
}

/// A route to a network of either family.
pub(crate) fn route_to(network: IpNet) -> RouteMessageBuilder<IpAddr> {
    let mut route = RouteMessageBuilder::<IpAddr>::new();
    let message = route.get_mut();
    message.header.address_family = family(&network);
    message.header.destination_prefix_length = network.prefix_len();
    message.attributes.push(RouteAttribute::Destination(network.network().into()));
    route
}

/// The next hop of a route, of its family.
pub(crate) fn by(mut route: RouteMessageBuilder<IpAddr>, gateway: IpAddr) -> RouteMessageBuilder<IpAddr> {
    route.get_mut().attributes.push(RouteAttribute::Gateway(gateway.into()));
    route
}

/// A network's family, as netlink has it.
pub(crate) fn family(network: &IpNet) -> AddressFamily {
    if is_v6(network) { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

/// An address alone, as a network.
pub(crate) fn alone(address: IpAddr) -> IpNet {
    address.into()
}

/// Gives a device an address that nobody else has: no neighbour is asked about it.
pub(crate) async fn add_address(
    handle: &Handle,
    index: u32,
    address: IpAddr,
) -> Result<(), rtnetlink::Error> {
    let mut request = handle.address().add(index, address, alone(address).prefix_len()).replace();
    if address.is_ipv6() {
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    }
    request.execute().await
}

/// A neighbour that is never asked for.
pub(crate) async fn add_neighbour(
    handle: &Handle,
    index: u32,
    address: IpAddr,
    mac: &[u8],
) -> Result<(), rtnetlink::Error> {
    let request = handle.neighbours().add(index, address).link_layer_address(mac);
    request.state(NeighbourState::Permanent).replace().execute().await
}

pub(crate) fn netlink() -> Result<Handle, NetworkError> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(NetworkError::io("open", Path::new("a netlink socket")))?;
    tokio::spawn(connection);
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found() {
        let four = "Iface Destination Gateway\neth1 0000000A 00000000\neth0 00000000 0100000A\n";
        assert_eq!(default4(four).as_deref(), Some("eth0"));
        let zero = "00000000000000000000000000000000";
        let line = |address: &str, length: &str, device: &str| {
            format!("{address} {length} {zero} 00 {zero} 00000400 00000001 00000000 00000003     {device}\n")
        };
        let net = "fd000000000000000000000000000000";
        let six = [
            line(net, "40", "eth1"),
            line(zero, "00", "lo"),
            line(zero, "80", "lo"),
            line(zero, "00", "eth0"),
        ];
        assert_eq!(default6(&six.concat()).as_deref(), Some("eth0"));
        assert_eq!((default4(""), default6(&six[..3].concat())), (None, None));
    }

    #[test]
    fn device_names_fit_and_differ() {
        let name = host_device("0123456789abcdef eth0");
        assert_eq!(name.len(), 15);
        assert_eq!(name, host_device("0123456789abcdef eth0"));
        assert_ne!(name, host_device("0123456789abcdef eth1"));
        assert!(is_pod_device(&name));
        assert!(!is_pod_device("xebec-pods") && !is_pod_device("xebec-dsr") && !is_pod_device("eth0"));
    }
}
