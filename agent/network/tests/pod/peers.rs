//! Three nodes with a pod each: two beside each other, the third behind a router. Nobody has a default route.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use xebec_network::peers::{OwnAddress, Peer, Plan, Routing, plan};
use xebec_network::routes::{Applied, PROTOCOL, apply, own_addresses};
use xebec_network::{Hooks, IpNet, TUNNEL_DEVICE};

use crate::node::{Netns, addresses, inside, ip};
use crate::talk;
use crate::talks::{datagram, path_mtu, stream};

const PORT: u16 = 8472;

/// Runs on a runtime of its own inside a namespace.
fn on<T: Send + 'static, F: Future<Output = T>>(
    netns: &Netns,
    work: impl FnOnce() -> F + Send + 'static,
) -> T {
    let run =
        move || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work());
    inside(netns, run).join().unwrap()
}

struct Node {
    // The pod goes first.
    pod: Netns,
    node: crate::node::Node,
    number: u8,
    addresses: Vec<IpAddr>,
    /// Of both families.
    pod_addresses: Vec<IpAddr>,
    before: Plan,
}

impl Node {
    fn new(netns: Netns, number: u8, addresses: Vec<IpAddr>) -> Self {
        let shares = pods(number).map(|share| share.to_string()).join(",");
        let node = crate::node::Node::at(netns, &shares, Hooks::default());
        let pod = Netns::new(&format!("xpp{number}"));
        let added = node.call("ADD", "c-pod", &pod.path(), &Value::Null);
        let pod_addresses = crate::node::addresses(&added);
        Self { pod, node, number, addresses, pod_addresses, before: Plan::default() }
    }

    /// As others know it.
    fn peer(&self) -> (String, Peer) {
        let pod_cidrs = pods(self.number).map(|share| share.to_string()).into();
        let peer = Peer { created: 0, addresses: self.addresses.clone(), pod_cidrs };
        (format!("n{}", self.number), peer)
    }

    /// What it does when it knows of these.
    fn follow(&mut self, routing: Routing, peers: &[(String, Peer)]) -> Applied {
        let mut peers: BTreeMap<String, Peer> = peers.iter().cloned().collect();
        peers.remove(&self.peer().0);
        let (own, before) = (pods(self.number), self.before.clone());
        let (plan, applied) = on(&self.node.netns, move || async move {
            let plan = plan(routing, &own, &own_addresses().await.unwrap(), &peers, &before);
            let applied = apply(&plan, &own, PORT).await.unwrap();
            (plan, applied)
        });
        assert!(plan.refused.is_empty(), "{:?}", plan.refused);
        self.before = plan;
        applied
    }

    /// Another pod takes the place of its pod.
    fn renew_pod(&mut self) {
        let pod = Netns::new(&format!("xpq{}", self.number));
        let added = self.node.call("ADD", "c-later", &pod.path(), &Value::Null);
        (self.pod, self.pod_addresses) = (pod, addresses(&added));
    }

    fn routes(&self) -> String {
        self.node.netns.exec("ip route show proto 88") + &self.node.netns.exec("ip -6 route show proto 88")
    }
}

/// A node's shares of the pods' addresses.
fn pods(node: u8) -> [IpNet; 2] {
    [format!("10.244.{node}.0/24"), format!("fd00:10:244:{node}::/64")].map(|text| text.parse().unwrap())
}

/// A wire between two namespaces, both ends up.
fn wire(a: &Netns, device: &str, b: &Netns, other: &str) {
    ip(&format!("-n {} link add {device} type veth peer name {other} netns {}", a.0, b.0));
    ip(&format!("-n {} link set {device} up", a.0));
    ip(&format!("-n {} link set {other} up", b.0));
}

/// Families between the nodes.
#[derive(Clone, Copy, PartialEq)]
enum Wires {
    V4,
    V6,
    Both,
}

impl Wires {
    /// Of both an address has, with their prefix lengths, those that are there.
    fn of(self, four: &str, six: &str) -> Vec<String> {
        let v4 = (self != Self::V6).then(|| format!("{four}/24"));
        let v6 = (self != Self::V4).then(|| format!("{six}/64"));
        v4.into_iter().chain(v6).collect()
    }
}

