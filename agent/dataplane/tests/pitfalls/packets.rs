//! Packets that no ordinary program sends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::num::{NonZeroU8, NonZeroU32};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, ipproto, sendto, socket};
use serde_json::json;
use xebec_abi::flow::PacketStat;
use xebec_rig::ask::{REFUSED, ask_tcp, ask_udp, code, exchange, ping_of, udp_socket};
use xebec_rig::cluster::Cluster;
use xebec_rig::netns::checksum_errors;
use xebec_rig::objects::{service, slice};
use xebec_rig::server::{Server, accept};
use xebec_rig::within;

use super::VIP;
use crate::packet::frame;
use crate::packet::{node_port, ports};

/// The length of an Ethernet header, which a raw socket does not take.
const LINK: usize = 14;

/// A server that gives every byte back, one connection after the other.
fn echo(netns: &xebec_rig::NetNs, address: &str) -> Server {
    let address: SocketAddr = address.parse().unwrap();
    Server::start(netns, address, move |_, stop, ready| {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        ready();
        accept(&listener, &stop, |mut stream, _| {
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        });
    })
}

#[test]
fn a_flood_of_syns_ends_no_established_flow() {
    let Some(cluster) = Cluster::new(1, 2, 1500) else { return };
    let node = &cluster.nodes[0];
    let pod = node.pod(1);
    let _servers = [echo(&pod, "10.244.1.1:8080"), Server::seeing_udp(&pod, "10.244.1.1:8081", "POD")];
    let mut agent = node.agent();
    let mut udp = slice("a", 8081, "UDP", &["10.244.1.1@node-1"]);
    udp.metadata.name = Some("a-udp".to_owned());
    agent.sync(
        vec![service("a", &[VIP], ports(), node_port(json!({})))],
        vec![slice("a", 8080, "TCP", &["10.244.1.1@node-1"]), udp],
    );
    let (outside, attacker) = (&cluster.outside[0], &cluster.outside[1]);
    let to = "10.199.0.101:30080";
    // The endpoint answers every one of them, to whom it seems to be from.
    pod.ip("route add 198.18.0.0/15 via 169.254.1.1 dev eth0 onlink");
    node.netns.ip("route add 198.18.0.0/15 via 10.199.0.2 dev wire");
    let mut streams: Vec<TcpStream> =
        within(outside, || (0..20).map(|_| TcpStream::connect(to).unwrap()).collect());
    let answers = |streams: &mut Vec<TcpStream>| {
        streams.iter_mut().all(|stream| {
            stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
        })
    };
    assert!(answers(&mut streams));
    // These were opened and have not said a word since.
    let mut silent: Vec<TcpStream> =
        within(outside, || (0..20).map(|_| TcpStream::connect(to).unwrap()).collect());
    let socket = within(outside, || udp_socket(to).unwrap());
    assert_eq!(exchange(&socket, 10), "POD 10.199.0.1 10");
    // As many as a few seconds allow, a million at most, each from an address and a port of its own.
    let sent = within(attacker, || {
        let raw = socket_raw();
        let (end, mut sent) = (Instant::now() + Duration::from_secs(6), 0_u32);
        while sent < 1_000_000 && (sent % 64 != 0 || Instant::now() < end) {
            let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + sent / 4);
            let syn = frame::tcp(&format!("{source}:{}", 1024 + sent % 50_000), to, 2);
            let address: SocketAddr = to.parse().unwrap();
            sendto(raw.as_fd(), &syn[LINK..], SendFlags::empty(), &address).unwrap();
            sent += 1;
        }
        sent
    });
    eprintln!("{sent} SYNs");
    assert!(sent > 10_000, "{sent}");
    let answered = agent.applier.maps().tracked().counters().unwrap()[PacketStat::Established as usize];
    assert!(answered > 5_000, "the endpoint answered the flood: {answered}");
    let kept = agent.applier.maps().tracked().established().unwrap().len();
    assert!(kept < 200, "no answer to the flood makes room for it among established flows: {kept}");
    assert!(answers(&mut streams) && answers(&mut silent), "established connections go on");
    assert_eq!(exchange(&socket, 10), "POD 10.199.0.1 10", "the datagrams' flow, too");
    // And new ones are taken.
    let mut fresh: Vec<TcpStream> = within(outside, || vec![TcpStream::connect(to).unwrap()]);
    assert!(answers(&mut fresh));
}

fn socket_raw() -> std::os::fd::OwnedFd {
    socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).unwrap()
}

