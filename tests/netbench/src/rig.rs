//! One node of a target: namespaces, wires, addresses. Everything goes when dropped.
//!
//! ```text
//!   outside 10.199.0.1 --- wire 10.199.0.2  node  gateway 169.254.1.1 --- client pod 10.244.0.5
//!                                            `--------------------- server pod 10.244.1.1 .. n
//! ```
//! Pods have no route but those to the node; their addresses are routed by device, as Xebec's own CNI plugin does it.

use xebec_rig::NetNs;
use xebec_rig::netns::wire;

/// The node's address, which answers on node ports.
pub(crate) const NODE: &str = "10.199.0.2";
/// Where every Service's virtual IP is.
pub(crate) const SERVICE_RANGE: &str = "10.192.0.0/12";
/// The pods.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
const CLIENT: &str = "10.244.0.5";
pub(crate) const OUTSIDE: &str = "10.199.0.1";
const GATEWAY: &str = "169.254.1.1";
/// The node's ends of its pods' wires.
const NODE_MAC: &str = "02:00:00:00:00:01";

/// A node with its pods and an outside client.
pub(crate) struct Rig {
    pub(crate) node: NetNs,
    pub(crate) client: NetNs,
    pub(crate) server: NetNs,
    pub(crate) outside: NetNs,
}

impl Rig {
    /// A rig named `label`, with this many addresses at the server.
    pub(crate) fn new(label: &str, servers: u8) -> Self {
        let id = format!("xnb{}{label}", std::process::id());
        let make = |role: &str| NetNs::new(format!("{id}-{role}"));
        let rig = Self { node: make("n"), client: make("c"), server: make("s"), outside: make("o") };
        let node = &rig.node;
        for (netns, pod, addresses) in rig.pods(servers) {
            wire((node, pod), (netns, "eth0"), 1500);
            node.ip(&format!("link set {pod} address {NODE_MAC}"));
            netns.ip(&format!("neigh add {GATEWAY} lladdr {NODE_MAC} dev eth0"));
            netns.ip(&format!("route add {GATEWAY} dev eth0 scope link"));
            for address in &addresses {
                netns.address("eth0", &format!("{address}/32"));
                node.ip(&format!("route add {address} dev {pod}"));
            }
            for range in [SERVICE_RANGE, POD_RANGE, "10.199.0.0/24"] {
                netns.ip(&format!("route add {range} via {GATEWAY} src {}", addresses[0]));
            }
        }
        wire((node, "wire"), (&rig.outside, "eth0"), 1500);
        node.address("wire", &format!("{NODE}/24"));
        rig.outside.address("eth0", &format!("{OUTSIDE}/24"));
        rig.outside.ip(&format!("route add {POD_RANGE} via {NODE}"));
        node.forward();
        // Who closes first keeps the connection's end for a minute. Of 28,000 ports to one address none would be free soon, and
        // what is measured would be the kernel's search for one: the more so the fewer addresses a target connects to.
        for netns in [&rig.server, &rig.client, &rig.outside] {
            netns.sysctl("net/ipv4/tcp_max_tw_buckets", "1024");
        }
        rig
    }

    /// The pods: their namespace, the node's end of their wire, their addresses.
    pub(crate) fn pods(&self, servers: u8) -> [(&NetNs, &'static str, Vec<String>); 2] {
        [
            (&self.client, "client", vec![CLIENT.to_owned()]),
            (&self.server, "server", (1..=servers).map(server_address).collect()),
        ]
    }
}

/// The n-th address of the server pod, from 1.
pub(crate) fn server_address(n: u8) -> String {
    format!("10.244.1.{n}")
}
