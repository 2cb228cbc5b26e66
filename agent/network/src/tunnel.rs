//! The VXLAN device to the pods of nodes on other networks, by rtnetlink. Enters: a port and this node's pod network. Leaves:
//! the device, up, which takes each packet's other end from its route, and the hardware addresses of those other ends.
//!
//! A device's hardware address follows from its node's pod network, so that every node knows those of all others and nobody
//! ever asks for one. They differ: the kernel drops what seems to come from the receiving device itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVxlan};

use crate::link::{default_mtu, find, mac, mtu_of, remove as remove_device};
use crate::{Cidr, NetworkError};

/// The device's name.
pub const TUNNEL_DEVICE: &str = "xebec-pods";
/// The network identifier that all pods' packets carry.
pub(crate) const VNI: u64 = 1;
/// Ethernet, VXLAN, UDP and IPv4 around a packet, in bytes.
const OVERHEAD: u32 = 14 + 8 + 8 + 20;

/// The hardware address of the device of the node that has these pods: locally administered, and on no wire.
fn hardware_address(pods: Cidr) -> [u8; 6] {
    let [a, b, c, d] = pods.base().octets();
    [0x02, b'x', a, b, c, d]
}

/// The device's index; it is made, or made anew where it is another, and brought up.
pub(crate) async fn ensure(handle: &Handle, pods: Cidr, port: u16) -> Result<u32, NetworkError> {
    let mtu = default_mtu(handle).await?.saturating_sub(OVERHEAD);
    let own = hardware_address(pods);
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
            parameter("ipv4", "rp_filter", "0");
            // It has no IPv6 address of its own, of any kind.
            parameter("ipv6", "addr_gen_mode", "1");
            let made = find(handle, TUNNEL_DEVICE).await?;
            made.ok_or_else(|| NetworkError::NoDevice(TUNNEL_DEVICE.to_owned()))?.header.index
        }
    };
    address(handle, index, pods).await?;
    raise(handle, index, mtu, port).await?;
    Ok(index)
}

fn at_port(what: &str, port: u16) -> String {
    format!("{what} {TUNNEL_DEVICE} at UDP port {port} (--pod-vxlan-port)")
}

/// Gives it its address where it has it not: whoever follows addresses would be woken for nothing.
async fn address(handle: &Handle, index: u32, pods: Cidr) -> Result<(), NetworkError> {
    let doing = |what: &str| format!("{what} {TUNNEL_DEVICE}");
    // What the node itself sends pods elsewhere has this address, which leads back here; no pod has it.
    let own = AddressAttribute::Local(IpAddr::V4(pods.base()));
    let mut listed = handle.address().get().set_link_index_filter(index).execute();
    let mut addressed = pods.hosts().contains(&u32::from(pods.base()));
    while let Some(one) = listed.try_next().await.map_err(NetworkError::netlink(doing("look at")))? {
        addressed |= one.attributes.contains(&own);
    }
    if !addressed {
        let request = handle.address().add(index, IpAddr::V4(pods.base()), 32).replace();
        request.execute().await.map_err(NetworkError::netlink(doing("set the address of")))?;
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

fn parameter(family: &str, name: &str, value: &str) {
    let path = format!("/proc/sys/net/{family}/conf/{TUNNEL_DEVICE}/{name}");
    if let Err(error) = std::fs::write(&path, value) {
        // Without IPv6 in the kernel there is nothing to set.
        tracing::debug!(%error, path, "kernel parameter left as it is");
    }
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

/// The neighbours of the device: the next hop to a node's pods is the address of its own device.
pub(crate) struct Neighbours {
    index: u32,
    found: BTreeMap<Ipv4Addr, (Vec<u8>, NeighbourMessage)>,
}

impl Neighbours {
    /// Those that are there.
    pub(crate) async fn list(handle: &Handle, index: u32) -> Result<Self, NetworkError> {
        let listed = handle.neighbours().get().set_address_family(AddressFamily::Inet).execute();
        let all: Vec<NeighbourMessage> =
            listed.try_collect().await.map_err(NetworkError::netlink("list neighbours"))?;
        let of_device = all.into_iter().filter(|one| one.header.ifindex == index);
        let permanent = of_device.filter(|one| one.header.state == NeighbourState::Permanent);
        let known = permanent.filter_map(|one| {
            let address = one.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
                _ => None,
            })?;
            let mac = one.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(mac) => Some(mac.clone()),
                _ => None,
            });
            Some((address, (mac.unwrap_or_default(), one)))
        });
        Ok(Self { index, found: known.collect() })
    }

    /// Makes those known that are behind the tunnel.
    pub(crate) async fn add(&self, handle: &Handle, nodes: &BTreeSet<Cidr>) -> Result<(), NetworkError> {
        for pods in nodes {
            let (address, mac) = (pods.base(), hardware_address(*pods));
            if self.found.get(&address).is_some_and(|(known, _)| *known == mac) {
                continue;
            }
            let request = handle.neighbours().add(self.index, IpAddr::V4(address)).link_layer_address(&mac);
            let request = request.state(NeighbourState::Permanent).replace();
            request.execute().await.map_err(NetworkError::netlink(format!("add the neighbour {address}")))?;
        }
        Ok(())
    }

    /// Forgets those that are not.
    pub(crate) async fn remove(self, handle: &Handle, nodes: &BTreeSet<Cidr>) -> Result<(), NetworkError> {
        let wanted: BTreeSet<Ipv4Addr> = nodes.iter().map(|pods| pods.base()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_follow_from_pod_networks() {
        let one = hardware_address("10.244.1.0/24".parse().unwrap());
        assert_eq!(one, [2, b'x', 10, 244, 1, 0]);
        assert_ne!(one, hardware_address("10.244.2.0/24".parse().unwrap()));
        assert!(one[0] & 1 == 0, "a multicast address");
    }

    #[test]
    fn another_vxlan_device_is_not_ours() {
        let external = LinkMessageBuilder::<LinkVxlan>::new("x").collect_metadata(true).port(8472).build();
        assert_eq!(port_of(&external), Some(8472));
        assert_eq!(port_of(&LinkVxlan::new("x", 5).port(8472).build()), None);
        assert_eq!(port_of(&LinkUnspec::new_with_name("x").build()), None);
    }
}
