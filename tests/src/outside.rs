//! A machine beside the node. Enters: datagrams to send. Leaves: what came back, and what it knows of its neighbours.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{PATIENCE, program, until};

/// A network namespace on a wire to the node and with no other way, so that nobody else can answer it. It speaks UDP by
/// raw sockets: every other socket of this machine is translated in its own calls, before anything leaves.
pub struct Outside(String);

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// A datagram with this text.
    Text(String),
    /// The port is unreachable (ICMP).
    Unreachable,
}

impl Outside {
    /// The node's end of the wire. Of a network for measurements (RFC 2544): no Service is from there.
    pub const NODE_END: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
    /// Nobody's address, of the wire's network.
    pub const FREE: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 100);

    /// Lays the wire; one at a time.
    ///
    /// # Errors
    /// `ip`'s.
    pub fn new() -> Result<Self> {
        let outside = Self(format!("outside-{}", std::process::id()));
        let name = &outside.0;
        for line in [
            format!("netns add {name}"),
            format!("link add outside0 type veth peer name eth0 netns {name}"),
            format!("addr add {}/24 dev outside0", Self::NODE_END),
            "link set outside0 up".to_owned(),
            format!("-n {name} addr add 198.18.77.2/24 dev eth0"),
            format!("-n {name} link set eth0 up"),
        ] {
            program("ip").words(&line).ok()?;
        }
        Ok(outside)
    }

    /// Sends a datagram that says hello, and reads what comes back within a second.
    ///
    /// # Errors
    /// The kernel's, or an answer from another address or port than was asked.
    pub fn ask(&self, to: SocketAddrV4) -> Result<Option<Reply>> {
        let namespace = File::open(format!("/run/netns/{}", self.0))?;
        let ask = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            exchange(to)
        };
        std::thread::spawn(ask).join().map_err(|_| anyhow!("the thread outside panicked"))?
    }

    /// Waits until nobody is at the port.
    ///
    /// # Errors
    /// Another answer, or none, until the deadline.
    pub fn is_refused(&self, at: SocketAddrV4) -> Result<()> {
        until("it is refused outside", PATIENCE, || {
            Ok((self.ask(at)? == Some(Reply::Unreachable)).then_some(()))
        })
    }

    /// Waits until a pod answers, and returns its text: the pod's name and the hello.
    ///
    /// # Errors
    /// It does not until the deadline.
    pub fn is_answered(&self, at: SocketAddrV4) -> Result<String> {
        until("it is answered outside", PATIENCE, || match self.ask(at)? {
            // The pod repeats what it was sent.
            Some(Reply::Text(text)) if text.contains("hello") => Ok(Some(text)),
            other => bail!("{other:?}"),
        })
    }

    /// The link address that answers for an address now, asked for anew (ARP); none if nobody does.
    ///
    /// # Errors
    /// The kernel's.
    pub fn neighbour(&self, address: Ipv4Addr) -> Result<Option<String>> {
        let ip = |words: &str| program("ip").words(&format!("-n {} neigh {words}", self.0)).ok();
        ip(&format!("flush to {address}"))?;
        self.ask(SocketAddrV4::new(address, 9))?;
        let known = ip(&format!("show to {address}"))?;
        Ok(known.split_once("lladdr ").and_then(|(_, rest)| rest.split(' ').next()).map(str::to_owned))
    }

    /// The link address of the node's end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn node_link(&self) -> Result<String> {
        Ok(std::fs::read_to_string("/sys/class/net/outside0/address")?.trim().to_owned())
    }
}

fn exchange(to: SocketAddrV4) -> Result<Option<Reply>> {
    const OWN_PORT: u16 = 40_001;
    let udp = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::UDP))?;
    let icmp = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?;
    let payload = b"hello";
    let length = 8 + payload.len() as u16;
    // No checksum, which IPv4 allows.
    let header = [OWN_PORT, to.port(), length, 0].map(u16::to_be_bytes).concat();
    let datagram = [header.as_slice(), payload].concat();
    sendto(&udp, &datagram, SendFlags::empty(), &SocketAddrV4::new(*to.ip(), 0))?;
    let mut ready = [PollFd::new(&udp, PollFlags::IN), PollFd::new(&icmp, PollFlags::IN)];
    poll(&mut ready, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))?;
    let [text, error] = ready.map(|fd| fd.revents().contains(PollFlags::IN));
    let mut buffer = [0; 1500];
    if text {
        let (len, _) = recv(&udp, &mut buffer[..], RecvFlags::empty())?;
        let packet = buffer.get(20..len).context("no UDP header")?;
        ensure!(buffer[12..16] == to.ip().octets(), "from another address: {:?}", &buffer[12..16]);
        ensure!(packet[..2] == to.port().to_be_bytes(), "from another port: {packet:?}");
        return Ok(Some(Reply::Text(String::from_utf8_lossy(&packet[8..]).into_owned())));
    }
    if !error {
        return Ok(None);
    }
    let (len, _) = recv(&icmp, &mut buffer[..], RecvFlags::empty())?;
    // Destination unreachable, port.
    Ok((len > 22 && buffer[20..22] == [3, 3]).then_some(Reply::Unreachable))
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The pair goes with one of its ends.
        for line in ["link del outside0".to_owned(), format!("netns del {}", self.0)] {
            program("ip").words(&line).ok().ok();
        }
    }
}