fn topology(wires: Wires) -> (Vec<Node>, [Netns; 2]) {
    let [switch, router] = ["xpsw", "xprt"].map(Netns::new);
    ip(&format!("-n {} link add sw type bridge", switch.0));
    ip(&format!("-n {} link set sw up", switch.0));
    let give = |netns: &Netns, device: &str, four: &str, six: &str| {
        for address in wires.of(four, six) {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            ip(&format!("-n {} addr add {address} dev {device} {nodad}", netns.0));
        }
    };
    let plug = |netns: &Netns, port: &str, four: &str, six: &str| {
        wire(&switch, port, netns, "eth0");
        ip(&format!("-n {} link set {port} master sw", switch.0));
        give(netns, "eth0", four, six);
    };
    let nodes = ["xpn1", "xpn2", "xpn3"].map(Netns::new);
    plug(&nodes[0], "p1", "192.0.2.1", "fd01::1");
    plug(&nodes[1], "p2", "192.0.2.2", "fd01::2");
    plug(&router, "p3", "192.0.2.254", "fd01::fe");
    wire(&nodes[2], "eth0", &router, "eth1");
    give(&nodes[2], "eth0", "198.51.100.3", "fd02::3");
    give(&router, "eth1", "198.51.100.254", "fd02::fe");
    let forward = || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    };
    inside(&router, forward).join().unwrap();
    let route = |netns: &Netns, four: [&str; 2], six: [&str; 2]| {
        for (net, via) in wires.of(four[0], six[0]).into_iter().zip(wires.of(four[1], six[1])) {
            ip(&format!("-n {} route add {net} via {}", netns.0, via.split('/').next().unwrap()));
        }
    };
    for node in &nodes[..2] {
        route(node, ["198.51.100.0", "192.0.2.254"], ["fd02::", "fd01::fe"]);
    }
    route(&nodes[2], ["192.0.2.0", "198.51.100.254"], ["fd01::", "fd02::fe"]);
    let addresses = [["192.0.2.1", "fd01::1"], ["192.0.2.2", "fd01::2"], ["198.51.100.3", "fd02::3"]];
    let made = nodes.into_iter().zip(1..).zip(addresses).map(|((netns, number), [four, six])| {
        let addresses = wires.of(four, six);
        let plain = |text: &String| text.split('/').next().unwrap().parse().unwrap();
        Node::new(netns, number, addresses.iter().map(plain).collect())
    });
    (made.collect(), [switch, router])
}

/// Everything that a pod of the one node and one of the other may say to each other; a datagram is sent so often at most.
fn converse(a: &Node, b: &Node, most: u32) {
    for (from, to, family) in [(a, b, 0), (b, a, 0), (a, b, 1), (b, a, 1)] {
        let (own, peer) = (from.pod_addresses[family], to.pod_addresses[family]);
        assert_eq!(talk(&from.pod, &to.pod, peer), own, "the server must see the client's own address");
        for len in [10, 1452, 9000] {
            let (seen, tries) = datagram(&from.pod, &to.pod, peer, len);
            assert_eq!(seen, own, "{len} bytes");
            assert!(tries <= most, "{len} bytes to {peer} were sent {tries} times");
        }
        stream(&from.pod, &to.pod, peer);
    }
}

