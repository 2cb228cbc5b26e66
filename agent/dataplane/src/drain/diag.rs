//! The kernel's socket diagnostics (sock_diag(7)) of the namespace the thread is in. Enters: cookies of UDP sockets with
//! what they are connected to. Leaves: those sockets disconnected. Called by drain.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// A connected UDP socket is in this state, another is not.
const TCP_ESTABLISHED: u32 = 1;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_sockid`, at this place of an answer.
const ID: usize = 48;
const ID_AT: usize = HEADER + 4;
/// The kernel answers from memory; this is never reached unless something is badly wrong.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names a socket to the kernel: `struct inet_diag_sockid` as the kernel gave it.
type Id = [u8; ID];

/// A connected socket as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    id: Id,
    cookie: u64,
    peer: SocketAddr,
}

/// Disconnects the UDP sockets of this namespace that have one of the cookies and are connected to what it says, and
/// takes them out of the list. Returns how many.
///
/// # Errors
/// The kernel's. That a socket was closed meanwhile is none.
pub(super) fn release(wanted: &mut HashMap<u64, SocketAddr>) -> io::Result<usize> {
    let flags = SocketFlags::CLOEXEC;
    let kind = SocketType::DGRAM;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut released = 0;
    for family in [libc::AF_INET, libc::AF_INET6] {
        for listed in list(&socket, family as u8)? {
            if wanted.get(&listed.cookie) != Some(&listed.peer) {
                continue;
            }
            match destroy(&socket, family as u8, &listed.id) {
                Ok(()) => released += 1,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => {}
                Err(error) => return Err(error),
            }
            wanted.remove(&listed.cookie);
        }
    }
    Ok(released)
}

/// A request: header, then `struct inet_diag_req_v2`. PURE.
fn request(kind: u16, flags: u16, family: u8, id: &Id) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 8 + ID);
    out.extend((HEADER as u32 + 8 + ID as u32).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    out.extend([0; 8]);
    out.extend([family, xebec_abi::PROTO_UDP, 0, 0]);
    out.extend((1_u32 << TCP_ESTABLISHED).to_ne_bytes());
    out.extend(id);
    out
}

fn list(socket: &OwnedFd, family: u8) -> io::Result<Vec<Listed>> {
    let request = request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, &[0; ID]);
    rustix::net::send(socket, &request, SendFlags::empty())?;
    let mut out = Vec::new();
    let mut buffer = vec![0_u8; 32_768];
    loop {
        let (len, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
        for message in messages(buffer.get(..len).unwrap_or_default()) {
            match message.kind {
                NLMSG_DONE => return Ok(out),
                NLMSG_ERROR => return message.answer().map(|()| out),
                _ => out.extend(listed(message.bytes)),
            }
        }
    }
}

fn destroy(socket: &OwnedFd, family: u8, id: &Id) -> io::Result<()> {
    rustix::net::send(socket, &request(SOCK_DESTROY, NLM_F_ACK, family, id), SendFlags::empty())?;
    let mut buffer = [0_u8; 1024];
    let (len, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
    let first = messages(buffer.get(..len).unwrap_or_default()).next();
    first.map_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()), |message| message.answer())
}

/// A netlink message, header included.
struct Message<'a> {
    kind: u16,
    bytes: &'a [u8],
}

impl Message<'_> {
    /// Of an acknowledgement, what the kernel says.
    fn answer(&self) -> io::Result<()> {
        match self.bytes.get(HEADER..HEADER + 4).map(<[u8; 4]>::try_from) {
            Some(Ok(number)) if self.kind == NLMSG_ERROR => match i32::from_ne_bytes(number) {
                0 => Ok(()),
                number => Err(io::Error::from_raw_os_error(-number)),
            },
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The messages of a datagram; a damaged one ends it. PURE.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let message = bytes.get(..len).filter(|_| len >= HEADER)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, bytes: message })
    })
}

/// The socket that an answer is about. PURE.
fn listed(message: &[u8]) -> Option<Listed> {
    let family = i32::from(*message.get(HEADER)?);
    let id: Id = message.get(ID_AT..ID_AT + ID)?.try_into().ok()?;
    let mut address: [u8; 16] = id[20..36].try_into().ok()?;
    if family == libc::AF_INET {
        let v4 = [address[0], address[1], address[2], address[3]];
        address = std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets();
    }
    let word = |at: usize| Some(u32::from_ne_bytes(id.get(at..at + 4)?.try_into().ok()?));
    Some(Listed {
        peer: SocketAddr::new(super::plain(address), u16::from_be_bytes([id[2], id[3]])),
        cookie: u64::from(word(44)?) << 32 | u64::from(word(40)?),
        id,
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    /// Of this test's own socket, by what the kernel lists of it.
    fn cookie_of(socket: &UdpSocket) -> u64 {
        let diag = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
        .unwrap();
        let peer = socket.peer_addr().unwrap();
        let local = socket.local_addr().unwrap();
        let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let own = |l: &Listed| l.peer.port() == peer.port() && l.id[..2] == local.port().to_be_bytes();
        list(&diag, family as u8).unwrap().into_iter().find(own).unwrap().cookie
    }

    #[test]
    fn only_the_socket_of_the_cookie_and_the_peer_is_released() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for ip in ["127.0.0.1", "::1"] {
            let socket = || UdpSocket::bind((ip, 0)).unwrap();
            let (server, one, two) = (socket(), socket(), socket());
            let peer = server.local_addr().unwrap();
            one.connect(peer).unwrap();
            two.connect(peer).unwrap();
            let other = SocketAddr::new(peer.ip(), 9);
            let mut wanted = HashMap::from([(cookie_of(&one), peer), (cookie_of(&two), other)]);
            assert_eq!(release(&mut wanted).unwrap(), 1, "{ip}");
            assert_eq!(wanted.len(), 1);
            assert_eq!(one.recv(&mut [0]).unwrap_err().raw_os_error(), Some(libc::ECONNABORTED));
            assert!(one.as_raw_fd() >= 0 && one.peer_addr().is_err());
            two.send(b"?").unwrap();
            assert_eq!(server.recv_from(&mut [0; 4]).unwrap().1, two.local_addr().unwrap());
        }
    }

    #[test]
    fn damaged_datagrams_end_and_nothing_else() {
        for bytes in [&[][..], &[1, 0], &[0; 16], &[255; 32], &[15, 0, 0, 0, 3, 0]] {
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
        assert!(listed(&[0; 40]).is_none());
    }
}
