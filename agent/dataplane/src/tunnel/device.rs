//! The VXLAN device of direct server return, by rtnetlink, in the network namespace of the calling thread. Enters: a port.
//! Leaves: the device, up, whose packets have no other ends than those that programs give and ask.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use xebec_abi::tunnel::MAC;

/// Its name.
pub const NAME: &str = "xebec-dsr";
/// The kernel answers from memory; this is never reached unless something is badly wrong.
const PATIENCE: Duration = Duration::from_secs(5);

/// The device's index; it is made, or made anew at another port, and brought up.
///
/// # Errors
/// The kernel's: EADDRINUSE if something else has the port, EOPNOTSUPP without VXLAN.
pub fn ensure(port: u16) -> io::Result<u32> {
    let netlink = Netlink::new()?;
    let found = match netlink.find(NAME)? {
        Some(link) if port_of(&link) != Some(port) => {
            netlink.remove(link.header.index)?;
            None
        }
        found => found,
    };
    let link = match found {
        Some(link) => link,
        None => {
            netlink.make(port)?;
            netlink.find(NAME)?.ok_or(io::ErrorKind::NotFound)?
        }
    };
    if !link.header.flags.contains(LinkFlags::Up) {
        // Clients' packets come by it whose answers leave by other devices; it has no address of its own, of any kind.
        parameter(&format!("ipv4/conf/{NAME}/rp_filter"), "0")?;
        if let Err(error) = parameter(&format!("ipv6/conf/{NAME}/addr_gen_mode"), "1") {
            tracing::debug!(%error, "this kernel has no IPv6");
        }
        netlink.raise(link.header.index)?;
    }
    Ok(link.header.index)
}

/// Removes the device if it has this index: another's pins may be of another network namespace. None is no error.
///
/// # Errors
/// The kernel's.
pub fn remove(index: u32) -> io::Result<()> {
    let netlink = Netlink::new()?;
    let found = netlink.find(NAME)?.filter(|link| link.header.index == index);
    found.map_or(Ok(()), |link| netlink.remove(link.header.index))
}

/// The largest packet that every one of these devices takes; Ethernet's without any.
///
/// # Errors
/// The kernel's.
pub fn narrowest(devices: &BTreeSet<u32>) -> io::Result<u32> {
    let links = Netlink::new()?.list()?;
    let of_these = links.iter().filter(|link| devices.contains(&link.header.index));
    let mtu = |link: &LinkMessage| {
        link.attributes.iter().find_map(|a| if let LinkAttribute::Mtu(mtu) = a { Some(*mtu) } else { None })
    };
    Ok(of_these.filter_map(mtu).min().unwrap_or(1500))
}

fn parameter(name: &str, value: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/sys/net/{name}"), value)
}

/// The port of a VXLAN device that takes ends from programs; `None` for any other device. PURE.
fn port_of(link: &LinkMessage) -> Option<u16> {
    let info = link.attributes.iter().find_map(|a| match a {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    })?;
    let vxlan = info.iter().find_map(|i| match i {
        LinkInfo::Data(InfoData::Vxlan(vxlan)) => Some(vxlan),
        _ => None,
    })?;
    let external = vxlan.iter().any(|v| matches!(v, InfoVxlan::CollectMetadata(true)));
    let port = vxlan.iter().find_map(|v| if let InfoVxlan::Port(port) = v { Some(*port) } else { None });
    port.filter(|_| external)
}

/// A socket to the kernel's routing.
struct Netlink(OwnedFd);

impl Netlink {
    fn new() -> io::Result<Self> {
        // No protocol number: 0 is NETLINK_ROUTE.
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self(socket))
    }

    fn list(&self) -> io::Result<Vec<LinkMessage>> {
        self.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)
    }

    fn find(&self, name: &str) -> io::Result<Option<LinkMessage>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK) {
            Ok(links) => Ok(links.into_iter().next()),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make(&self, port: u16) -> io::Result<()> {
        let mut message = LinkMessage::default();
        let vxlan = vec![InfoVxlan::CollectMetadata(true), InfoVxlan::Port(port), InfoVxlan::Learning(false)];
        message.attributes = vec![
            LinkAttribute::IfName(NAME.to_owned()),
            LinkAttribute::Address(MAC.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(vxlan)),
            ]),
        ];
        self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    fn raise(&self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        (message.header.flags, message.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
        self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_ACK).map(drop)
    }

    fn remove(&self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.ask(RouteNetlinkMessage::DelLink(message), NLM_F_ACK).map(drop)
    }

    /// Asks, and returns the devices of the answer.
    fn ask(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<LinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let (mut out, mut buffer) = (Vec::new(), vec![0_u8; 65_536]);
        loop {
            let (len, _) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = buffer.get(..len).unwrap_or_default();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(out),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) => return Ok(out),
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => out.push(link),
                    _ => {}
                }
                // Messages are padded to four bytes.
                let next = (answer.header.length as usize).next_multiple_of(4).max(4);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }
}
