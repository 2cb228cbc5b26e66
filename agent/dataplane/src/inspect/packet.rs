//! Where a packet from outside would go: the live program at a device, run once on a packet made up for it
//! (BPF_PROG_TEST_RUN). The maps are the live ones, too, so what the program leaves there for a new flow is removed
//! again; only its counters have seen one packet more.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use serde::Serialize;
use xebec_abi::Be16;
use xebec_abi::flow::{BACKEND_REJECT, FlowKey, HOOK_INGRESS};

use crate::addresses::{Ethernet, ethernet_devices};
use crate::load::versioned;
use crate::maps::MapError;
use crate::maps::pinned::PinnedMaps;
use crate::maps::{from_wide, wide};
use crate::model::Protocol;
use crate::sys;
use crate::upgrade::own_maps;

/// Why a packet's way cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The maps.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Client and destination are of two families.
    #[error("{from} and {to} are of two families")]
    Families {
        /// The client.
        from: SocketAddr,
        /// The destination.
        to: SocketAddr,
    },
    /// No packet program is on that device, or on any.
    #[error("no packet program is on {0} in this network namespace; packets from outside pass untranslated")]
    NoProgram(String),
    /// The kernel refused to run the program.
    #[error("cannot run the packet program of {device}")]
    Run {
        /// The device.
        device: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It is no service's: it goes on as it came.
    Untouched,
    /// It is for this endpoint.
    Endpoint(SocketAddr),
    /// It goes, as it is, to this node, which picks one of its endpoints and answers by itself (direct server return).
    Node(IpAddr),
    /// The service has no endpoint, or the address no such port: a closed port's answer goes back.
    Refused,
    /// It is dropped: this client is not let in, no endpoint is here (externalTrafficPolicy Local), or a map is full.
    Dropped,
}

/// A packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The client.
    pub from: SocketAddr,
    /// What it asks for.
    pub to: SocketAddr,
    /// The device it comes in by.
    pub device: String,
    /// What becomes of it.
    pub fate: Fate,
    /// The endpoint sees the node in the client's place, as its answers must come back here.
    pub source_translated: bool,
    /// It belongs to a flow that is known already.
    pub known_flow: bool,
}

/// Runs the program.
///
/// # Errors
/// [`RouteError`].
pub fn route(
    pin_dir: &Path,
    from: SocketAddr,
    to: SocketAddr,
    protocol: Protocol,
    device: Option<&str>,
) -> Result<Route, RouteError> {
    if from.is_ipv4() != to.is_ipv4() {
        return Err(RouteError::Families { from, to });
    }
    let dir = versioned(pin_dir);
    let mut maps = PinnedMaps::open(&own_maps(pin_dir)?)?;
    let devices = ethernet_devices().unwrap_or_default();
    let with_program = |wanted: &&Ethernet| {
        device.is_none_or(|name| name == wanted.name)
            && dir.join("links").join(format!("tcx_ingress-{}", wanted.index)).exists()
    };
    let none = || RouteError::NoProgram(device.unwrap_or("any device").to_owned());
    let found = devices.iter().find(with_program).ok_or_else(none)?;
    let failed = |source| RouteError::Run { device: found.name.clone(), source };
    let pin = dir.join("links").join(format!("tcx_ingress-{}", found.index));
    let link = sys::open_pin(&pin).map_err(failed)?;
    let id = sys::link_info(link.as_fd()).map_err(failed)?.program;
    let program = sys::program_by_id(id).map_err(failed)?;
    let key = FlowKey {
        src: wide(&from.ip()),
        dst: wide(&to.ip()),
        sport: Be16::new(from.port()),
        dport: Be16::new(to.port()),
        proto: protocol.number(),
        hook: HOOK_INGRESS,
        pad: 0,
    };
    let known = maps.tracked().flow(&key)?;
    let clients = sys::open_pin(&dir.join("maps/AFF_CLIENTS")).map_err(failed)?;
    let frame = frame(found.mac, from, to, protocol);
    let (answer, out) = sys::run_packet(program.as_fd(), &frame, found.index).map_err(failed)?;
    let flow = maps.tracked().flow(&key)?;
    if let (None, Some(flow)) = (known, &flow) {
        forget_client(clients.as_fd(), &key, flow.index, flow.last).map_err(failed)?;
        maps.tracked().forget(flow)?;
    }
    let fate = match (answer, &flow) {
        (DROP, _) => Fate::Dropped,
        (_, Some(flow)) if flow.id == BACKEND_REJECT => Fate::Refused,
        (_, Some(flow)) if flow.is_direct() => Fate::Node(from_wide(&flow.node)),
        _ => match destination(&out, to.is_ipv4()) {
            Some(there) if there != to => Fate::Endpoint(there),
            _ => Fate::Untouched,
        },
    };
    Ok(Route {
        from,
        to,
        device: found.name.clone(),
        fate,
        source_translated: flow.is_some_and(|flow| flow.is_snat()) && matches!(fate, Fate::Endpoint(_)),
        known_flow: known.is_some(),
    })
}

