//! Calls that few programs make: from a port of one's own, several paths, a question in the SYN, many at once.

use std::collections::BTreeMap;
use std::io::{Read, Result};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, bind, connect, ipproto, sendto, sockopt};

use super::{say, unspecified};

fn tcp_socket(to: SocketAddr, protocol: Protocol) -> Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = rustix::net::socket(family, SocketType::STREAM, Some(protocol))?;
    sockopt::set_socket_timeout(fd.as_fd(), sockopt::Timeout::Send, Some(Duration::from_secs(2)))?;
    sockopt::set_socket_timeout(fd.as_fd(), sockopt::Timeout::Recv, Some(Duration::from_secs(2)))?;
    Ok(fd)
}

fn listen_to(fd: OwnedFd) -> Result<String> {
    let mut stream = TcpStream::from(fd);
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    // Not before: a fast open's socket has no peer until it is answered.
    let peer = stream.peer_addr()?;
    Ok(format!("{answer} {peer}"))
}

/// A TCP call from a certain address and port.
pub(super) fn from(own: SocketAddr, to: SocketAddr) -> Result<String> {
    let fd = tcp_socket(to, ipproto::TCP)?;
    sockopt::set_socket_reuseaddr(fd.as_fd(), true)?;
    bind(fd.as_fd(), &own)?;
    connect(fd.as_fd(), &to)?;
    listen_to(fd)
}

/// A call of multipath TCP (RFC 8684).
pub(super) fn mptcp(to: SocketAddr) -> Result<String> {
    let fd = tcp_socket(to, ipproto::MPTCP)?;
    connect(fd.as_fd(), &to)?;
    listen_to(fd)
}

/// A call whose question is in its SYN where a cookie of the server is known (RFC 7413); `sendto` connects.
pub(super) fn fast_open(to: SocketAddr) -> Result<String> {
    // MSG_FASTOPEN of <sys/socket.h>.
    const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);
    let fd = tcp_socket(to, ipproto::TCP)?;
    sendto(fd.as_fd(), b"?", FAST_OPEN, &to)?;
    listen_to(fd)
}

/// A socket that is only sent on.
#[derive(Debug, Default)]
pub(super) struct OneWay(Option<UdpSocket>);

impl OneWay {
    /// Sends one datagram.
    pub(super) fn send(&mut self, to: SocketAddr) -> Result<String> {
        let socket = match self.0.take() {
            Some(socket) => socket,
            None => UdpSocket::bind(unspecified(to))?,
        };
        let sent = socket.send_to(b"!", to);
        self.0 = Some(socket);
        sent.map(|len| format!("sent {len}"))
    }
}

/// So many calls that begin together; says how often each name answered.
pub(super) fn parallel(calls: usize, to: SocketAddr) -> String {
    let start = Arc::new(Barrier::new(calls));
    let call = |_| {
        let start = Arc::clone(&start);
        std::thread::spawn(move || {
            start.wait();
            say(to).map_or_else(|e| crate::ask::code(&e), |(name, _)| name)
        })
    };
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for thread in (0..calls).map(call).collect::<Vec<_>>() {
        *answers.entry(thread.join().unwrap()).or_default() += 1;
    }
    answers.iter().map(|(name, times)| format!("{name}={times}")).collect::<Vec<_>>().join(" ")
}

/// Connects to both, and says what either is connected to, by their names and by `getpeername`.
pub(super) fn crowd(modulus: u64, a: SocketAddr, b: SocketAddr) -> Result<String> {
    use rustix::net::sockopt::socket_cookie;
    let domain = if a.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = || rustix::net::socket(domain, SocketType::STREAM, None);
    let open = |socket: OwnedFd, to: SocketAddr| -> Result<TcpStream> {
        rustix::net::connect(&socket, &to)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(stream)
    };
    let mut first = socket()?;
    let wanted = socket_cookie(&first)? % modulus;
    let mut second = socket()?;
    while socket_cookie(&second)? % modulus != wanted {
        second = socket()?;
    }
    if socket_cookie(&first)? > socket_cookie(&second)? {
        std::mem::swap(&mut first, &mut second);
    }
    let mut answers = Vec::new();
    for mut stream in [open(first, a)?, open(second, b)?] {
        let mut name = String::new();
        let peer = stream.peer_addr()?;
        stream.read_to_string(&mut name)?;
        answers.push(format!("{name} {peer}"));
    }
    Ok(answers.join(","))
}
