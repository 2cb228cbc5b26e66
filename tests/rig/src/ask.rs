//! Calls from a namespace, outside every node's cgroup: what they meet is the packet path alone.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::client::unspecified;
use crate::netns::{NetNs, within};

/// Nobody listens, or nobody may be reached: ECONNREFUSED.
pub const REFUSED: &str = "error 111";
/// Nothing came back in time.
pub const SILENCE: &str = "error 11";

/// What went wrong, as the tests compare it: `error NUMBER`.
pub fn code(error: &std::io::Error) -> String {
    // connect_timeout's own timeout has no number.
    format!("error {}", error.raw_os_error().unwrap_or(11))
}

/// Connects and reads to the end.
///
/// # Errors
/// The socket's.
pub fn say(to: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A TCP call from a namespace: what the server said, or `error NUMBER`.
pub fn ask_tcp(netns: &NetNs, to: &str) -> String {
    within(netns, || say(to).unwrap_or_else(|e| code(&e)))
}

/// A connected socket: it hears only what comes from the address it asked.
///
/// # Errors
/// The socket's.
pub fn udp_socket(to: &str) -> std::io::Result<UdpSocket> {
    let to: SocketAddr = to.parse().unwrap();
    let socket = UdpSocket::bind(unspecified(to))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(700)))?;
    Ok(socket)
}

/// Sends `len` bytes and returns the answer without its zeros.
pub fn exchange(socket: &UdpSocket, len: usize) -> String {
    let mut buffer = [0; 8192];
    match socket.send(&vec![0; len]).and_then(|_| socket.recv(&mut buffer)) {
        Ok(len) => String::from_utf8_lossy(&buffer[..len]).trim_end_matches('\0').to_owned(),
        Err(e) => code(&e),
    }
}

/// A datagram of `len` bytes from a namespace: what came back without its zeros, or `error NUMBER`.
pub fn ask_udp(netns: &NetNs, to: &str, len: usize) -> String {
    within(netns, || udp_socket(to).map_or_else(|e| code(&e), |socket| exchange(&socket, len)))
}

/// Pings, and returns who answered what.
pub fn ping(netns: &NetNs, to: &str) -> String {
    ping_of(netns, to, 0)
}

/// Pings with so many bytes more, zeros, and returns who answered what.
pub fn ping_of(netns: &NetNs, to: &str, more: usize) -> String {
    use rustix::net::{AddressFamily, SocketType, ipproto, socket};
    let to: IpAddr = to.parse().unwrap();
    within(netns, || {
        let (family, proto, request, skip) = match to {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8, 20),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128, 0),
        };
        let socket = UdpSocket::from(socket(family, SocketType::RAW, Some(proto)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        // Sum of IPv4: the kernel fills in that of IPv6 only.
        let mut packet = vec![request, 0, 0, 0, 0x12, 0x34, 0, 1];
        packet.resize(8 + more, 0);
        let sum = !(u16::from_be_bytes([request, 0]) + 0x1234 + 1);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        if let Err(error) = socket.send_to(&packet, SocketAddr::new(to, 0)) {
            return code(&error);
        }
        let mut buffer = [0; 8192];
        loop {
            match socket.recv_from(&mut buffer) {
                // Neighbour discovery passes here, too.
                Ok((len, _)) if len < skip + 8 || buffer[skip + 4..len] != packet[4..] => {}
                Ok((_, from)) => return format!("type {} from {}", buffer[skip], from.ip()),
                Err(error) => return code(&error),
            }
        }
    })
}
