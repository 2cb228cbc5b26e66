//! Three nodes with a pod each: two beside each other, the third behind a router. Nobody has a default route.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use xebec_network::peers::{Peer, Plan, Routing, plan};
use xebec_network::routes::{Applied, PROTOCOL, apply, own_addresses};
use xebec_network::{Cidr, Hooks, TUNNEL_DEVICE};

use crate::node::{Netns, address, inside, ip};
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
    address: &'static str,
    pod_address: Ipv4Addr,
    before: Plan,
}

impl Node {
    fn new(netns: Netns, number: u8, own: &'static str) -> Self {
        let node = crate::node::Node::at(netns, &pods(number).to_string(), Hooks::default());
        let pod = Netns::new(&format!("xpp{number}"));
        let added = node.call("ADD", "c-pod", &pod.path(), &Value::Null);
        let (pod_address, before) = (address(&added), Plan::default());
        Self { pod, node, number, address: own, pod_address, before }
    }

    /// As others know it.
    fn peer(&self) -> (String, Peer) {
        let addresses = vec![self.address.parse().unwrap()];
        let peer = Peer { created: 0, addresses, pod_cidrs: vec![pods(self.number).to_string()] };
        (format!("n{}", self.number), peer)
    }

    /// What it does when it knows of these.
    fn follow(&mut self, routing: Routing, peers: &[(String, Peer)]) -> Applied {
        let mut peers: BTreeMap<String, Peer> = peers.iter().cloned().collect();
        peers.remove(&self.peer().0);
        let (own, before) = (pods(self.number), self.before.clone());
        let (plan, applied) = on(&self.node.netns, move || async move {
            let plan = plan(routing, own, &own_addresses().await.unwrap(), &peers, &before);
            let applied = apply(&plan, own, PORT).await.unwrap();
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
        (self.pod, self.pod_address) = (pod, address(&added));
    }

    fn routes(&self) -> String {
        self.node.netns.exec("ip route show proto 88")
    }
}

fn pods(node: u8) -> Cidr {
    format!("10.244.{node}.0/24").parse().unwrap()
}

/// A wire between two namespaces, both ends up.
fn wire(a: &Netns, device: &str, b: &Netns, other: &str) {
    ip(&format!("-n {} link add {device} type veth peer name {other} netns {}", a.0, b.0));
    ip(&format!("-n {} link set {device} up", a.0));
    ip(&format!("-n {} link set {other} up", b.0));
}

fn topology() -> (Vec<Node>, [Netns; 2]) {
    let [switch, router] = ["xpsw", "xprt"].map(Netns::new);
    ip(&format!("-n {} link add sw type bridge", switch.0));
    ip(&format!("-n {} link set sw up", switch.0));
    let plug = |netns: &Netns, port: &str, address: &str| {
        wire(&switch, port, netns, "eth0");
        ip(&format!("-n {} link set {port} master sw", switch.0));
        ip(&format!("-n {} addr add {address}/24 dev eth0", netns.0));
    };
    let nodes = ["xpn1", "xpn2", "xpn3"].map(Netns::new);
    plug(&nodes[0], "p1", "192.0.2.1");
    plug(&nodes[1], "p2", "192.0.2.2");
    plug(&router, "p3", "192.0.2.254");
    wire(&nodes[2], "eth0", &router, "eth1");
    ip(&format!("-n {} addr add 198.51.100.3/24 dev eth0", nodes[2].0));
    ip(&format!("-n {} addr add 198.51.100.254/24 dev eth1", router.0));
    inside(&router, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap()).join().unwrap();
    for node in &nodes[..2] {
        ip(&format!("-n {} route add 198.51.100.0/24 via 192.0.2.254", node.0));
    }
    ip(&format!("-n {} route add 192.0.2.0/24 via 198.51.100.254", nodes[2].0));
    let addresses = ["192.0.2.1", "192.0.2.2", "198.51.100.3"];
    let made = nodes.into_iter().zip(1..).zip(addresses);
    (made.map(|((netns, number), own)| Node::new(netns, number, own)).collect(), [switch, router])
}

/// Everything that a pod of the one node and one of the other may say to each other; a datagram is sent so often at most.
fn converse(a: &Node, b: &Node, most: u32) {
    for (from, to) in [(a, b), (b, a)] {
        let seen = talk(&from.pod, &to.pod, to.pod_address);
        assert_eq!(seen, from.pod_address, "the server must see the client's own address");
        for len in [10, 1472, 9000] {
            let (seen, tries) = datagram(&from.pod, &to.pod, to.pod_address, len);
            assert_eq!(seen, IpAddr::V4(from.pod_address), "{len} bytes");
            assert!(tries <= most, "{len} bytes were sent {tries} times");
        }
        stream(&from.pod, &to.pod, to.pod_address);
    }
}

#[test]
fn pods_of_three_nodes_reach_each_other() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let (mut nodes, _network) = topology();
    let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
    for node in &mut nodes {
        let applied = node.follow(Routing::Auto, &peers);
        assert_eq!(applied, Applied { added: 2, ..Applied::default() });
        // What is there is not touched again.
        assert_eq!(node.follow(Routing::Auto, &peers), Applied::default());
    }
    let routes = nodes[0].routes();
    assert!(routes.contains("10.244.2.0/24 via 192.0.2.2 dev eth0"), "{routes}");
    let tunnelled = routes.lines().find(|line| line.starts_with("10.244.3.0/24")).unwrap();
    assert!(tunnelled.contains("encap ip id 1") && tunnelled.contains(" dst 198.51.100.3 "), "{routes}");
    assert!(tunnelled.contains("via 10.244.3.0 dev xebec-pods"), "{routes}");
    // Pods that were there before the tunnel learn of its width, once in each direction.
    for (a, b, most) in [(0, 1, 1), (0, 2, 3), (1, 2, 3)] {
        converse(&nodes[a], &nodes[b], most);
    }
    assert_eq!(path_mtu(&nodes[0].pod, nodes[1].pod_address), 1500);
    assert_eq!(path_mtu(&nodes[0].pod, nodes[2].pod_address), 1450);
    // Later ones know it.
    for node in [0, 2] {
        nodes[node].renew_pod();
    }
    converse(&nodes[0], &nodes[2], 1);
    let width = nodes[0].pod.exec("ip route show default");
    assert!(width.contains(" mtu 1450"), "{width}");
    // A node itself, under an address that leads back to it.
    let (one, three) = (&nodes[0], &nodes[2]);
    assert_eq!(talk(&one.node.netns, &nodes[1].pod, nodes[1].pod_address), Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(talk(&one.node.netns, &three.pod, three.pod_address), Ipv4Addr::new(10, 244, 1, 0));
    assert_eq!(talk(&three.node.netns, &one.pod, one.pod_address), Ipv4Addr::new(10, 244, 3, 0));

    // All by the tunnel, at its first sight and back.
    for node in &mut nodes[..2] {
        let applied = node.follow(Routing::Vxlan, &peers);
        assert_eq!(applied, Applied { added: 1, ..Applied::default() });
        assert!(!node.routes().contains("dev eth0"));
    }
    converse(&nodes[0], &nodes[1], 3);
    for node in &mut nodes[..2] {
        assert_eq!(node.follow(Routing::Auto, &peers).added, 1);
    }
}

#[test]
fn routes_go_with_their_nodes_and_others_stay() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let (mut nodes, _network) = topology();
    let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
    let node = &mut nodes[0];
    let devices = |node: &Node| node.node.netns.exec("ip -o link show");
    // Somebody has the tunnel's port: the node beside has its route all the same.
    node.node.netns.exec("ip link add other type vxlan id 5 dstport 8472");
    node.node.netns.exec("ip link set other up");
    let applied = node.follow(Routing::Auto, &peers);
    let why = applied.no_tunnel.unwrap_or_default();
    assert!(why.contains("xebec-pods at UDP port 8472 (--pod-vxlan-port): "), "{why}");
    assert_eq!((applied.added, applied.failed.len()), (1, 0));
    assert!(node.routes().contains("10.244.2.0/24"));
    node.node.netns.exec("ip link del other");
    assert_eq!(node.follow(Routing::Auto, &peers), Applied { added: 1, ..Applied::default() });
    assert!(devices(node).contains(TUNNEL_DEVICE));
    let known = node.node.netns.exec("ip neigh show dev xebec-pods");
    assert!(known.starts_with("10.244.3.0 lladdr 02:78:0a:f4:03:00 PERMANENT"), "{known}");

    // The node behind the tunnel leaves: so does the tunnel.
    let applied = node.follow(Routing::Auto, &peers[..2]);
    assert_eq!(applied, Applied { removed: 1, ..Applied::default() });
    assert!(!node.routes().contains("10.244.3.0/24") && !devices(node).contains(TUNNEL_DEVICE));
    assert!(node.routes().contains("10.244.2.0/24"));

    // Somebody else knows a way to it.
    node.node.netns.exec("ip route add 10.244.3.0/24 via 192.0.2.254 proto static");
    let applied = node.follow(Routing::Auto, &peers);
    let why = applied.failed.get(&pods(3)).map(String::as_str);
    assert_eq!(why, Some("somebody else has a route to this network; it is left alone"));
    assert_eq!((applied.added, applied.removed, applied.failed.len()), (0, 0, 1));
    let theirs = node.node.netns.exec("ip route show 10.244.3.0/24");
    assert!(theirs.starts_with("10.244.3.0/24 via 192.0.2.254 dev eth0 proto static"), "{theirs}");
    assert_eq!(theirs.lines().count(), 1, "{theirs}");
    node.node.netns.exec("ip route del 10.244.3.0/24");
    assert_eq!(node.follow(Routing::Auto, &peers), Applied { added: 1, ..Applied::default() });

    // A node that changed its address, and a device that was lost with all that was on it.
    let mut moved = peers.clone();
    moved[2].1.addresses = vec!["198.51.100.33".parse().unwrap()];
    assert_eq!(node.follow(Routing::Auto, &moved), Applied { added: 1, ..Applied::default() });
    assert!(node.routes().contains("dst 198.51.100.33 "));
    node.node.netns.exec("ip link del xebec-pods");
    assert_eq!(node.follow(Routing::Auto, &peers), Applied { added: 1, ..Applied::default() });

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
        let pod_cidrs = vec![format!("10.{}.{}.0/24", 1 + n / 256, n % 256)];
        let address = IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + n));
        (format!("n{n}"), Peer { created: 0, addresses: vec![address], pod_cidrs })
    };
    let mut peers: BTreeMap<String, Peer> = (0..3000).map(peer).collect();
    let all = plan(Routing::Auto, pods(1), &[], &peers, &Plan::default());
    peers.retain(|name, _| name.ends_with('7'));
    let few = plan(Routing::Auto, pods(1), &[], &peers, &all);
    let came = on(&netns, || async move {
        let mut out = Vec::new();
        for plan in [&all, &all, &few] {
            let applied = apply(plan, pods(1), PORT).await.unwrap();
            out.push((applied.added, applied.removed, applied.failed.len()));
        }
        out
    });
    assert_eq!(came, [(3000, 0, 0), (0, 0, 0), (0, 2700, 0)]);
    assert_eq!(netns.exec("ip route show proto 88").lines().count(), 300);
    assert_eq!(netns.exec("ip neigh show dev xebec-pods").lines().count(), 300);
}
