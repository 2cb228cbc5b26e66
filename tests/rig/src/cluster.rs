//! Several nodes, each a namespace with a dataplane and pods of its own, and machines outside.
//!
//! ```text
//!   outside k 10.199.0.k --+-- wire 10.199.0.10n  node n  back 10.198.0.10n --+-- the other nodes
//!                         |                       `- pod k 10.244.n.k      |
//!                       front                                            back, with an MTU of its own
//! ```
//! IPv6 likewise: fd99::k, fd99::10n, fd98::10n, fd44:n::k. Pods have no route but those to nodes, pods and the outside;
//! nodes know each other's pods. A machine outside knows the virtual IPs (10.196.0.0/16, fd96::/64) by the first node.

use std::path::PathBuf;

use crate::client::Client;
use crate::netns::{NetNs, unique, wire, within};
use crate::objects::Agent;
use crate::place::{Place, object_or_skip};

/// The node's end of every pod's wire.
const NODE_MAC: &str = "02:00:00:00:00:01";
const POD_MAC: &str = "02:00:00:00:00:02";

/// A bridge that namespaces are plugged into.
#[derive(Debug)]
struct Switch {
    netns: NetNs,
    mtu: u32,
    ports: u32,
}

impl Switch {
    fn new(name: String, mtu: u32) -> Self {
        let netns = namespace(name);
        netns.ip("link add sw type bridge");
        netns.ip("link set sw up");
        Self { netns, mtu, ports: 0 }
    }

    /// A device of `netns` on it, with the `n`-th address of the networks 10.1`subnet`.0.0/24 and fd`subnet`::/64.
    fn plug(&mut self, netns: &NetNs, device: &str, subnet: u32, n: u32) {
        let port = format!("p{}", self.ports);
        self.ports += 1;
        wire((&self.netns, &port), (netns, device), self.mtu);
        self.netns.ip(&format!("link set {port} master sw"));
        netns.address(device, &format!("10.1{subnet}.0.{n}/24"));
        netns.address(device, &format!("fd{subnet}::{n}/64"));
    }
}

/// A namespace whose IPv6 addresses are usable at once.
fn namespace(name: String) -> NetNs {
    let netns = NetNs::new(name);
    netns.sysctl("net/ipv6/conf/default/accept_dad", "0");
    netns
}

/// One node.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order.
    place: Place,
    /// Its number, from 1.
    pub number: u32,
    /// Its namespace.
    pub netns: NetNs,
}

impl Node {
    /// Its address on the network of the machines outside.
    pub fn address(&self) -> String {
        format!("10.199.0.10{}", self.number)
    }

    /// Its name, as endpoints give it.
    pub fn name(&self) -> &str {
        &self.place.options.node_name
    }

    /// Where its dataplane lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its agent, on its devices.
    pub fn agent(&self) -> Agent {
        within(&self.netns, || {
            let mut agent = Agent::new(&self.place.options);
            assert_eq!(agent.refresh(), ["back", "wire"]);
            agent
        })
    }

    /// A process in one of its pods, which its dataplane serves.
    pub fn client(&self, pod: &NetNs) -> Client {
        Client::of(&self.place, pod)
    }

    /// Its `k`-th pod.
    pub fn pod(&self, k: u32) -> NetNs {
        let (n, node) = (self.number, &self.netns);
        let pod = namespace(format!("{}p{k}", node.name));
        let device = format!("pod{k}");
        wire((node, &device), (&pod, "eth0"), 1500);
        node.ip(&format!("link set {device} address {NODE_MAC}"));
        pod.ip(&format!("link set eth0 address {POD_MAC}"));
        for (address, length, gateway) in
            [(pod_address(n, k), 32, "169.254.1.1"), (format!("fd44:{n}::{k}"), 128, "fe80::1")]
        {
            pod.address("eth0", &format!("{address}/{length}"));
            pod.ip(&format!("neigh add {gateway} lladdr {NODE_MAC} dev eth0"));
            node.ip(&format!("route add {address} dev {device}"));
            node.ip(&format!("neigh add {address} lladdr {POD_MAC} dev {device}"));
        }
        for range in ["10.244.0.0/16", "10.198.0.0/24", "10.199.0.0/24"] {
            pod.ip(&format!("route add {range} via 169.254.1.1 dev eth0 onlink"));
        }
        for range in ["fd44::/16", "fd98::/64", "fd99::/64"] {
            pod.ip(&format!("route add {range} via fe80::1 dev eth0"));
        }
        pod
    }
}

/// The address of a node's `k`-th pod.
pub fn pod_address(node: u32, k: u32) -> String {
    format!("10.244.{node}.{k}")
}

/// Nodes and machines outside.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: programs before devices.
    /// The nodes, `node-1` first.
    pub nodes: Vec<Node>,
    /// The machines outside.
    pub outside: Vec<NetNs>,
    _switches: [Switch; 2],
}

impl Cluster {
    /// So many of each; `mtu` is that of the network between the nodes. `None`, with the reason printed, where the machine
    /// cannot run this.
    pub fn new(nodes: u32, outside: u32, mtu: u32) -> Option<Self> {
        let object = object_or_skip()?;
        let id = unique();
        let mut front = Switch::new(format!("{id}f"), 1500);
        let mut back = Switch::new(format!("{id}b"), mtu);
        let machine = |k| {
            let netns = namespace(format!("{id}o{k}"));
            front.plug(&netns, "eth0", 99, k);
            netns.ip("route add 10.196.0.0/16 via 10.199.0.101");
            netns.ip("route add fd96::/64 via fd99::101");
            netns
        };
        let outside = (1..=outside).map(machine).collect();
        let make = |n| node(&id, n, object.clone(), &mut front, &mut back);
        let made: Vec<Node> = (1..=nodes).map(make).collect();
        for node in &made {
            for other in made.iter().map(|other| other.number).filter(|other| *other != node.number) {
                node.netns.ip(&format!("route add 10.244.{other}.0/24 via 10.198.0.10{other}"));
                node.netns.ip(&format!("route add fd44:{other}::/64 via fd98::10{other}"));
            }
        }
        Some(Self { nodes: made, outside, _switches: [front, back] })
    }
}

fn node(id: &str, n: u32, object: PathBuf, front: &mut Switch, back: &mut Switch) -> Node {
    let id = format!("{id}n{n}");
    let netns = namespace(id.clone());
    front.plug(&netns, "wire", 99, 100 + n);
    back.plug(&netns, "back", 98, 100 + n);
    netns.forward();
    let mut place = Place::new(&id, &format!("node-{n}"), object);
    place.options.devices = None;
    Node { place, number: n, netns }
}