/// `TCX_DROP`.
const DROP: i32 = 2;

/// Removes the affinity of a client that was made with the flow; one that is older stays.
fn forget_client(clients: BorrowedFd<'_>, key: &FlowKey, index: u32, made: u64) -> io::Result<()> {
    let mut client = [0_u8; 24];
    client[..16].copy_from_slice(&key.src.octets());
    client[16..20].copy_from_slice(&index.to_ne_bytes());
    let mut value = [0_u8; 40];
    if !sys::lookup(clients, &client, &mut value)? {
        return Ok(());
    }
    // The word that is last used; the choice of endpoint and the flow are of one coarse tick.
    let last = u64::from_ne_bytes(value[..8].try_into().unwrap_or_default());
    if made.abs_diff(last) < 10_000_000 { sys::delete(clients, &client) } else { Ok(()) }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// A first packet: a SYN, or a datagram without content. Checksums are left out: the program only mends them. PURE.
fn frame(mac: [u8; 6], from: SocketAddr, to: SocketAddr, protocol: Protocol) -> Vec<u8> {
    let mut transport = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    match protocol {
        // Sequence 1, no acknowledgement, 20 bytes, SYN, a window.
        Protocol::Tcp => transport.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0]),
        Protocol::Udp => transport.extend([0, 8, 0, 0]),
        // No tag, and an INIT chunk.
        Protocol::Sctp => transport.extend([[0; 8].as_slice(), &[1, 0, 0, 20], &[0; 16]].concat()),
    }
    // A locally administered address for who sent it.
    let mut frame = [mac.as_slice(), &[2, 0, 0, 0, 0, 1]].concat();
    if from.is_ipv4() {
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((20 + transport.len() as u16).to_be_bytes());
        frame.extend([0, 1, 0, 0, 64, protocol.number(), 0, 0]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((transport.len() as u16).to_be_bytes());
        frame.extend([protocol.number(), 64]);
    }
    frame.extend(octets(from.ip()));
    frame.extend(octets(to.ip()));
    frame.extend(transport);
    frame
}

/// Where a frame made by [`frame`] goes now. PURE.
fn destination(frame: &[u8], v4: bool) -> Option<SocketAddr> {
    let (address, length, port) = if v4 { (30, 4, 36) } else { (38, 16, 56) };
    let bytes = frame.get(address..address + length)?;
    let ip = match <[u8; 4]>::try_from(bytes) {
        Ok(octets) => IpAddr::from(octets),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    let port = frame.get(port..port + 2)?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(port.try_into().ok()?)))
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} by {}: ", self.from, self.device)?;
        match self.fate {
            Fate::Untouched => write!(f, "passed on as it is")?,
            Fate::Endpoint(endpoint) => write!(f, "to {endpoint}")?,
            Fate::Node(node) => write!(f, "as it is to node {node}, which picks an endpoint and answers")?,
            Fate::Refused => write!(f, "refused, as a closed port does")?,
            Fate::Dropped => write!(
                f,
                "dropped (loadBalancerSourceRanges, externalTrafficPolicy Local without an endpoint here, or a full map)"
            )?,
        }
        if self.source_translated {
            write!(f, "; the endpoint sees the node as its client")?;
        }
        if self.known_flow {
            write!(f, "; of a flow that is known already")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_where_it_says() {
        for (from, to) in [("192.0.2.1:5000", "10.96.0.1:443"), ("[fd00::1]:5000", "[fd96::1]:53")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for (protocol, length) in [(Protocol::Tcp, 20), (Protocol::Udp, 8)] {
                let frame = frame([1, 2, 3, 4, 5, 6], from, to, protocol);
                let header = if from.is_ipv4() { 34 } else { 54 };
                assert_eq!((frame.len(), &frame[..6]), (header + length, &[1, 2, 3, 4, 5, 6][..]));
                assert_eq!(destination(&frame, from.is_ipv4()), Some(to));
            }
        }
        assert_eq!(destination(&[0; 20], true), None);
    }
}
