//! The wires, and who sits at them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use xebec_abi::flow::PacketStat;

use crate::rig::objects::Agent;
use crate::rig::server::Server;
use crate::rig::{NetNs, Rig, enter, run};

/// Everything of one test; the calling thread is in the node's namespace from then on.
pub struct Outside {
    // Dropped in this order.
    _servers: Vec<Server>,
    pub agent: Agent,
    pub pod: NetNs,
    pub far: NetNs,
    pub rig: Rig,
}

impl Outside {
    /// `None` where the machine cannot run this.
    pub fn new() -> Option<Self> {
        Self::with(|_| {})
    }

    /// With other options.
    pub fn with(set: impl FnOnce(&mut xebec_dataplane::Options)) -> Option<Self> {
        let mut rig = Rig::new()?;
        set(&mut rig.options);
        let node = rig.server_ns.name.clone();
        let client = &rig.client_ns.name;
        let pod = NetNs::new(format!("{node}p"));
        let far = NetNs::new(format!("{node}f"));
        let (p, f) = (&pod.name, &far.name);
        run(&format!("ip -n {node} link add xebpod type veth peer name eth0 netns {p}"));
        run(&format!("ip -n {node} link add back type veth peer name eth0 netns {f}"));
        for (ns, device, addresses) in [
            (node.as_str(), "xebpod", &[][..]),
            (p.as_str(), "eth0", &["10.244.0.5/32", "fd44::5/128"][..]),
            (node.as_str(), "back", &["10.98.0.2/24", "fd98::2/64"][..]),
            (f.as_str(), "eth0", &["10.98.0.3/24", "fd98::3/64"][..]),
            (f.as_str(), "lo", &["10.244.1.5/32", "fd45::5/128"][..]),
        ] {
            for address in addresses {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                run(&format!("ip -n {ns} addr add {address} dev {device}{nodad}"));
            }
            run(&format!("ip -n {ns} link set {device} up"));
        }
        for (ns, route) in [
            // The pod's way out is the node; there is no other.
            (p.as_str(), "10.99.0.0/24 dev eth0"),
            (p.as_str(), "10.98.0.0/24 dev eth0"),
            (p.as_str(), "fd99::/64 dev eth0"),
            (node.as_str(), "10.244.0.5/32 dev xebpod"),
            (node.as_str(), "fd44::5/128 dev xebpod"),
            (node.as_str(), "10.244.1.0/24 via 10.98.0.3"),
            (node.as_str(), "fd45::/64 via fd98::3"),
            (client.as_str(), "10.96.0.0/16 via 10.99.0.2"),
            (client.as_str(), "198.51.100.0/24 via 10.99.0.2"),
            (client.as_str(), "fd96::/64 via fd99::2"),
        ] {
            run(&format!("ip -n {ns} route add {route}"));
        }
        let node_mac = mac(&node, "xebpod");
        for to in ["10.99.0.1", "10.98.0.3", "fd99::1"] {
            run(&format!("ip -n {p} neigh add {to} lladdr {node_mac} dev eth0"));
        }
        let pod_mac = mac(p, "eth0");
        run(&format!("ip -n {node} neigh add 10.244.0.5 lladdr {pod_mac} dev xebpod"));
        run(&format!("ip -n {node} neigh add fd44::5 lladdr {pod_mac} dev xebpod"));
        for (ns, device, to, other, peer) in [
            (node.as_str(), "back", "fd98::3", f.as_str(), "eth0"),
            (f.as_str(), "eth0", "fd98::2", node.as_str(), "back"),
            (node.as_str(), "wire", "fd99::1", client.as_str(), "wire"),
            (client.as_str(), "wire", "fd99::2", node.as_str(), "wire"),
        ] {
            neighbour(ns, device, to, other, peer);
        }
        enter(&rig.server_ns.path());
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        rig.options.devices = None;
        let servers = vec![
            tcp(&pod, "0.0.0.0:8080", "POD"),
            tcp(&pod, "[fd44::5]:8080", "POD"),
            tcp(&far, "0.0.0.0:8080", "FAR"),
            tcp(&far, "[fd45::5]:8080", "FAR"),
            udp(&pod, "10.244.0.5:8080", "POD"),
            udp(&pod, "[fd44::5]:8080", "POD"),
            udp(&far, "10.244.1.5:8080", "FAR"),
            udp(&far, "[fd45::5]:8080", "FAR"),
        ];
        let agent = Agent::new(&rig.options);
        let mut outside = Self { _servers: servers, agent, pod, far, rig };
        outside.refresh();
        Some(outside)
    }

    /// The node's addresses and devices, as the agent follows them.
    pub fn refresh(&mut self) {
        let found = xebec_dataplane::addresses::outside_devices().unwrap();
        let names: Vec<&str> = found.values().map(|d| d.name.as_str()).collect();
        assert!(names.len() == 2 && names.contains(&"wire") && names.contains(&"back"), "{names:?}");
        let own = xebec_dataplane::addresses::local_addresses().unwrap();
        let addresses =
            xebec_dataplane::node::node_addresses(&own, &xebec_dataplane::NodePorts::Everywhere, &[]);
        self.agent.applier.maps().set_node_addresses(&addresses).unwrap();
        self.agent.applier.maps().tracked().set_devices(&found).unwrap();
        self.agent.devices.refresh(found).unwrap();
    }

