//! The node's own address. Enters: where the API server is. Leaves: the address the kernel would speak to it from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::MachineError;

/// The address this machine uses towards `peer`, or towards the outside where there is no peer or it is local.
///
/// Connects a datagram socket, which sends nothing: the answer is the routing table's. A machine with no route out
/// has only its loopback address, and that is returned when `peer` itself is on loopback.
pub fn internal_ip(peer: Option<SocketAddr>) -> Result<IpAddr, MachineError> {
    // Documentation addresses (RFC 5737, RFC 3849) stand for "outside".
    let outside = [
        SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)),
        SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9)),
    ];
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for candidate in peer.into_iter().filter(|p| !p.ip().is_loopback()).chain(outside) {
        match source_towards(candidate) {
            Ok(ip) if !ip.is_loopback() && !ip.is_unspecified() => return Ok(ip),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    match peer {
        Some(peer) if peer.ip().is_loopback() => Ok(peer.ip()),
        _ => Err(MachineError::NoAddress(last)),
    }
}

fn source_towards(peer: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_peer_always_has_an_answer() {
        let ip = internal_ip(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 6443)))).unwrap();
        assert!(!ip.is_unspecified());
        assert_eq!(source_towards(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).unwrap(), Ipv4Addr::LOCALHOST);
    }
}