#[test]
fn pods_of_three_nodes_reach_each_other() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let (mut nodes, _network) = topology(Wires::Both);
    let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
    for node in &mut nodes {
        let applied = node.follow(Routing::Auto, &peers);
        assert_eq!(applied, Applied { added: 4, ..Applied::default() });
        // What is there is not touched again.
        assert_eq!(node.follow(Routing::Auto, &peers), Applied::default());
    }
    let routes = nodes[0].routes();
    assert!(routes.contains("10.244.2.0/24 via 192.0.2.2 dev eth0"), "{routes}");
    assert!(routes.contains("fd00:10:244:2::/64 via fd01::2 dev eth0"), "{routes}");
    let tunnelled = routes.lines().find(|line| line.starts_with("10.244.3.0/24")).unwrap();
    assert!(tunnelled.contains("encap ip id 1") && tunnelled.contains(" dst 198.51.100.3 "), "{routes}");
    assert!(tunnelled.contains("via 10.244.3.0 dev xebec-pods"), "{routes}");
    let tunnelled = routes.lines().find(|line| line.starts_with("fd00:10:244:3::/64")).unwrap();
    assert!(tunnelled.contains("encap ip id 1") && tunnelled.contains(" dst 198.51.100.3 "), "{routes}");
    assert!(tunnelled.contains("via fe80::ff44:13 dev xebec-pods"), "{routes}");
    // Pods that were there before the tunnel learn of its width, once in each direction.
    for (a, b, most) in [(0, 1, 1), (0, 2, 3), (1, 2, 3)] {
        converse(&nodes[a], &nodes[b], most);
    }
    for family in [0, 1] {
        assert_eq!(path_mtu(&nodes[0].pod, nodes[1].pod_addresses[family]), 1500);
        assert_eq!(path_mtu(&nodes[0].pod, nodes[2].pod_addresses[family]), 1450);
    }
    // Later ones know it.
    for node in [0, 2] {
        nodes[node].renew_pod();
    }
    converse(&nodes[0], &nodes[2], 1);
    for family in ["-4", "-6"] {
        let width = nodes[0].pod.exec(&format!("ip {family} route show default"));
        assert!(width.contains(" mtu 1450"), "{width}");
    }
    // A node itself, under an address that leads back to it.
    let (one, two, three) = (&nodes[0], &nodes[1], &nodes[2]);
    for (from, to, own) in [
        (one, two, ["192.0.2.1", "fd01::1"]),
        (one, three, ["10.244.1.0", "fd00:10:244:1::"]),
        (three, one, ["10.244.3.0", "fd00:10:244:3::"]),
    ] {
        for (address, own) in to.pod_addresses.iter().zip(own) {
            assert_eq!(talk(&from.node.netns, &to.pod, *address).to_string(), own);
        }
    }

    // All by the tunnel, at its first sight and back.
    for node in &mut nodes[..2] {
        let applied = node.follow(Routing::Vxlan, &peers);
        assert_eq!(applied, Applied { added: 2, ..Applied::default() });
        assert!(!node.routes().contains("dev eth0"));
    }
    converse(&nodes[0], &nodes[1], 3);
    for node in &mut nodes[..2] {
        assert_eq!(node.follow(Routing::Auto, &peers).added, 2);
    }
}

#[test]
fn pods_have_both_families_where_nodes_have_one() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    for (wires, encap, width) in [(Wires::V4, "encap ip ", 1450), (Wires::V6, "encap ip6 ", 1430)] {
        let (mut nodes, _network) = topology(wires);
        let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
        for node in &mut nodes {
            assert_eq!(node.follow(Routing::Auto, &peers), Applied { added: 4, ..Applied::default() });
            assert_eq!(node.follow(Routing::Auto, &peers), Applied::default());
        }
        // Of the node beside, pods of the other family are behind the tunnel, too.
        let routes = nodes[0].routes();
        assert_eq!(routes.matches(encap).count(), 3, "{routes}");
        assert_eq!(routes.matches("dev eth0").count(), 1, "{routes}");
        for (a, b) in [(0, 1), (0, 2)] {
            converse(&nodes[a], &nodes[b], 3);
        }
        for address in &nodes[2].pod_addresses {
            assert_eq!(path_mtu(&nodes[0].pod, *address), width);
        }
    }
}

