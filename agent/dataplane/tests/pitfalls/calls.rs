//! Calls that few programs make.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::net::{AddressFamily, SocketType, bind, ipproto, listen, socket, sockopt};
use serde_json::json;
use xebec_rig::client::Client;
use xebec_rig::cluster::Cluster;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::{Server, accept};
use xebec_rig::{NetNs, Rig, within};

use super::VIP;
use crate::packet::{node_port, ports};

/// A server that a multipath connection stays one with, and which says whether it did.
fn multipath(netns: &NetNs, address: &str) -> Server {
    let address: SocketAddr = address.parse().unwrap();
    Server::start(netns, address, move |_, stop, ready| {
        let fd = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)).unwrap();
        sockopt::set_socket_reuseaddr(fd.as_fd(), true).unwrap();
        bind(fd.as_fd(), &address).unwrap();
        listen(fd.as_fd(), 16).unwrap();
        let listener = TcpListener::from(fd);
        listener.set_nonblocking(true).unwrap();
        ready();
        accept(&listener, &stop, |mut stream, peer| {
            let _ = stream.write_all(format!("M-{}", peer.ip()).as_bytes());
        });
    })
}

/// A server that reads a question before it answers.
pub fn asked(netns: &NetNs, address: &str) -> Server {
    let address: SocketAddr = address.parse().unwrap();
    Server::start(netns, address, move |served, stop, ready| {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        ready();
        accept(&listener, &stop, |mut stream, _| {
            if stream.read_exact(&mut [0]).is_ok() && stream.write_all(b"F").is_ok() {
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    })
}

/// A counter of `/proc/net/netstat`.
pub fn netstat(netns: &NetNs, name: &str) -> u64 {
    within(netns, || {
        let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        let pairs = lines.chunks(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
        let mut values = pairs.filter(|(found, _)| **found == name).map(|(_, n)| n.parse::<u64>().unwrap());
        values.next().unwrap_or_else(|| panic!("no {name}"))
    })
}

#[test]
fn multipath_tcp_at_both_ends() {
    let Some(rig) = Rig::new() else { return };
    let _server = multipath(&rig.server_ns, "10.199.1.1:8080");
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    agent.sync(
        vec![service("a", &[VIP], tcp_udp(80), json!({}))],
        vec![slice("a", 8080, "TCP", &["10.199.1.1"])],
    );
    for _ in 0..10 {
        // The hook saw a path of the connection, and the program asks its own socket.
        assert_eq!(client.ask(&format!("mptcp {VIP}:80")), format!("M-10.199.0.1 {VIP}:80"));
    }
    assert!(netstat(&rig.server_ns, "MPCapableACKRX") >= 10, "both ends speak it");
}

#[test]
fn fast_open_to_a_vip_and_to_a_node_port() {
    let Some(cluster) = Cluster::new(1, 1, 1500) else { return };
    let node = &cluster.nodes[0];
    let (server, caller, outside) = (node.pod(1), node.pod(2), &cluster.outside[0]);
    for netns in [&server, &caller, outside] {
        // Questions in the SYN both ways, for every listener, without a cookie asked for before.
        netns.sysctl("net/ipv4/tcp_fastopen", "1543");
    }
    let served = asked(&server, "10.244.1.1:8080");
    let mut agent = node.agent();
    agent.sync(
        vec![service("a", &[VIP], ports(), node_port(json!({})))],
        vec![slice("a", 8080, "TCP", &["10.244.1.1@node-1"])],
    );
    let mut inside = node.client(&caller);
    assert_eq!(inside.ask(&format!("fastopen {VIP}:80")), format!("F {VIP}:80"));
    assert_eq!(netstat(&server, "TCPFastOpenPassive"), 1, "the question was in the SYN");
    // No process of the node's cgroup: its packets meet the node's device.
    let beside = xebec_rig::Place::new(&format!("{}x", outside.name), "none", xebec_rig::object().unwrap());
    let mut client = Client::of(&beside, outside);
    for to in ["10.199.0.101:30080", "10.196.77.1:80"] {
        assert_eq!(client.ask(&format!("fastopen {to}")), format!("F {to}"));
    }
    assert_eq!(netstat(&server, "TCPFastOpenPassive"), 3);
    assert_eq!(served.served(), 3);
    drop(client);
}

/// All of a pod's connections go to a port of its own, as a service mesh makes them; what answers there says where they were to go.
pub fn sidecar(pod: &NetNs) -> Server {
    pod.feed(
        "iptables-restore",
        "*nat\n-A OUTPUT -p tcp ! -d 127.0.0.0/8 -j REDIRECT --to-ports 15001\nCOMMIT\n",
    );
    let address: SocketAddr = "127.0.0.1:15001".parse().unwrap();
    Server::start(pod, address, move |_, stop, ready| {
        let listener = TcpListener::bind("0.0.0.0:15001").unwrap();
        listener.set_nonblocking(true).unwrap();
        ready();
        accept(&listener, &stop, |mut stream, _| {
            let original = sockopt::ip_original_dst(stream.as_fd()).unwrap();
            let _ = stream.write_all(format!("SIDECAR-{original}").as_bytes());
        });
    })
}

#[test]
fn a_proxy_beside_the_pod_sees_the_endpoint() {
    let Some(rig) = Rig::new() else { return };
    let server = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    agent.sync(
        vec![service("a", &[VIP], tcp_udp(80), json!({}))],
        vec![slice("a", 8080, "TCP", &["10.199.1.1"])],
    );
    let _sidecar = sidecar(&rig.client_ns);
    // The address was chosen in the socket call, before netfilter: the sidecar learns the endpoint, the program its VIP.
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("SIDECAR-10.199.1.1:8080 {VIP}:80"));
    assert_eq!(client.ask("tcp 10.199.1.1:8080"), "SIDECAR-10.199.1.1:8080 10.199.1.1:8080");
    assert_eq!(server.served(), 0);
}

#[test]
fn a_client_bound_to_a_node_ports_number() {
    let Some(cluster) = Cluster::new(1, 1, 1500) else { return };
    let node = &cluster.nodes[0];
    let (pod, outside) = (node.pod(1), &cluster.outside[0]);
    let _server = Server::seeing_tcp(&pod, "10.244.1.1:8080", "POD");
    let _machine = Server::seeing_tcp(outside, "10.199.0.1:7000", "OUT");
    let mut agent = node.agent();
    agent.sync(
        vec![service("a", &[VIP], ports(), node_port(json!({})))],
        vec![slice("a", 8080, "TCP", &["10.244.1.1@node-1"])],
    );
    outside.ip("route add 10.244.1.0/24 via 10.199.0.101");
    // A pod and the node itself use the number for calls of their own, and a machine outside calls the Service from it.
    let mut own = node.client(&node.netns);
    assert_eq!(own.ask("from 10.199.0.101:30080 10.199.0.1:7000"), "OUT 10.199.0.101 10.199.0.1:7000");
    let mut client = node.client(&pod);
    assert_eq!(client.ask("from 10.244.1.1:30080 10.199.0.1:7000"), "OUT 10.244.1.1 10.199.0.1:7000");
    let beside = xebec_rig::Place::new(&format!("{}x", outside.name), "none", xebec_rig::object().unwrap());
    let mut machine = Client::of(&beside, outside);
    assert_eq!(machine.ask("from 10.199.0.1:30080 10.199.0.101:30080"), "POD 10.199.0.1 10.199.0.101:30080");
    drop(machine);
}
