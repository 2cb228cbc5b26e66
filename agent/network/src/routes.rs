//! Routes to the pods of other nodes, by rtnetlink, in the main table. Enters: a plan of `peers`. Leaves: exactly its routes,
//! and the tunnel's device while one of them needs it.
//!
//! Our routes bear a protocol number of their own: what is listed under it is ours, however the agent ended before, and
//! nothing else is ever changed. A route of others to the same network stays, and ours is not made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteIp6Tunnel, RouteIp6TunnelFlags, RouteIpTunnel,
    RouteLwTunnelEncap, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::link::{by, family, is_pod_device, name, netlink, route_to};
use crate::peers::{OwnAddress, Plan, Way};
use crate::tunnel::{self, Neighbours, TUNNEL_DEVICE, VNI, next_hop};
use crate::{IpNet, NetworkError};

/// Who made a route (`rtm_protocol`): a number that neither the kernel nor iproute2's table (`rt_protos`) gives to anybody.
pub const PROTOCOL: u8 = 88;

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Routes that were added or changed.
    pub added: usize,
    /// Routes that were removed.
    pub removed: usize,
    /// Networks that have no route or an old one, and why; a later call tries again.
    pub failed: BTreeMap<IpNet, String>,
    /// Why there is no tunnel although it is needed; routes that were through it are as they were.
    pub no_tunnel: Option<String>,
}

/// A route of the main table, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    network: IpNet,
    priority: u32,
    ours: bool,
    /// `None` for a way that is not of our kind.
    way: Option<Way>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Changes {
    add: Vec<IpNet>,
    replace: Vec<IpNet>,
    remove: Vec<IpNet>,
    /// Others have a route there.
    taken: Vec<IpNet>,
}

/// From the routes that are there to those that are wanted. PURE.
fn changes(wanted: &BTreeMap<IpNet, Way>, found: &[Found]) -> Changes {
    let taken: BTreeSet<IpNet> =
        found.iter().filter(|route| !route.ours && route.priority == 0).map(|route| route.network).collect();
    let mut out = Changes::default();
    let mut there = BTreeMap::new();
    for route in found.iter().filter(|route| route.ours) {
        there.insert(route.network, route.way);
    }
    for (network, way) in wanted {
        match there.remove(network) {
            Some(old) if old == Some(*way) => {}
            // A replacement takes the place of whichever comes first.
            Some(_) if taken.contains(network) => {
                out.remove.push(*network);
                out.taken.push(*network);
            }
            None if taken.contains(network) => out.taken.push(*network),
            Some(_) => out.replace.push(*network),
            None => out.add.push(*network),
        }
    }
    out.remove.extend(there.into_keys());
    out
}

/// Makes the routes those of the plan, of the node whose own pods have addresses of `pods`; `port` is VXLAN's.
///
/// # Errors
/// Nothing could be read, or no neighbour be changed; the routes that are there stay.
pub async fn apply(plan: &Plan, pods: &[IpNet], port: u16) -> Result<Applied, NetworkError> {
    let handle = netlink()?;
    let wanted: BTreeMap<IpNet, Way> = plan.ways.iter().map(|(cidr, to)| (*cidr, to.way)).collect();
    let tunnelled = plan.ways.iter().filter(|(_, to)| matches!(to.way, Way::Tunnel { .. }));
    let behind: BTreeMap<IpNet, IpNet> = tunnelled.map(|(cidr, to)| (*cidr, to.first)).collect();
    if behind.is_empty() {
        let mut out = Applied::default();
        settle(&handle, &wanted, 0, &BTreeSet::new(), &mut out).await?;
        tunnel::remove(&handle).await?;
        return Ok(out);
    }
    let over_v6 = wanted.values().any(|way| matches!(way, Way::Tunnel { remote } if remote.is_ipv6()));
    let device = match tunnel::ensure(&handle, pods, port, over_v6).await {
        Ok(device) => device,
        Err(error) => {
            // The others have their routes all the same.
            let beside = wanted.into_iter().filter(|(network, _)| !behind.contains_key(network)).collect();
            let mut out = Applied { no_tunnel: Some(error.to_string()), ..Applied::default() };
            settle(&handle, &beside, 0, &behind.into_keys().collect(), &mut out).await?;
            return Ok(out);
        }
    };
    let neighbours = Neighbours::list(&handle, device).await?;
    neighbours.add(&handle, &behind).await?;
    let mut out = Applied::default();
    settle(&handle, &wanted, device, &BTreeSet::new(), &mut out).await?;
    neighbours.remove(&handle, &behind).await?;
    Ok(out)
}

/// Removes all routes of ours and the tunnel's device; none is no error.
///
/// # Errors
/// The kernel's; calling it again continues.
pub(crate) async fn remove() -> Result<(), NetworkError> {
    let handle = netlink()?;
    let mut out = Applied::default();
    settle(&handle, &BTreeMap::new(), 0, &BTreeSet::new(), &mut out).await?;
    if let Some((network, error)) = out.failed.into_iter().next() {
        return Err(NetworkError::Route(network, error));
    }
    tunnel::remove(&handle).await
}

