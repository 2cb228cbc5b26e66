//! Routes to the pods of other nodes, by rtnetlink, in the main table. Enters: a plan of `peers`. Leaves: exactly its routes,
//! and the tunnel's device while one of them needs it.
//!
//! Our routes bear a protocol number of their own: what is listed under it is ours, however the agent ended before, and
//! nothing else is ever changed. A route of others to the same network stays, and ours is not made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use futures::TryStreamExt;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteIpTunnel, RouteLwTunnelEncap, RouteMessage,
    RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::link::{is_pod_device, name, netlink};
use crate::peers::{OwnAddress, Plan, Way};
use crate::tunnel::{self, Neighbours, TUNNEL_DEVICE, VNI};
use crate::{Cidr, NetworkError};

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
    pub failed: BTreeMap<Cidr, String>,
    /// Why there is no tunnel although it is needed; routes that were through it are as they were.
    pub no_tunnel: Option<String>,
}

/// A route of the main table, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    network: Cidr,
    priority: u32,
    ours: bool,
    /// `None` for a way that is not of our kind.
    way: Option<Way>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Changes {
    add: Vec<Cidr>,
    replace: Vec<Cidr>,
    remove: Vec<Cidr>,
    /// Others have a route there.
    taken: Vec<Cidr>,
}

/// From the routes that are there to those that are wanted. PURE.
fn changes(wanted: &BTreeMap<Cidr, Way>, found: &[Found]) -> Changes {
    let taken: BTreeSet<Cidr> =
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

/// Makes the routes those of the plan, of the node with these pods; `port` is VXLAN's.
///
/// # Errors
/// Nothing could be read, or no neighbour be changed; the routes that are there stay.
pub async fn apply(plan: &Plan, pods: Cidr, port: u16) -> Result<Applied, NetworkError> {
    let handle = netlink()?;
    let wanted: BTreeMap<Cidr, Way> = plan.ways.iter().map(|(cidr, (_, way))| (*cidr, *way)).collect();
    let behind = |(cidr, way): (&Cidr, &Way)| matches!(way, Way::Tunnel { .. }).then_some(*cidr);
    let behind: BTreeSet<Cidr> = wanted.iter().filter_map(behind).collect();
    if behind.is_empty() {
        let mut out = Applied::default();
        settle(&handle, &wanted, 0, &behind, &mut out).await?;
        tunnel::remove(&handle).await?;
        return Ok(out);
    }
    let device = match tunnel::ensure(&handle, pods, port).await {
        Ok(device) => device,
        Err(error) => {
            // The others have their routes all the same.
            let beside = wanted.into_iter().filter(|(network, _)| !behind.contains(network)).collect();
            let mut out = Applied { no_tunnel: Some(error.to_string()), ..Applied::default() };
            settle(&handle, &beside, 0, &behind, &mut out).await?;
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
    wanted: &BTreeMap<Cidr, Way>,
    tunnel: u32,
    kept: &BTreeSet<Cidr>,
    out: &mut Applied,
) -> Result<(), NetworkError> {
    let list = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let listed: Vec<RouteMessage> = list.try_collect().await.map_err(NetworkError::netlink("list routes"))?;
    let found: Vec<Found> = listed.iter().filter_map(|message| read(message, tunnel)).collect();
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
fn mark(network: Cidr) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(network.base(), network.length())
        .protocol(RouteProtocol::from(PROTOCOL))
}

fn route(network: Cidr, way: Way, tunnel: u32) -> RouteMessage {
    match way {
        Way::Native { via, device } => mark(network).gateway(via).output_interface(device).onlink().build(),
        Way::Tunnel { remote } => mark(network)
            .encap_ip(vec![RouteIpTunnel::Id(VNI), RouteIpTunnel::Destination(remote)])
            .gateway(network.base())
            .output_interface(tunnel)
            .onlink()
            .build(),
    }
}

/// `None` for a route of another table, for some packets only, or for all of them. PURE.
fn read(message: &RouteMessage, tunnel: u32) -> Option<Found> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.tos != 0 {
        return None;
    }
    let (mut target, mut priority, mut via, mut device, mut encap) = (None, 0, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => target = Some(*address),
            RouteAttribute::Priority(value) => priority = *value,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Encap(parts) => encap = Some(parts),
            _ => {}
        }
    }
    let network = Cidr::of(target?, header.destination_prefix_length)?;
    let way = match (via, device, encap) {
        (Some(via), Some(device), None) => Some(Way::Native { via, device }),
        (Some(via), Some(device), Some(parts)) if via == network.base() && device == tunnel => {
            let ours = parts.contains(&RouteLwTunnelEncap::Ip(RouteIpTunnel::Id(VNI)));
            let remote = parts.iter().find_map(|part| match part {
                RouteLwTunnelEncap::Ip(RouteIpTunnel::Destination(remote)) => Some(*remote),
                _ => None,
            });
            remote.filter(|_| ours).map(|remote| Way::Tunnel { remote })
        }
        _ => None,
    };
    Some(Found { network, priority, ours: header.protocol == RouteProtocol::from(PROTOCOL), way })
}

/// This node's IPv4 addresses on devices that lead to other machines: those that are up, without loopback and ours.
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
        let local = found.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(std::net::IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
        let device = found.header.index;
        if let Some(address) = local.filter(|_| devices.contains(&device))
            && let Some(network) = Cidr::of(address, found.header.prefix_len)
        {
            out.push(OwnAddress { device, address, network });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn native(last: u8) -> Way {
        Way::Native { via: Ipv4Addr::new(192, 0, 2, last), device: 3 }
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
        let tunnel = Way::Tunnel { remote: Ipv4Addr::new(203, 0, 113, 7) };
        for way in [native(2), tunnel] {
            let message = route(cidr("10.244.2.0/24"), way, 7);
            assert_eq!(read(&message, 7), Some(found("10.244.2.0/24", true, way)));
        }
        // The device is another by now.
        let stale = read(&route(cidr("10.244.2.0/24"), tunnel, 7), 8).unwrap();
        assert!(stale.ours && stale.way.is_none());
        let theirs = RouteMessageBuilder::<Ipv4Addr>::new().gateway(Ipv4Addr::new(192, 0, 2, 1));
        let default = theirs.clone().output_interface(3).build();
        assert_eq!(read(&default, 7), None);
        let mut elsewhere = theirs.destination_prefix(Ipv4Addr::new(10, 244, 2, 0), 24).table_id(77).build();
        assert_eq!(read(&elsewhere, 7), None);
        elsewhere.header.table = RouteHeader::RT_TABLE_MAIN;
        assert!(!read(&elsewhere, 7).unwrap().ours);
    }
}
