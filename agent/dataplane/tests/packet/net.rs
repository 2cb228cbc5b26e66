//! The wires, and who sits at them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use xebec_abi::flow::PacketStat;
use xebec_rig::netns::{checksum_errors, wire};
use xebec_rig::objects::Agent;
use xebec_rig::server::Server;
use xebec_rig::{NetNs, Rig, enter};

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
        let (node, client) = (&rig.server_ns, &rig.client_ns);
        let (pod, far) = (NetNs::new(format!("{}p", node.name)), NetNs::new(format!("{}f", node.name)));
        wire((node, "xebpod"), (&pod, "eth0"), 1500);
        wire((node, "back"), (&far, "eth0"), 1500);
        for (netns, device, addresses) in [
            (&pod, "eth0", ["10.244.0.5/32", "fd44::5/128"]),
            (node, "back", ["10.198.0.2/24", "fd98::2/64"]),
            (&far, "eth0", ["10.198.0.3/24", "fd98::3/64"]),
            (&far, "lo", ["10.244.1.5/32", "fd45::5/128"]),
        ] {
            addresses.into_iter().for_each(|address| netns.address(device, address));
        }
        for (netns, route) in [
            // The pod's way out is the node; there is no other.
            (&pod, "10.199.0.0/24 dev eth0"),
            (&pod, "10.198.0.0/24 dev eth0"),
            (&pod, "fd99::/64 dev eth0"),
            (node, "10.244.0.5/32 dev xebpod"),
            (node, "fd44::5/128 dev xebpod"),
            (node, "10.244.1.0/24 via 10.198.0.3"),
            (node, "fd45::/64 via fd98::3"),
            (client, "10.196.0.0/16 via 10.199.0.2"),
            (client, "198.51.100.0/24 via 10.199.0.2"),
            (client, "fd96::/64 via fd99::2"),
        ] {
            netns.ip(&format!("route add {route}"));
        }
        for to in ["10.199.0.1", "10.198.0.3", "fd99::1"] {
            pod.neighbour("eth0", to, node, "xebpod");
        }
        for to in ["10.244.0.5", "fd44::5"] {
            node.neighbour("xebpod", to, &pod, "eth0");
        }
        for (netns, device, to, other, peer) in [
            (node, "back", "fd98::3", &far, "eth0"),
            (&far, "eth0", "fd98::2", node, "back"),
            (node, "wire", "fd99::1", client, "wire"),
            (client, "wire", "fd99::2", node, "wire"),
        ] {
            netns.neighbour(device, to, other, peer);
        }
        node.forward();
        enter(&node.path());
        rig.options.devices = None;
        let servers = vec![
            Server::seeing_tcp(&pod, "0.0.0.0:8080", "POD"),
            Server::seeing_tcp(&pod, "[fd44::5]:8080", "POD"),
            Server::seeing_tcp(&far, "0.0.0.0:8080", "FAR"),
            Server::seeing_tcp(&far, "[fd45::5]:8080", "FAR"),
            Server::seeing_udp(&pod, "10.244.0.5:8080", "POD"),
            Server::seeing_udp(&pod, "[fd44::5]:8080", "POD"),
            Server::seeing_udp(&far, "10.244.1.5:8080", "FAR"),
            Server::seeing_udp(&far, "[fd45::5]:8080", "FAR"),
        ];
        let agent = Agent::new(&rig.options);
        let mut outside = Self { _servers: servers, agent, pod, far, rig };
        outside.refresh();
        Some(outside)
    }

    /// The node's addresses and devices, as the agent follows them.
    pub fn refresh(&mut self) {
        let names = self.agent.refresh();
        assert_eq!(names, ["back", "wire"]);
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
        [&self.rig.client_ns, &self.pod, &self.far, &self.rig.server_ns].map(checksum_errors).iter().sum()
    }
}
