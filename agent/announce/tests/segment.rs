//! Two nodes and a client on one network, in namespaces without a default route: who asks for a load balancer's address is
//! answered by its owner, reaches an endpoint there through the dataplane, and the other node once the owner is silent.
//! Needs root and the built object; says why when it cannot run.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use serde_json::json;
use xebec_announce::election::{CONDITION, Cluster};
use xebec_announce::lease::{self, Leases};
use xebec_announce::link::Links;
use xebec_rig::objects::{Agent, service, slice};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, Rig, enter, run};

const VIPS: [&str; 2] = ["10.77.0.200", "fd77::200"];

/// Runs in a namespace.
fn within<T: Send>(path: &std::path::Path, work: impl FnOnce() -> T + Send) -> T {
    let entered = || {
        enter(path);
        work()
    };
    std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
}

/// A node's own view, by a clock that the test moves, and its answers at the wire.
struct Node {
    name: &'static str,
    rig: Rig,
    _agent: Agent,
    _servers: [Server; 2],
    cluster: Cluster,
    leases: Leases,
    say: Option<Sender<BTreeSet<IpAddr>>>,
    done: Receiver<()>,
    answering: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.say = None;
        self.answering.take().unwrap().join().unwrap();
    }
}

fn balancer() -> Service {
    let ports = json!([{"name": "tcp", "port": 80, "protocol": "TCP"}]);
    let mut service = service("lb", &["10.196.7.7", "fd96::7"], ports, json!({"type": "LoadBalancer"}));
    let condition = json!({"type": CONDITION, "status": "True", "reason": "IPAllocated", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let ingress: Vec<_> = VIPS.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
    let status = json!({"loadBalancer": {"ingress": ingress}, "conditions": [condition]});
    service.status = serde_json::from_value(status).unwrap();
    service
}

/// An endpoint of each family, which every node has: the answer tells which node was asked.
fn slices(node: &str) -> Vec<EndpointSlice> {
    let at = |address: &str| slice("lb", 8080, "TCP", &[&format!("{address}@{node}")]);
    vec![at("10.199.1.1"), at("fd99:1::1")]
}

fn lease(node: &str, second: u64) -> Lease {
    serde_json::from_value(json!({"metadata": {"name": lease::name(node), "namespace": lease::NAMESPACE}, "spec": {
        "holderIdentity": node, "leaseDurationSeconds": 10, "renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")}}))
    .unwrap()
}

impl Node {
    fn new(name: &'static str, mut rig: Rig) -> Self {
        let netns = rig.server_ns.path();
        rig.options.node_name = name.to_owned();
        rig.options.devices = Some(vec!["seg".to_owned()]);
        let servers = ["10.199.1.1:8080", "[fd99:1::1]:8080"].map(|at| Server::tcp(&rig.server_ns, at, name));
        let options = &rig.options;
        let agent = within(&netns, || {
            let mut agent = Agent::new(options);
            let found = xebec_dataplane::addresses::outside_devices().unwrap();
            agent.applier.maps().tracked().set_devices(&found).unwrap();
            agent.devices.refresh(found).unwrap();
            agent.sync(vec![balancer()], slices(name));
            agent
        });
        let mut cluster = Cluster::default();
        cluster.service(Event::Init);
        cluster.service(Event::InitApply(balancer()));
        cluster.service(Event::InitDone);
        cluster.slice(Event::Init);
        cluster.slice(Event::InitDone);
        cluster.node(Event::Init);
        cluster.node(Event::InitDone);
        let mut leases = Leases::default();
        leases.listing();
        leases.listed();
        let (say, said) = channel::<BTreeSet<IpAddr>>();
        let (done, is_done) = channel();
        let answering = std::thread::spawn(move || {
            enter(&netns);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut links = Links::new(Some(vec!["seg".to_owned()]));
                loop {
                    match said.try_recv() {
                        Ok(addresses) => {
                            let now = Instant::now();
                            let until = (!addresses.is_empty()).then(|| now + Duration::from_secs(600));
                            links.set(addresses, until, now);
                            links.announce(now);
                            done.send(()).unwrap();
                        }
                        Err(std::sync::mpsc::TryRecvError::Empty) => {}
                        Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
        let (say, answering) = (Some(say), Some(answering));
        Self { name, rig, _agent: agent, _servers: servers, cluster, leases, say, done: is_done, answering }
    }

    /// Decides and does it; returns what it answers for.
    fn decide(&mut self, now: Instant) -> BTreeSet<IpAddr> {
        let fresh = self.leases.fresh(self.name, now);
        let owned = self.cluster.owned(self.name, &fresh);
        // As `run` does it: without an own Lease there is silence.
        let owned: BTreeSet<IpAddr> =
            if self.leases.valid(now).is_some() { owned.into_keys().collect() } else { BTreeSet::new() };
        self.say.as_ref().unwrap().send(owned.clone()).unwrap();
        self.done.recv().unwrap();
        owned
    }
}

/// A switch between three namespaces.
fn wire(switch: &NetNs, ends: &[(&NetNs, &str)]) {
    let s = &switch.name;
    run(&format!("ip -n {s} link add sw0 type bridge"));
    run(&format!("ip -n {s} link set sw0 up"));
    for (index, (ns, host)) in ends.iter().enumerate() {
        let ns = &ns.name;
        run(&format!("ip -n {s} link add p{index} type veth peer name seg netns {ns}"));
        run(&format!("ip -n {s} link set p{index} master sw0 up"));
        run(&format!("ip -n {ns} addr add 10.77.0.{host}/24 dev seg"));
        run(&format!("ip -n {ns} addr add fd77::{host}/64 dev seg nodad"));
        run(&format!("ip -n {ns} link set seg up"));
    }
}

fn ask(client: &NetNs, to: &str) -> String {
    let to = std::net::SocketAddr::new(to.parse().unwrap(), 80);
    within(&client.path(), || {
        let say = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(4))?;
            stream.set_read_timeout(Some(Duration::from_secs(4)))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        say().unwrap_or_else(|error| format!("{:?}", error.kind()))
    })
}

fn ip(ns: &NetNs, arguments: &str) -> String {
    let words = arguments.split(' ');
    let output = Command::new("ip").args(["-n", &ns.name]).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The link address of a node's device.
fn mac(ns: &NetNs) -> String {
    ip(ns, "-br link show seg").split_whitespace().nth(2).unwrap().to_owned()
}

/// What the client has learnt of an address.
fn learnt(client: &NetNs, address: &str) -> String {
    let text = ip(client, &format!("neigh show {address}"));
    let mut words = text.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

#[test]
fn the_owner_answers_and_another_takes_over() {
    let (Some(one), Some(two), Some(third)) = (Rig::new(), Rig::new(), Rig::new()) else { return };
    let switch = NetNs::new(format!("{}w", one.server_ns.name));
    let client = &third.client_ns;
    wire(&switch, &[(client, "1"), (&one.server_ns, "2"), (&two.server_ns, "3")]);
    let mut nodes = [Node::new("one", one), Node::new("two", two)];
    // Nobody announces yet, so nobody answers.
    for vip in VIPS {
        assert!(ask(client, vip).contains("Unreachable") || learnt(client, vip).is_empty(), "{vip}");
    }
    let start = Instant::now();
    for node in &mut nodes {
        node.leases.renewed(start);
        node.leases.observe(&lease("one", 1), start);
        node.leases.observe(&lease("two", 1), start);
    }
    let owned: Vec<BTreeSet<IpAddr>> = nodes.iter_mut().map(|node| node.decide(start)).collect();
    assert!(owned[0].is_disjoint(&owned[1]), "{owned:?}");
    assert_eq!(owned[0].len() + owned[1].len(), VIPS.len());
    let mut owners = Vec::new();
    for vip in VIPS {
        run(&format!("ip -n {} neigh flush all", client.name));
        let owner = usize::from(owned[1].contains(&vip.parse().unwrap()));
        assert_eq!(ask(client, vip), nodes[owner].name, "{vip}");
        assert_eq!(learnt(client, vip), mac(&nodes[owner].rig.server_ns), "{vip}");
        owners.push(owner);
    }
    // The client asks again of the very node it knows, as kernels do before they forget.
    for (vip, owner) in VIPS.iter().zip(&owners) {
        let known = mac(&nodes[*owner].rig.server_ns);
        run(&format!("ip -n {} neigh replace {vip} lladdr {known} dev seg nud probe", client.name));
        let until = Instant::now() + Duration::from_secs(10);
        while !ip(client, &format!("neigh show {vip}")).contains("REACHABLE") {
            assert!(Instant::now() < until, "{vip} is never confirmed: {}", ip(client, "neigh show"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // The owner of the first address renews its Lease no more.
    let (silent, other) = (owners[0], 1 - owners[0]);
    let half = start + Duration::from_secs(5);
    nodes[other].leases.renewed(half);
    for node in &mut nodes {
        let name = ["one", "two"][other];
        node.leases.observe(&lease(name, 5), half);
    }
    let end = start + lease::DURATION;
    assert!(nodes[silent].decide(end).is_empty(), "it has stopped");
    assert_eq!(nodes[other].decide(end).len(), VIPS.len(), "and the other answers for all");
    // What the client had learnt is corrected by the announcement, without a question.
    let taken = mac(&nodes[other].rig.server_ns);
    for vip in VIPS {
        let until = Instant::now() + Duration::from_secs(10);
        while learnt(client, vip) != taken {
            assert!(Instant::now() < until, "{vip}: {}", ip(client, "neigh show"));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(ask(client, vip), nodes[other].name, "{vip}");
    }
    // And by a question.
    for vip in VIPS {
        run(&format!("ip -n {} neigh flush all", client.name));
        assert_eq!(ask(client, vip), nodes[other].name, "{vip}");
    }
    // Nobody has the addresses: they are the dataplane's alone.
    for node in &nodes {
        let text = ip(&node.rig.server_ns, "addr show");
        assert!(VIPS.iter().all(|vip| !text.contains(vip)), "{text}");
    }
}

#[test]
fn nobody_is_told_by_the_pods_tunnel() {
    let Some(rig) = Rig::new() else { return };
    let (node, peer) = (&rig.server_ns.name, &rig.client_ns.name);
    for ns in [node, peer] {
        // Else the kernels themselves talk there.
        run(&format!("ip netns exec {ns} sysctl -qw net.ipv6.conf.default.disable_ipv6=1"));
    }
    for (device, address) in [("xebec-pods", "10.244.1.0/32"), ("seg", "10.77.0.2/24")] {
        run(&format!("ip -n {node} link add {device} type veth peer name {device} netns {peer}"));
        run(&format!("ip -n {node} addr add {address} dev {device}"));
        run(&format!("ip -n {node} link set {device} up"));
        run(&format!("ip -n {peer} link set {device} up"));
    }
    within(&rig.server_ns.path(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut links, now) = (Links::new(None), Instant::now());
            links.set([VIPS[0].parse().unwrap()].into(), Some(now + Duration::from_secs(600)), now);
            links.announce(Instant::now());
        });
    });
    let heard = |device: &str| {
        let text = ip(&rig.client_ns, &format!("-s -j link show {device}"));
        let links: serde_json::Value = serde_json::from_str(&text).unwrap();
        links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    };
    assert!(heard("seg") > 0);
    assert_eq!(heard("xebec-pods"), 0);
}