    pub fn count(&mut self, stat: PacketStat) -> u64 {
        self.agent.applier.maps().tracked().counters().unwrap()[stat as usize]
    }

    /// Pinned tcx links and their kernel ids.
    pub fn links(&self) -> BTreeMap<PathBuf, u32> {
        let dir = self.rig.pin_dir().join(format!("v{}/links", xebec_abi::LAYOUT_VERSION));
        std::fs::read_dir(dir)
            .unwrap()
            .map(|pin| pin.unwrap().path())
            .filter(|pin| pin.to_string_lossy().contains("tcx_"))
            .map(|pin| {
                let link = aya::programs::links::PinnedLink::from_pin(&pin).unwrap();
                (pin, aya::programs::links::FdLink::from(link).info().unwrap().id())
            })
            .collect()
    }

    /// Packets that the receiving kernels refused for their checksums, everywhere.
    pub fn kernel_checksum_errors(&self) -> u64 {
        [&self.rig.client_ns, &self.pod, &self.far, &self.rig.server_ns]
            .map(|ns| within(ns, errors))
            .iter()
            .sum()
    }
}

/// A device's address.
fn mac(ns: &str, device: &str) -> String {
    let out = std::process::Command::new("ip").args(["-n", ns, "-br", "link", "show", device]).output();
    let text = String::from_utf8(out.unwrap().stdout).unwrap();
    text.split_whitespace().nth(2).unwrap().to_owned()
}

/// Makes a neighbour known: its discovery waits for duplicate address detection, and tests do not.
pub fn neighbour(ns: &str, device: &str, to: &str, other: &str, peer: &str) {
    run(&format!("ip -n {ns} neigh add {to} lladdr {} dev {device}", mac(other, peer)));
}

fn errors() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(' ').collect()).collect();
    let v4 = lines.chunks(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
    let v4: u64 =
        v4.filter(|(name, _)| name.ends_with("CsumErrors")).map(|(_, n)| n.parse::<u64>().unwrap()).sum();
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let v6 = text.lines().filter_map(|l| l.split_once(char::is_whitespace));
    v4 + v6
        .filter(|(n, _)| n.ends_with("CsumErrors"))
        .map(|(_, n)| n.trim().parse::<u64>().unwrap())
        .sum::<u64>()
}

pub fn tcp(netns: &NetNs, address: &str, name: &str) -> Server {
    let (address, name): (SocketAddr, _) = (address.parse().unwrap(), name.to_owned());
    Server::start(netns, address, move |_, stop, ready| {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        ready();
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((mut stream, peer)) => {
                    let _ = stream.write_all(format!("{name} {}", peer.ip()).as_bytes());
                }
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    })
}

/// Answers with name, source, length, and as many zeros as it got bytes.
pub fn udp(netns: &NetNs, address: &str, name: &str) -> Server {
    let (address, name): (SocketAddr, _) = (address.parse().unwrap(), name.to_owned());
    Server::start(netns, address, move |_, stop, ready| {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        ready();
        let mut buffer = [0; 8192];
        while !stop.load(Ordering::Relaxed) {
            if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let mut answer = format!("{name} {} {len}", from.ip()).into_bytes();
                answer.resize(answer.len() + len, 0);
                let _ = socket.send_to(&answer, from);
            }
        }
    })
}

/// Runs in a namespace.
pub fn within<T: Send>(netns: &NetNs, work: impl FnOnce() -> T + Send) -> T {
    let path = netns.path();
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                enter(&path);
                work()
            })
            .join()
            .unwrap()
    })
}

fn code(error: &std::io::Error) -> String {
    // connect_timeout's own timeout has no number.
    format!("error {}", error.raw_os_error().unwrap_or(11))
}

pub fn say(to: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub fn ask_tcp(netns: &NetNs, to: &str) -> String {
    within(netns, || say(to).unwrap_or_else(|e| code(&e)))
}

/// A connected socket: it hears only what comes from the address it asked.
pub fn udp_socket(to: &str) -> std::io::Result<UdpSocket> {
    let to: SocketAddr = to.parse().unwrap();
    let socket = match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
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

pub fn ask_udp(netns: &NetNs, to: &str, len: usize) -> String {
    within(netns, || udp_socket(to).map_or_else(|e| code(&e), |socket| exchange(&socket, len)))
}

/// Pings, and returns who answered what.
pub fn ping(netns: &NetNs, to: &str) -> String {
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
        let mut packet = [request, 0, 0, 0, 0x12, 0x34, 0, 1];
        let sum = !(u16::from_be_bytes([request, 0]) + 0x1234 + 1);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        if let Err(error) = socket.send_to(&packet, SocketAddr::new(to, 0)) {
            return code(&error);
        }
        let mut buffer = [0; 256];
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
