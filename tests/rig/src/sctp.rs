//! SCTP without a kernel's sockets: the first two chunks of an association (RFC 9260) through raw sockets. Enters: a namespace
//! and an address. Leaves: what the other end saw of the client, or `error NUMBER`.
//!
//! The client hears only what comes from the address it asked, to the port it asked from, with its own tag: an answer proves
//! that translation works both ways. The kernel's tracking checks tags and checksums on the way.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, SocketType, socket};

use crate::ask::code;
use crate::netns::{NetNs, within};
use crate::server::Server;

const SCTP: u8 = 132;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// The parameter that an INIT ACK must have.
const STATE_COOKIE: [u8; 2] = [0, 7];
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(700);

/// Each client asks from a port of its own.
static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

/// What a packet of one INIT or INIT ACK says.
struct Chunk {
    kind: u8,
    from: u16,
    to: u16,
    /// The tag of who it is for; 0 in an INIT.
    tag: u32,
    /// The tag of who sent it.
    own: u32,
    /// The cookie.
    text: String,
}

impl Chunk {
    fn bytes(&self) -> Vec<u8> {
        let mut out = [self.from.to_be_bytes(), self.to.to_be_bytes()].concat();
        out.extend(self.tag.to_be_bytes());
        out.extend([0; 4]);
        let mut body = self.own.to_be_bytes().to_vec();
        // Window, streams out and in, first TSN.
        body.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
        if self.kind == INIT_ACK {
            body.extend(STATE_COOKIE);
            body.extend((4 + self.text.len() as u16).to_be_bytes());
            body.extend(self.text.as_bytes());
        }
        out.extend([self.kind, 0]);
        out.extend((4 + body.len() as u16).to_be_bytes());
        out.extend(body);
        out.resize(out.len().next_multiple_of(4), 0);
        let sum = crc32c(&out).to_le_bytes();
        out[8..12].copy_from_slice(&sum);
        out
    }

    /// `None` for other packets, and for one whose checksum is wrong.
    fn read(packet: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
        let mut without = packet.to_vec();
        without.get_mut(8..12)?.fill(0);
        if packet[8..12] != crc32c(&without).to_le_bytes() {
            return None;
        }
        let kind = *packet.get(12)?;
        let text = match kind {
            INIT => String::new(),
            INIT_ACK => {
                let len = usize::from(half(34)?).checked_sub(4)?;
                String::from_utf8(packet.get(36..36 + len)?.to_vec()).ok()?
            }
            _ => return None,
        };
        Some(Self { kind, from: half(0)?, to: half(2)?, tag: word(4)?, own: word(16)?, text })
    }
}

/// The checksum of SCTP (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    let byte = |sum: u32, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum));
    !bytes.iter().fold(!0, byte)
}

/// A raw socket whose packets begin with the header of SCTP when sent, in IPv4 with that of IP when received.
fn raw(ip: &IpAddr, patience: Duration) -> UdpSocket {
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol = Protocol::from_raw(NonZeroU32::new(SCTP.into()).unwrap());
    let socket = UdpSocket::from(socket(family, SocketType::RAW, Some(protocol)).unwrap());
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

fn received(packet: &[u8], ip: &IpAddr) -> Option<Chunk> {
    let skip = if ip.is_ipv4() { usize::from(packet.first()? & 15) * 4 } else { 0 };
    Chunk::read(packet.get(skip..)?)
}

impl Server {
    /// Answers every INIT to its address and port with an INIT ACK that says `NAME ADDRESS`: whom it sees.
    pub fn sctp(netns: &NetNs, address: &str, name: &str) -> Self {
        let (address, name): (SocketAddr, _) = (address.parse().unwrap(), name.to_owned());
        Self::start(netns, address, move |served, stop, ready| {
            let ip = address.ip();
            let socket = raw(&ip, Duration::from_millis(20));
            rustix::net::bind(&socket, &SocketAddr::new(ip, 0)).unwrap();
            ready();
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                let asked = received(&buffer[..len], &ip);
                let Some(asked) = asked.filter(|a| a.kind == INIT && a.to == address.port()) else {
                    continue;
                };
                served.fetch_add(1, Ordering::Relaxed);
                let text = format!("{name} {}", from.ip());
                let answer =
                    Chunk { kind: INIT_ACK, from: asked.to, to: asked.from, tag: asked.own, own: 7, text };
                let _ = socket.send_to(&answer.bytes(), SocketAddr::new(from.ip(), 0));
            }
        })
    }
}

/// An INIT from a namespace: what the server said in its INIT ACK, or `error NUMBER`.
pub fn ask_sctp(netns: &NetNs, to: &str) -> String {
    let to: SocketAddr = to.parse().unwrap();
    within(netns, || say(to).unwrap_or_else(|e| code(&e)))
}

fn say(to: SocketAddr) -> io::Result<String> {
    let (ip, from) = (to.ip(), NEXT_PORT.fetch_add(1, Ordering::Relaxed));
    let socket = raw(&ip, PATIENCE);
    socket.connect(SocketAddr::new(ip, 0))?;
    let own = u32::from(from) << 8 | 1;
    let init = Chunk { kind: INIT, from, to: to.port(), tag: 0, own, text: String::new() };
    socket.send(&init.bytes())?;
    let (mut buffer, end) = ([0; 2048], Instant::now() + PATIENCE);
    while Instant::now() < end {
        let len = socket.recv(&mut buffer)?;
        let answer = received(&buffer[..len], &ip);
        let ours = |a: &Chunk| a.kind == INIT_ACK && (a.from, a.to, a.tag) == (to.port(), from, own);
        if let Some(answer) = answer.filter(ours) {
            return Ok(answer.text);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_were_written() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        for kind in [INIT, INIT_ACK] {
            let text = if kind == INIT { String::new() } else { "POD 10.0.0.1".to_owned() };
            let mut bytes = Chunk { kind, from: 1, to: 2, tag: 3, own: 4, text: text.clone() }.bytes();
            let read = Chunk::read(&bytes).unwrap();
            assert_eq!((read.from, read.to, read.tag, read.own, read.text), (1, 2, 3, 4, text));
            bytes[5] ^= 1;
            assert!(Chunk::read(&bytes).is_none());
        }
    }
}
