//! Pods that are served packet by packet: what calls no socket of this kernel, and what is to see VIPs as they are.

mod policies;
mod table;

use serde_json::{Value, json};
use xebec_rig::ask::{REFUSED, ask_tcp, ask_udp, ping};
use xebec_rig::cluster::{Cluster, Node};
use xebec_rig::netns::checksum_errors;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, within};

use crate::pitfalls::calls::sidecar;

/// To an endpoint of this node, of the other, to the caller itself, and to none; of both families.
const NEAR: [&str; 2] = ["10.196.77.1", "fd96::1"];
const FAR: [&str; 2] = ["10.196.77.2", "fd96::2"];
const SELF: [&str; 2] = ["10.196.77.3", "fd96::3"];
const NONE: [&str; 2] = ["10.196.77.4", "fd96::4"];
/// The guest's own addresses.
const GUEST: [&str; 2] = ["10.244.1.1", "fd44:1::1"];

pub(crate) fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn servers(pod: &NetNs, name: &str, addresses: [&str; 2]) -> Vec<Server> {
    let both = |address: &str| {
        let address = at(address, 8080);
        [Server::seeing_tcp(pod, &address, name), Server::seeing_udp(pod, &address, name)]
    };
    addresses.into_iter().flat_map(both).collect()
}

/// The node's agent with all four Services.
fn agent(node: &Node) -> Agent {
    let mut agent = node.agent();
    let dual = json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"});
    let names = [("near", NEAR), ("far", FAR), ("self", SELF), ("none", NONE)];
    let services = names.map(|(name, vips)| service(name, &vips, tcp_udp(80), dual.clone()));
    let endpoints = [
        ("near", ["10.244.1.2@node-1", "fd44:1::2@node-1"]),
        ("far", ["10.244.2.1@node-2", "fd44:2::1@node-2"]),
        ("self", ["10.244.1.1@node-1", "fd44:1::1@node-1"]),
    ];
    let slices = endpoints.into_iter().flat_map(|(name, addresses)| {
        addresses
            .into_iter()
            .flat_map(move |address| ["TCP", "UDP"].map(|protocol| slice(name, 8080, protocol, &[address])))
    });
    agent.sync(services.into(), slices.collect());
    agent
}

/// The first pod of a node, which has routes to VIPs, too.
fn guest(node: &Node) -> NetNs {
    let pod = node.pod(1);
    pod.ip("route add 10.196.0.0/16 via 169.254.1.1 dev eth0 onlink");
    pod.ip("route add fd96::/64 via fe80::1 dev eth0");
    pod
}

fn serve(agent: &mut Agent, node: &Node, pod: &NetNs) {
    within(&node.netns, || agent.serve_packets(node.netns.device("pod1").0, pod));
}

/// What a caller outside every socket's hooks hears at each VIP.
fn check(guest: &NetNs) {
    for family in [0, 1] {
        for (vips, name) in [(NEAR, "A"), (FAR, "B")] {
            let to = at(vips[family], 80);
            for _ in 0..5 {
                // Endpoints see the pod's own address, on whichever node they are.
                assert_eq!(ask_tcp(guest, &to), format!("{name} {}", GUEST[family]), "{to}");
                assert_eq!(ask_udp(guest, &to, 10), format!("{name} {} 10", GUEST[family]), "{to}");
            }
            assert_eq!(
                ask_udp(guest, &to, 4000),
                format!("{name} {} 4000", GUEST[family]),
                "{to}, in fragments"
            );
            assert_eq!(ask_tcp(guest, &at(vips[family], 81)), REFUSED, "no such port");
            let pong = if family == 0 { "type 0" } else { "type 129" };
            assert_eq!(ping(guest, vips[family]), format!("{pong} from {}", vips[family]));
        }
        let to = at(NONE[family], 80);
        assert_eq!((ask_tcp(guest, &to), ask_udp(guest, &to, 10)), (REFUSED.to_owned(), REFUSED.to_owned()));
    }
}

#[test]
fn a_guest_without_sockets_of_this_kernel_reaches_services() {
    let Some(cluster) = Cluster::new(2, 0, 1500) else { return };
    let [one, two] = &cluster.nodes[..] else { panic!("two nodes") };
    let (guest, near, far) = (guest(one), one.pod(2), two.pod(1));
    let _servers = [
        servers(&guest, "G", GUEST),
        servers(&near, "A", ["10.244.1.2", "fd44:1::2"]),
        servers(&far, "B", ["10.244.2.1", "fd44:2::1"]),
    ];
    let mut agent = agent(one);
    assert_ne!(ask_tcp(&guest, &at(NEAR[0], 80)), "A 10.244.1.1", "nobody serves its packets yet");
    serve(&mut agent, one, &guest);
    check(&guest);
    // An agent that comes back goes on with it, and the programs did meanwhile.
    drop(agent);
    check(&guest);
    let mut agent = self::agent(one);
    check(&guest);
    // Itself it sees as the node, as else it would answer itself. Last: of what a kernel says of errors to a host it counts, for a
    // second, that it would rather have such packets sent there directly.
    for (vip, node) in SELF.iter().zip(["10.19", "fd9"]) {
        let answer = ask_tcp(&guest, &at(vip, 80));
        assert!(answer.starts_with(&format!("G {node}")), "{answer}");
    }
    assert_eq!([&guest, &near, &far].map(checksum_errors), [0; 3]);
    // With its device all that was for it goes.
    one.netns.ip("link del pod1");
    within(&one.netns, || agent.refresh());
    assert!(agent.applier.maps().packet_pods().unwrap().is_empty());
    let links = one.place().pins().join("links");
    let left = std::fs::read_dir(links)
        .unwrap()
        .filter(|pin| pin.as_ref().unwrap().file_name().to_string_lossy().starts_with("pod_"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_sidecar_sees_the_virtual_ip() {
    let Some(cluster) = Cluster::new(2, 0, 1500) else { return };
    let node = &cluster.nodes[0];
    let (meshed, near) = (guest(node), node.pod(2));
    let plain = node.pod(3);
    let _servers = servers(&near, "A", ["10.244.1.2", "fd44:1::2"]);
    let mut agent = agent(node);
    agent.set_cidrs(&[&["10.196.0.0/16"]]);
    let mut client = node.client(&meshed);
    let mut other = node.client(&plain);
    serve(&mut agent, node, &meshed);
    // Its own sockets are left alone, and so name the VIP; nobody else's are.
    for (client, address) in [(&mut client, "10.244.1.1"), (&mut other, "10.244.1.3")] {
        assert_eq!(client.ask("tcp 10.196.77.1:80"), format!("A {address} 10.196.77.1:80"));
        let answer = client.ask("udp 10.196.77.1:80");
        assert!(
            answer.starts_with(&format!("A {address} ")) && answer.ends_with(" 10.196.77.1:80"),
            "{answer}"
        );
        assert_eq!(client.ask("tcp 10.196.77.4:80"), REFUSED);
        assert_eq!(client.ask("tcp 10.196.77.1:81"), REFUSED);
    }
    let _sidecar = sidecar(&meshed);
    assert_eq!(client.ask("tcp 10.196.77.1:80"), "SIDECAR-10.196.77.1:80 10.196.77.1:80");
}

/// A pod of the policies' namespace.
fn pod(name: &str, app: &str, addresses: [&str; 2]) -> Value {
    json!({
        "metadata": {"namespace": "x", "name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"podIPs": addresses.map(|ip| json!({"ip": ip}))},
    })
}
