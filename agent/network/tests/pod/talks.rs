//! What processes in two pods say to each other.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::net::sockopt;

use crate::fresh_port;
use crate::node::{Netns, inside};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

/// A datagram there and back; returns whom the server saw and how often it was sent: what is too long for the way is lost,
/// and its sender told.
pub fn datagram(client: &Netns, server: &Netns, to: IpAddr, len: usize) -> (IpAddr, u32) {
    let (port, (ready, listening)) = (fresh_port(), channel());
    let served = inside(server, move || {
        let socket = UdpSocket::bind((to, port)).unwrap();
        socket.set_read_timeout(PATIENCE).unwrap();
        ready.send(()).unwrap();
        let mut buffer = vec![0; 65_536];
        loop {
            let (got, from) = socket.recv_from(&mut buffer).unwrap();
            if got == 0 {
                return from.ip();
            }
            socket.send_to(&buffer[..got], from).unwrap();
        }
    });
    listening.recv().unwrap();
    let asked = inside(client, move || {
        let socket = UdpSocket::bind((any(to), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let sent: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let mut buffer = vec![0; 65_536];
        let mut tries = 0..9;
        let got = tries.find_map(|_| {
            socket.send_to(&sent, (to, port)).unwrap();
            socket.recv(&mut buffer).ok()
        });
        socket.send_to(&[], (to, port)).unwrap();
        assert!(got.is_some_and(|got| buffer[..got] == sent), "{got:?} of {len} bytes");
        tries.start
    });
    let tries = asked.join().unwrap();
    (served.join().unwrap(), tries)
}

/// Three megabytes there and back on one connection.
pub fn stream(client: &Netns, server: &Netns, to: IpAddr) {
    let (port, (ready, listening)) = (fresh_port(), channel());
    let served = inside(server, move || {
        let listener = TcpListener::bind((to, port)).unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    listening.recv().unwrap();
    let asked = inside(client, move || {
        let mut stream = TcpStream::connect_timeout(&(to, port).into(), Duration::from_secs(5)).unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert!(bytes == sent, "{} bytes came back", bytes.len());
    });
    asked.join().unwrap();
    served.join().unwrap();
}

/// What a pod that sends datagrams whole learns of the way: the largest packet, in bytes.
pub fn path_mtu(client: &Netns, to: IpAddr) -> u32 {
    let learn = move || {
        let socket = UdpSocket::bind((any(to), 0)).unwrap();
        // IP_PMTUDISC_DO: never in fragments.
        set_whole(&socket, to);
        socket.connect(SocketAddr::from((to, 8081))).unwrap();
        for _ in 0..50 {
            if matches!(socket.send(&[0; 1400 + 72]), Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE))
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if to.is_ipv4() { sockopt::ip_mtu(&socket).unwrap() } else { sockopt::ipv6_mtu(&socket).unwrap() }
    };
    inside(client, learn).join().unwrap()
}

fn set_whole(socket: &UdpSocket, to: IpAddr) {
    if to.is_ipv4() {
        sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::DO).unwrap();
    } else {
        sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::DO).unwrap();
    }
}

/// Any address of a family.
fn any(of: IpAddr) -> IpAddr {
    if of.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