#[test]
fn routes_go_with_their_nodes_and_others_stay() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let (mut nodes, _network) = topology(Wires::Both);
    let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
    let node = &mut nodes[0];
    let devices = |node: &Node| node.node.netns.exec("ip -o link show");
    // Somebody has the tunnel's port: the node beside has its route all the same.
    node.node.netns.exec("ip link add other type vxlan id 5 dstport 8472");
    node.node.netns.exec("ip link set other up");
    let applied = node.follow(Routing::Auto, &peers);
    let why = applied.no_tunnel.unwrap_or_default();
    assert!(why.contains("xebec-pods at UDP port 8472 (--pod-vxlan-port): "), "{why}");
    assert_eq!((applied.added, applied.failed.len()), (2, 0));
    assert!(node.routes().contains("10.244.2.0/24"));
    node.node.netns.exec("ip link del other");
    assert_eq!(node.follow(Routing::Auto, &peers), Applied { added: 2, ..Applied::default() });
    assert!(devices(node).contains(TUNNEL_DEVICE));
    for address in ["10.244.3.0", "fe80::ff44:13"] {
        let known = node.node.netns.exec(&format!("ip neigh show {address} dev xebec-pods"));
        assert!(known.contains("lladdr 02:78:0a:f4:03:00 PERMANENT"), "{known}");
    }

    // The node behind the tunnel leaves: so does the tunnel.
    let applied = node.follow(Routing::Auto, &peers[..2]);
    assert_eq!(applied, Applied { removed: 2, ..Applied::default() });
    assert!(
        !node.routes().contains("10.244.3.0/24")
            && !node.routes().contains("244:3::")
            && !devices(node).contains(TUNNEL_DEVICE)
    );
    assert!(node.routes().contains("10.244.2.0/24"));

    // Somebody else knows a way to it.
    node.node.netns.exec("ip route add 10.244.3.0/24 via 192.0.2.254 proto static");
    node.node.netns.exec("ip route add fd00:10:244:3::/64 via fd01::fe proto static");
    let applied = node.follow(Routing::Auto, &peers);
    for share in pods(3) {
        let why = applied.failed.get(&share).map(String::as_str);
        assert_eq!(why, Some("somebody else has a route to this network; it is left alone"));
    }
    assert_eq!((applied.added, applied.removed, applied.failed.len()), (0, 0, 2));
    let theirs = node.node.netns.exec("ip route show 10.244.3.0/24");
    assert!(theirs.starts_with("10.244.3.0/24 via 192.0.2.254 dev eth0 proto static"), "{theirs}");
    assert_eq!(theirs.lines().count(), 1, "{theirs}");
    let theirs = node.node.netns.exec("ip -6 route show fd00:10:244:3::/64");
    assert!(theirs.starts_with("fd00:10:244:3::/64 via fd01::fe dev eth0 proto static"), "{theirs}");
    assert_eq!(theirs.lines().count(), 1, "{theirs}");
    node.node.netns.exec("ip route del 10.244.3.0/24");
    node.node.netns.exec("ip route del fd00:10:244:3::/64");
    assert_eq!(node.follow(Routing::Auto, &peers), Applied { added: 2, ..Applied::default() });

    // A node that changed its address, and a device that was lost with all that was on it.
    let mut moved = peers.clone();
    moved[2].1.addresses = vec!["198.51.100.33".parse().unwrap()];
    assert_eq!(node.follow(Routing::Auto, &moved), Applied { added: 2, ..Applied::default() });
    assert_eq!(node.routes().matches("dst 198.51.100.33 ").count(), 2);
    node.node.netns.exec("ip link del xebec-pods");
    assert_eq!(node.follow(Routing::Auto, &peers), Applied { added: 2, ..Applied::default() });

    // What the agent made goes when it is told to remove it, pods' devices as well, and nothing else.
    node.node.netns.exec("ip route add 10.9.0.0/16 via 192.0.2.254 proto static");
    node.node.netns.exec("ip link add xebec-dsr type vxlan external dstport 8473");
    let (ipam, conf) = (node.node.options.ipam_dir.clone(), node.node.options.conf_dir.clone());
    on(&node.node.netns, move || async move { xebec_network::remove(&ipam, &conf).await }).unwrap();
    assert_eq!(PROTOCOL, 88);
    assert_eq!(node.routes(), "");
    let left = devices(node);
    assert!(!left.contains(TUNNEL_DEVICE) && left.contains("xebec-dsr"), "{left}");
    assert_eq!(left.matches(" xeb").count(), 1, "a pod's device is left: {left}");
    assert!(node.node.netns.exec("ip route").contains("10.9.0.0/16 via 192.0.2.254"));
}

#[test]
fn three_thousand_nodes_behind_the_tunnel() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    // More than the kernel keeps of neighbours that it found out by itself.
    let netns = Netns::new("xpmany");
    let peer = |n: u32| {
        let pod_cidrs =
            vec![format!("10.{}.{}.0/24", 1 + n / 256, n % 256), format!("fd00:10:{:x}::/64", 0x1000 + n)];
        let address = IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + n));
        (format!("n{n}"), Peer { created: 0, addresses: vec![address], pod_cidrs })
    };
    let mut peers: BTreeMap<String, Peer> = (0..3000).map(peer).collect();
    let address = IpAddr::from([192, 0, 2, 1]);
    let own = [OwnAddress { device: 1, address, network: "192.0.2.0/24".parse().unwrap() }];
    let all = plan(Routing::Auto, &pods(1), &own, &peers, &Plan::default());
    peers.retain(|name, _| name.ends_with('7'));
    let few = plan(Routing::Auto, &pods(1), &own, &peers, &all);
    let came = on(&netns, || async move {
        let mut out = Vec::new();
        for plan in [&all, &all, &few] {
            let applied = apply(plan, &pods(1), PORT).await.unwrap();
            out.push((applied.added, applied.removed, applied.failed.len()));
        }
        out
    });
    assert_eq!(came, [(6000, 0, 0), (0, 0, 0), (0, 5400, 0)]);
    for family in ["-4", "-6"] {
        let left = netns.exec(&format!("ip {family} route show proto 88"));
        assert_eq!(left.lines().count(), 300);
        assert_eq!(netns.exec(&format!("ip {family} neigh show dev xebec-pods")).lines().count(), 300);
    }
}