#[test]
fn many_connections_to_one_endpoint_of_another_node() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let servers = [echo(&pod, "10.244.2.1:8080"), Server::seeing_udp(&pod, "10.244.2.1:8081", "B")];
    let mut agent = cluster.nodes[0].agent();
    agent.sync(
        vec![service("a", &[VIP], ports(), node_port(json!({})))],
        vec![
            slice("a", 8080, "TCP", &["10.244.2.1@node-2"]),
            slice("a", 8081, "UDP", &["10.244.2.1@node-2"]),
        ],
    );
    let to = "10.199.0.101:30080";
    let outside = &cluster.outside[0];
    // More flows than there are source ports for one endpoint: the first keep theirs, the last have none.
    let (first, answered) = within(outside, || {
        let first = udp_socket(to).unwrap();
        assert_eq!(exchange(&first, 10), "B 10.198.0.101 10");
        let mut answered = 0;
        for port in 1024..60_000 {
            let socket = match UdpSocket::bind(("0.0.0.0", port)) {
                Err(_) => continue, // The first one's.
                Ok(socket) => socket,
            };
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            // Ports are tried at random; whoever gets none asks again.
            if !(0..2).any(|_| exchange(&socket, 10).starts_with("B ")) {
                break;
            }
            answered += 1;
        }
        (first, answered)
    });
    let exhausted = agent.applier.maps().tracked().counters().unwrap()[PacketStat::Exhausted as usize];
    assert!(
        exhausted > 0 && (30_000..33_511).contains(&answered),
        "{answered} answered, {exhausted} refused"
    );
    assert_eq!(exchange(&first, 10), "B 10.198.0.101 10", "a flow that has a port keeps it");
    // The other protocol's ports are others.
    assert!(within(outside, || TcpStream::connect(to).is_ok()));
    assert!(servers[1].served() > 2000);
}

/// Sends a datagram behind a header of destination options (RFC 8200, 4.6); returns the answer's first word.
fn behind_options(to: &str) -> String {
    const DESTINATION_OPTIONS: u8 = 60;
    // Six bytes of padding, and UDP next.
    const HEADER: [u8; 8] = [17, 0, 1, 4, 0, 0, 0, 0];
    let socket = udp_socket(to).unwrap();
    let own = socket.local_addr().unwrap().to_string();
    let datagram = frame::udp_ip(&own, to, Some(6)).split_off(40);
    let protocol = Protocol::from_raw(NonZeroU32::from(NonZeroU8::new(DESTINATION_OPTIONS).unwrap()));
    let raw = rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(protocol)).unwrap();
    let mut address: SocketAddr = to.parse().unwrap();
    address.set_port(0);
    sendto(raw.as_fd(), &[&HEADER, datagram.as_slice()].concat(), SendFlags::empty(), &address).unwrap();
    let mut buffer = [0; 64];
    match socket.recv(&mut buffer) {
        Ok(len) => String::from_utf8_lossy(&buffer[..len]).split(' ').next().unwrap().to_owned(),
        Err(error) => code(&error),
    }
}

#[test]
fn extension_headers_and_pings_in_fragments() {
    let Some(cluster) = Cluster::new(1, 1, 1500) else { return };
    let node = &cluster.nodes[0];
    let (pod, outside) = (node.pod(1), &cluster.outside[0]);
    let _servers = [
        Server::seeing_udp(&pod, "[fd44:1::1]:8080", "POD"),
        Server::seeing_tcp(&pod, "[fd44:1::1]:8080", "POD"),
        Server::seeing_udp(&node.netns, "[fd99::101]:9000", "NODE"),
    ];
    let mut agent = node.agent();
    agent.sync(
        vec![service("a", &["fd96::77"], ports(), node_port(json!({})))],
        vec![slice("a", 8080, "TCP", &["fd44:1::1@node-1"]), slice("a", 8080, "UDP", &["fd44:1::1@node-1"])],
    );
    // The node's own kernel answers pings to the node, in fragments, too.
    for (to, reply) in [("10.199.0.101", 0), ("fd99::101", 129)] {
        for more in [56, 4000] {
            assert_eq!(ping_of(outside, to, more), format!("type {reply} from {to}"), "{more} bytes");
        }
    }
    // A virtual IP answers pings, but not those in fragments, and no others for them.
    assert_eq!(ping_of(outside, "fd96::77", 56), "type 129 from fd96::77");
    assert_ne!(ping_of(outside, "fd96::77", 4000), "type 129 from fd99::101");
    // A datagram behind a header of destination options: to the node's own port it passes as it is; to a Service's it is
    // no packet of the Service, and the node, where nobody listens, refuses it.
    assert_eq!(within(outside, || behind_options("[fd99::101]:9000")), "NODE");
    assert_eq!(within(outside, || behind_options("[fd99::101]:30080")), REFUSED);
    assert_eq!(ask_udp(outside, "[fd99::101]:30080", 10), "POD fd99::1 10");
    assert_eq!(ask_tcp(outside, "[fd99::101]:30080"), "POD fd99::1");
    assert_eq!([outside, &pod, &node.netns].map(checksum_errors).iter().sum::<u64>(), 0);
}
