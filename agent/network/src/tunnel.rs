//! The VXLAN device to the pods of nodes on other networks, by rtnetlink. Enters: a port and this node's pod networks. Leaves:
//! the device, up, which takes each packet's other end from its route, and the hardware addresses of those other ends.
//!
//! A device's hardware address follows from its node's first pod network, so that every node knows those of all others and nobody
//! ever asks for one. They differ: the kernel drops what seems to come from the receiving device itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use futures::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVxlan};

use crate::NetworkError;
use crate::cidr::{IpNet, hosts, is_v6, number};
use crate::forwarding::parameter;
use crate::link::{add_address, add_neighbour, default_mtu, find, mac, mtu_of, remove as remove_device};

/// The device's name.
pub const TUNNEL_DEVICE: &str = "xebec-pods";
/// The network identifier that all pods' packets carry.
pub(crate) const VNI: u64 = 1;
/// Ethernet, VXLAN, UDP and IP around a packet, in bytes.
fn overhead(v6: bool) -> u32 {
    14 + 8 + 8 + if v6 { 40 } else { 20 }
}

/// Where packets to the pods of a share go within the tunnel. Of IPv4 that is an address which its node's device has; of IPv6 one
/// on the device's link: the kernel takes no other while another device leads to the share, and none needs to have it.
pub(crate) fn next_hop(pods: &IpNet) -> IpAddr {
    match pods.network() {
        IpAddr::V4(base) => base.into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(folded(pods))).into(),
    }
}

/// Shares of one cluster differ in 16 bits that are beside one another, and so do these.
fn folded(pods: &IpNet) -> u32 {
    let bits = number(pods.network());
    (0..4).fold(0, |folded, word| folded ^ (bits >> (32 * word)) as u32)
}

/// The hardware address of the device of the node whose first share of pods' addresses this is: locally administered, and on no
/// wire.
fn hardware_address(first: &IpNet) -> [u8; 6] {
    let [a, b, c, d] = folded(first).to_be_bytes();
    [0x02, b'x', a, b, c, d]
}

/// The device's index; it is made, or made anew where it is another, and brought up. `pods` are this node's own, `over_v6` says
/// whether packets travel to IPv6 addresses.
pub(crate) async fn ensure(
    handle: &Handle,
    pods: &[IpNet],
    port: u16,
    over_v6: bool,
) -> Result<u32, NetworkError> {
    let mtu = default_mtu(handle).await?.saturating_sub(overhead(over_v6));
    let own = pods.first().map(hardware_address).unwrap_or_default();
    let found = match find(handle, TUNNEL_DEVICE).await? {
        Some(link) if port_of(&link) != Some(port) || mac(&link) != own => {
            remove_device(handle, TUNNEL_DEVICE).await?;
            None
        }
        found => found,
    };
    let index = match found {
        Some(link) => link.header.index,
        None => {
            let device = LinkMessageBuilder::<LinkVxlan>::new(TUNNEL_DEVICE)
                .collect_metadata(true)
                .learning(false)
                .port(port);
            let device = device.address(own.to_vec()).arp(false).mtu(mtu).build();
            let refused = NetworkError::netlink(at_port("create", port));
            handle.link().add(device).execute().await.map_err(refused)?;
            // Packets of nodes that reach this one by another way are answered by that.
            parameter("ipv4", TUNNEL_DEVICE, "rp_filter", "0");
            // It has no IPv6 address but the one that it is given.
            parameter("ipv6", TUNNEL_DEVICE, "addr_gen_mode", "1");
            parameter("ipv6", TUNNEL_DEVICE, "accept_ra", "0");
            let made = find(handle, TUNNEL_DEVICE).await?;
            made.ok_or_else(|| NetworkError::NoDevice(TUNNEL_DEVICE.to_owned()))?.header.index
        }
    };
    for pods in pods {
        address(handle, index, pods).await?;
    }
    raise(handle, index, mtu, port).await?;
    Ok(index)
}

fn at_port(what: &str, port: u16) -> String {
    format!("{what} {TUNNEL_DEVICE} at UDP port {port} (--pod-vxlan-port)")
}

/// Gives it an address where it has it not: whoever follows addresses would be woken for nothing.
async fn address(handle: &Handle, index: u32, pods: &IpNet) -> Result<(), NetworkError> {
    let doing = |what: &str| format!("{what} {TUNNEL_DEVICE}");
    // What the node itself sends pods elsewhere has this address, which leads back here; no pod has it.
    let base = pods.network();
    if hosts(pods).contains(&number(base)) {
        return Ok(());
    }
    // IPv6 addresses have no local end of their own.
    let own = [AddressAttribute::Local(base), AddressAttribute::Address(base)];
    let mut listed = handle.address().get().set_link_index_filter(index).execute();
    let mut addressed = false;
    while let Some(one) = listed.try_next().await.map_err(NetworkError::netlink(doing("look at")))? {
        addressed |= one.attributes.iter().any(|attribute| own.contains(attribute));
    }
    if !addressed {
        if is_v6(pods) {
            parameter("ipv6", TUNNEL_DEVICE, "disable_ipv6", "0");
        }
        let added = add_address(handle, index, base).await;
        added.map_err(NetworkError::netlink(doing("set the address of")))?;
    }
    Ok(())
}