/// From what is there to what is wanted; routes to networks of `kept` are not touched.
async fn settle(
    handle: &Handle,
    wanted: &BTreeMap<IpNet, Way>,
    tunnel: u32,
    kept: &BTreeSet<IpNet>,
    out: &mut Applied,
) -> Result<(), NetworkError> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut all = RouteMessageBuilder::<IpAddr>::new();
        all.get_mut().header.address_family = family;
        let mut listed = handle.route().get(all.build()).execute();
        while let Some(message) = listed.try_next().await.map_err(NetworkError::netlink("list routes"))? {
            found.extend(read(&message, tunnel));
        }
    }
    let changes = changes(wanted, &found);
    for (networks, replace) in [(&changes.replace, true), (&changes.add, false)] {
        for network in networks {
            let Some(way) = wanted.get(network) else { continue };
            let request = handle.route().add(route(*network, *way, tunnel));
            let request = if replace { request.replace() } else { request };
            match request.execute().await {
                Ok(()) => out.added += 1,
                Err(error) => {
                    out.failed.insert(*network, error.to_string());
                }
            }
        }
    }
    for network in changes.remove.iter().filter(|network| !kept.contains(network)) {
        match handle.route().del(mark(*network).scope(RouteScope::NoWhere).build()).execute().await {
            Ok(()) => out.removed += 1,
            // Gone with its device.
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ESRCH => {}
            Err(error) => {
                out.failed.insert(*network, error.to_string());
            }
        }
    }
    let taken = "somebody else has a route to this network; it is left alone".to_owned();
    out.failed.extend(changes.taken.into_iter().map(|network| (network, taken.clone())));
    Ok(())
}

/// A route of ours to a network.
fn mark(network: IpNet) -> RouteMessageBuilder<IpAddr> {
    route_to(network).protocol(RouteProtocol::from(PROTOCOL))
}

fn route(network: IpNet, way: Way, tunnel: u32) -> RouteMessage {
    let route = match way {
        Way::Native { via, device } => by(mark(network), via).output_interface(device),
        Way::Tunnel { remote } => {
            let inside = by(mark(network), next_hop(&network)).output_interface(tunnel);
            match remote {
                IpAddr::V4(remote) => {
                    inside.encap_ip(vec![RouteIpTunnel::Id(VNI), RouteIpTunnel::Destination(remote)])
                }
                // UDP over IPv6 without a checksum is dropped where it arrives.
                IpAddr::V6(remote) => inside.encap_ip6(vec![
                    RouteIp6Tunnel::Id(VNI),
                    RouteIp6Tunnel::Destination(remote),
                    RouteIp6Tunnel::Flags(RouteIp6TunnelFlags::Checksum),
                ]),
            }
        }
    };
    route.onlink().build()
}

/// What the kernel makes of no priority in a route of IPv6 (`IP6_RT_PRIO_USER`).
const PRIORITY6: u32 = 1024;

/// `None` for a route of another table, for some packets only, or for all of them. PURE.
fn read(message: &RouteMessage, tunnel: u32) -> Option<Found> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.tos != 0 {
        return None;
    }
    let (mut target, mut priority, mut via, mut device, mut encap) = (None, 0, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => target = plain(address),
            RouteAttribute::Priority(value) => priority = *value,
            RouteAttribute::Gateway(address) => via = plain(address),
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Encap(parts) => encap = Some(parts),
            _ => {}
        }
    }
    let network = IpNet::new(target?, header.destination_prefix_length).ok()?;
    if family(&network) == AddressFamily::Inet6 && priority == PRIORITY6 {
        priority = 0;
    }
    let way = match (via, device, encap) {
        (Some(via), Some(device), None) => Some(Way::Native { via, device }),
        (Some(via), Some(device), Some(parts)) if via == next_hop(&network) && device == tunnel => {
            remote(parts).map(|remote| Way::Tunnel { remote })
        }
        _ => None,
    };
    Some(Found { network, priority, ours: header.protocol == RouteProtocol::from(PROTOCOL), way })
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// The other end of our tunnel.
fn remote(parts: &[RouteLwTunnelEncap]) -> Option<IpAddr> {
    let ours =
        [RouteLwTunnelEncap::Ip(RouteIpTunnel::Id(VNI)), RouteLwTunnelEncap::Ip6(RouteIp6Tunnel::Id(VNI))];
    let end = parts.iter().find_map(|part| match part {
        RouteLwTunnelEncap::Ip(RouteIpTunnel::Destination(remote)) => Some(IpAddr::V4(*remote)),
        RouteLwTunnelEncap::Ip6(RouteIp6Tunnel::Destination(remote)) => Some(IpAddr::V6(*remote)),
        _ => None,
    });
    end.filter(|_| parts.iter().any(|part| ours.contains(part)))
}

