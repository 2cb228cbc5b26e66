//! A node with two pods, and a machine outside. The node is the rig's server namespace, the machine its client's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use xebec_dataplane::policy::Policies;
use xebec_dataplane::policy::plan::PodName;
use xebec_policy::model::World;
use xebec_policy::{Index, Name, facts};

use xebec_rig::server::Server;
use xebec_rig::{NetNs, Rig, enter, run};

/// Addresses of the pods and of the machine.
pub const A: &str = "10.244.0.5";
pub const B: &str = "10.244.0.6";
pub const OUTSIDE: &str = "10.199.0.1";
pub const OTHER: &str = "10.199.0.9";

/// Everything of one test; the calling thread is in the node's namespace from then on.
pub struct Cluster {
    // Dropped in this order.
    _servers: Vec<Server>,
    pub policies: Policies,
    pub a: NetNs,
    pub b: NetNs,
    pub rig: Rig,
    devices: BTreeMap<PodName, u32>,
    index: Index,
    /// The policies in it.
    names: BTreeSet<Name>,
}

/// A NetworkPolicy of the pods' namespace.
pub fn policy(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "x", "name": name}, "spec": spec})
}

/// Selects pod a.
pub fn of_a() -> Value {
    json!({"matchLabels": {"app": "a"}})
}

fn pod(name: &str, addresses: [&str; 2]) -> Value {
    json!({
        "metadata": {"namespace": "x", "name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 80}]}]},
        "status": {"podIPs": addresses.map(|ip| json!({"ip": ip}))},
    })
}

/// The cluster with these policies, as facts.
pub fn world(policies: &[Value]) -> World {
    let read = |policy: &Value| {
        let (facts, unreadable) = facts::policy(&serde_json::from_value(policy.clone()).unwrap());
        assert_eq!(unreadable, None);
        facts
    };
    let pods = [pod("a", [A, "fd44::5"]), pod("b", [B, "fd44::6"])];
    World {
        policies: policies.iter().map(read).collect(),
        namespaces: BTreeMap::from([("x".to_owned(), BTreeMap::new())]),
        pods: pods.map(|pod| facts::pod(&serde_json::from_value(pod).unwrap()).unwrap()).to_vec(),
    }
}

impl Cluster {
    /// `None` where the machine cannot run this.
    pub fn new() -> Option<Self> {
        let rig = Rig::new()?;
        let node = rig.server_ns.name.clone();
        let client = &rig.client_ns.name;
        let (a, b) = (NetNs::new(format!("{node}a")), NetNs::new(format!("{node}b")));
        for (pod, device, v4, v6) in [(&a, "xeba", A, "fd44::5"), (&b, "xebb", B, "fd44::6")] {
            let p = &pod.name;
            for line in [
                // The node's end has the address that the pod's gateway is said to have.
                format!(
                    "-n {node} link add {device} address 02:00:00:00:00:01 type veth peer name eth0 netns {p}"
                ),
                format!("-n {node} link set {device} up"),
                format!("-n {p} addr add {v4}/32 dev eth0"),
                format!("-n {p} addr add {v6}/128 dev eth0 nodad"),
                format!("-n {p} link set eth0 address 02:00:00:00:00:02 up"),
                format!("-n {p} neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0"),
                format!("-n {p} neigh add fe80::1 lladdr 02:00:00:00:00:01 dev eth0"),
                format!("-n {p} route add 10.244.0.0/24 via 169.254.1.1 dev eth0 onlink"),
                format!("-n {p} route add 10.199.0.0/16 via 169.254.1.1 dev eth0 onlink"),
                format!("-n {p} route add fd44::/64 via fe80::1 dev eth0"),
                format!("-n {node} route add {v4} dev {device}"),
                format!("-n {node} route add {v6} dev {device}"),
                format!("-n {node} neigh add {v4} lladdr 02:00:00:00:00:02 dev {device}"),
                format!("-n {node} neigh add {v6} lladdr 02:00:00:00:00:02 dev {device}"),
            ] {
                run(&format!("ip {line}"));
            }
        }
        run(&format!("ip -n {client} addr add {OTHER}/24 dev wire"));
        run(&format!("ip -n {client} route add 10.244.0.0/24 via 10.199.0.2"));
        enter(&rig.server_ns.path());
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        let mut servers = Vec::new();
        for (netns, name, addresses) in [
            (&a, "A", &[A, "[fd44::5]"][..]),
            (&b, "B", &[B, "[fd44::6]"][..]),
            (&rig.client_ns, "OUT", &[OUTSIDE, OTHER][..]),
        ] {
            for address in addresses {
                servers.extend(
                    [80, 81].map(|port| Server::seeing_tcp(netns, &format!("{address}:{port}"), name)),
                );
                servers.push(Server::seeing_udp(netns, &format!("{address}:80"), name));
            }
        }
        let policies = Policies::install(&rig.options).unwrap();
        let index = |device: &str| {
            let devices = xebec_dataplane::addresses::ethernet_devices().unwrap();
            devices.iter().find(|found| found.name == device).unwrap().index
        };
        let name = |name: &str| ("x".to_owned(), name.to_owned());
        let devices = BTreeMap::from([(name("a"), index("xeba")), (name("b"), index("xebb"))]);
        let mut index = Index::default();
        let World { namespaces, pods, .. } = world(&[]);
        namespaces.into_iter().for_each(|(name, labels)| index.namespace(&name, Some(labels)));
        for pod in pods {
            index.pod(&(pod.namespace.clone(), pod.name.clone()), Some((Arc::new(pod), true)));
        }
        let names = BTreeSet::new();
        Some(Self { _servers: servers, policies, a, b, rig, devices, index, names })
    }

    /// The index of pod a's or b's device on the node.
    pub fn device(&self, pod: &str) -> u32 {
        self.devices[&("x".to_owned(), pod.to_owned())]
    }

    /// Makes these all the policies there are.
    pub fn set(&mut self, policies: &[Value]) {
        let mut before = std::mem::take(&mut self.names);
        for policy in world(policies).policies {
            let name = (policy.namespace.clone(), policy.name.clone());
            before.remove(&name);
            self.index.policy(&name, Some(Arc::new(policy)));
            self.names.insert(name);
        }
        before.iter().for_each(|name| self.index.policy(name, None));
        self.step();
    }

    /// Pod b has these addresses, as the API says; returns how many writes that took.
    pub fn move_b(&mut self, addresses: &[&str]) -> usize {
        let mut pod = world(&[]).pods.swap_remove(1);
        pod.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.index.pod(&("x".to_owned(), "b".to_owned()), Some((Arc::new(pod), true)));
        self.step()
    }

    fn step(&mut self) -> usize {
        let changed = self.index.update();
        self.policies.step(self.index.tables(), &self.devices, &changed).unwrap()
    }

    /// Another agent takes over.
    pub fn restart(&mut self) {
        self.policies = Policies::install(&self.rig.options).unwrap();
    }

    /// Pinned links of policies and their kernel ids.
    pub fn links(&self) -> BTreeMap<String, u32> {
        let dir = self.rig.pin_dir().join(format!("v{}/links", xebec_abi::LAYOUT_VERSION));
        let pins = std::fs::read_dir(dir).unwrap().map(|pin| pin.unwrap().path());
        pins.map(|pin| {
            let link = aya::programs::links::PinnedLink::from_pin(&pin).unwrap();
            let id = aya::programs::links::FdLink::from(link).info().unwrap().id();
            (pin.file_name().unwrap().to_string_lossy().into_owned(), id)
        })
        .collect()
    }
}