async fn raise(handle: &Handle, index: u32, mtu: u32, port: u16) -> Result<(), NetworkError> {
    let found = find(handle, TUNNEL_DEVICE).await?;
    let is_up = |link: &LinkMessage| link.header.flags.contains(LinkFlags::Up);
    if found.as_ref().is_some_and(|link| is_up(link) && mtu_of(link) == Some(mtu)) {
        return Ok(());
    }
    let up = LinkUnspec::new_with_index(index).mtu(mtu).up().build();
    handle.link().set(up).execute().await.map_err(NetworkError::netlink(at_port("bring up", port)))
}

/// Removes the device; none is no error.
pub(crate) async fn remove(handle: &Handle) -> Result<(), NetworkError> {
    remove_device(handle, TUNNEL_DEVICE).await
}

/// The port of a VXLAN device that takes other ends from routes; `None` for any other device. PURE.
fn port_of(link: &LinkMessage) -> Option<u16> {
    let info = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    })?;
    let vxlan = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vxlan(vxlan)) => Some(vxlan),
        _ => None,
    })?;
    let external = vxlan.iter().any(|one| matches!(one, InfoVxlan::CollectMetadata(true)));
    let port = vxlan.iter().find_map(|one| if let InfoVxlan::Port(port) = one { Some(*port) } else { None });
    port.filter(|_| external)
}

/// The neighbours of the device: the next hops to other nodes' pods.
pub(crate) struct Neighbours {
    index: u32,
    found: BTreeMap<IpAddr, (Vec<u8>, NeighbourMessage)>,
}

impl Neighbours {
    /// Those that are there.
    pub(crate) async fn list(handle: &Handle, index: u32) -> Result<Self, NetworkError> {
        let mut found = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut listed = handle.neighbours().get().set_address_family(family).execute();
            while let Some(one) = listed.try_next().await.map_err(NetworkError::netlink("list neighbours"))? {
                if one.header.ifindex == index && one.header.state == NeighbourState::Permanent {
                    found.extend(known(&one).map(|(address, mac)| (address, (mac, one))));
                }
            }
        }
        Ok(Self { index, found })
    }

    /// Makes those known that are behind the tunnel: each network with the first share of its node.
    pub(crate) async fn add(
        &self,
        handle: &Handle,
        nodes: &BTreeMap<IpNet, IpNet>,
    ) -> Result<(), NetworkError> {
        for (pods, first) in nodes {
            let (address, mac) = (next_hop(pods), hardware_address(first));
            if self.found.get(&address).is_some_and(|(known, _)| *known == mac) {
                continue;
            }
            let added = add_neighbour(handle, self.index, address, &mac).await;
            added.map_err(NetworkError::netlink(format!("add the neighbour {address}")))?;
        }
        Ok(())
    }

    /// Forgets those that are not.
    pub(crate) async fn remove(
        self,
        handle: &Handle,
        nodes: &BTreeMap<IpNet, IpNet>,
    ) -> Result<(), NetworkError> {
        let wanted: BTreeSet<IpAddr> = nodes.keys().map(next_hop).collect();
        for (address, (_, message)) in self.found {
            if !wanted.contains(&address) {
                match handle.neighbours().del(message).execute().await {
                    Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENOENT => {}
                    result => {
                        result.map_err(NetworkError::netlink(format!("remove the neighbour {address}")))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A neighbour's address, and its hardware address. PURE.
fn known(one: &NeighbourMessage) -> Option<(IpAddr, Vec<u8>)> {
    let address = one.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let mac = one.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => Some(mac.clone()),
        _ => None,
    });
    Some((address, mac.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_follow_from_pod_networks() {
        let of = |text: &str| hardware_address(&text.parse().unwrap());
        let one = of("10.244.1.0/24");
        assert_eq!(one, [2, b'x', 10, 244, 1, 0]);
        assert_ne!(one, of("10.244.2.0/24"));
        assert!(one[0] & 1 == 0, "a multicast address");
        let all: BTreeSet<_> = (0..=u16::MAX).map(|n| of(&format!("fd00:10:244:{n:x}::/64"))).collect();
        assert_eq!(all.len(), 1 << 16);
    }

    #[test]
    fn another_vxlan_device_is_not_ours() {
        let external = LinkMessageBuilder::<LinkVxlan>::new("x").collect_metadata(true).port(8472).build();
        assert_eq!(port_of(&external), Some(8472));
        assert_eq!(port_of(&LinkVxlan::new("x", 5).port(8472).build()), None);
        assert_eq!(port_of(&LinkUnspec::new_with_name("x").build()), None);
    }
}