/// This node's addresses on devices that lead to other machines: those that are up, without loopback and ours. Addresses that
/// count on one link only are none.
///
/// # Errors
/// The kernel's.
pub async fn own_addresses() -> Result<Vec<OwnAddress>, NetworkError> {
    let handle = netlink()?;
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(NetworkError::netlink("list devices"))?;
    let outside = |link: &&LinkMessage| {
        let flags = link.header.flags;
        let ours = name(link).is_none_or(|name| name == TUNNEL_DEVICE || is_pod_device(name));
        flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::Loopback) && !ours
    };
    let devices: BTreeSet<u32> = links.iter().filter(outside).map(|link| link.header.index).collect();
    let mut out = Vec::new();
    let mut listed = handle.address().get().execute();
    while let Some(found) = listed.try_next().await.map_err(NetworkError::netlink("list addresses"))? {
        let device = found.header.index;
        if let Some(address) = address(&found).filter(|_| devices.contains(&device))
            && let Ok(network) = IpNet::new(address, found.header.prefix_len)
        {
            out.push(OwnAddress { device, address, network: network.trunc() });
        }
    }
    Ok(out)
}

/// A node's own end. IPv6 has no other, and says so by another attribute.
fn address(message: &AddressMessage) -> Option<IpAddr> {
    let is_on_link = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        AddressAttribute::Address(address) if address.is_ipv6() => Some(*address),
        _ => None,
    });
    local.filter(|address| !is_on_link(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn native(last: u8) -> Way {
        Way::Native { via: IpAddr::from([192, 0, 2, last]), device: 3 }
    }

    fn found(network: &str, ours: bool, way: Way) -> Found {
        Found { network: cidr(network), priority: 0, ours, way: Some(way) }
    }

    #[test]
    fn what_differs_is_changed_and_others_routes_are_left_alone() {
        let wanted = BTreeMap::from([
            (cidr("10.244.2.0/24"), native(2)),
            (cidr("10.244.3.0/24"), native(3)),
            (cidr("10.244.4.0/24"), native(4)),
            (cidr("10.244.5.0/24"), native(5)),
            (cidr("10.244.6.0/24"), native(6)),
            (cidr("10.244.7.0/24"), native(7)),
        ]);
        let lower = Found { priority: 100, ..found("10.244.3.0/24", false, native(9)) };
        let there = [
            found("10.244.2.0/24", true, native(2)),
            lower,
            found("10.244.4.0/24", true, native(9)),
            found("10.244.5.0/24", false, native(9)),
            // Both are there, by `ip route append`.
            found("10.244.6.0/24", false, native(9)),
            found("10.244.6.0/24", true, native(6)),
            found("10.244.7.0/24", false, native(9)),
            found("10.244.7.0/24", true, native(9)),
            found("10.244.8.0/24", true, native(8)),
            found("10.244.9.0/24", false, native(9)),
        ];
        let expected = Changes {
            add: vec![cidr("10.244.3.0/24")],
            replace: vec![cidr("10.244.4.0/24")],
            remove: vec![cidr("10.244.7.0/24"), cidr("10.244.8.0/24")],
            taken: vec![cidr("10.244.5.0/24"), cidr("10.244.7.0/24")],
        };
        assert_eq!(changes(&wanted, &there), expected);
    }

    #[test]
    fn a_route_is_read_as_it_was_written() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (over4, over6) =
            (Way::Tunnel { remote: address("203.0.113.7") }, Way::Tunnel { remote: address("fd00::7") });
        let native6 = Way::Native { via: address("fd00::2"), device: 3 };
        for (network, way) in [
            ("10.244.2.0/24", native(2)),
            ("10.244.2.0/24", over4),
            ("10.244.2.0/24", over6),
            ("fd44:2::/64", native6),
            ("fd44:2::/64", over4),
            ("fd44:2::/64", over6),
        ] {
            let mut message = route(cidr(network), way, 7);
            assert_eq!(read(&message, 7), Some(found(network, true, way)));
            message.attributes.push(RouteAttribute::Priority(PRIORITY6));
            let priority = if network.contains(':') { 0 } else { PRIORITY6 };
            assert_eq!(read(&message, 7).unwrap().priority, priority);
        }
        // The device is another by now.
        let stale = read(&route(cidr("10.244.2.0/24"), over4, 7), 8).unwrap();
        assert!(stale.ours && stale.way.is_none());
        let theirs = |network: &str| by(route_to(cidr(network)), address("192.0.2.1")).output_interface(3);
        let mut default = theirs("0.0.0.0/0").build();
        default.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Destination(_)));
        assert_eq!(read(&default, 7), None);
        let mut elsewhere = theirs("10.244.2.0/24").table_id(77).build();
        assert_eq!(read(&elsewhere, 7), None);
        elsewhere.header.table = RouteHeader::RT_TABLE_MAIN;
        assert!(!read(&elsewhere, 7).unwrap().ours);
    }
}
