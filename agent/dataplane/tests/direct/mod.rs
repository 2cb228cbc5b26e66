//! Direct server return: a machine outside asks one node, an endpoint of another node answers it, by itself. What a server saw
//! is read from its answer; that answers take the other way, from the counters of the node that was asked.

mod table;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use kube::runtime::watcher::Event;
use rustix::net::{AddressFamily, SocketType, ipproto};
use serde_json::{Value, json};
use xebec_abi::flow::PacketStat;
use xebec_rig::ask::{REFUSED, SILENCE, ask_tcp, ask_udp, exchange, udp_socket};
use xebec_rig::client::Client;
use xebec_rig::cluster::Cluster;
use xebec_rig::netns::checksum_errors;
use xebec_rig::objects::{Agent, service, slice};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, within};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::nodes::{echoing, returned, returning};
use crate::packet::frame::{sum, udp_ip};
use crate::packet::{node_port, path_mtu, ports, unfragmented};
use crate::pitfalls::calls::{asked, netstat};

const VIP: &str = "10.196.77.1";
const EXTERNAL: &str = "10.196.88.8";
const FIRST: &str = "10.199.0.101:30080";

/// A Service with direct server return, by node port and by addresses of its own, and its endpoints.
fn objects(extra: Value, v4: &[&str], v6: &[&str]) -> (Vec<Service>, Vec<EndpointSlice>) {
    let mut spec = json!({"externalIPs": [EXTERNAL, "fd96::88"]});
    spec.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap());
    let mut service = service("a", &[VIP, "fd96::77"], ports(), node_port(spec));
    let annotation = ("network.xebec.dev/forwarding-mode".to_owned(), "dsr".to_owned());
    service.metadata.annotations = Some([annotation].into());
    (vec![service], slices(v4, v6))
}

fn slices(v4: &[&str], v6: &[&str]) -> Vec<EndpointSlice> {
    let lists = [v4, v6].into_iter().filter(|endpoints| !endpoints.is_empty());
    lists.flat_map(|e| [slice("a", 8080, "TCP", e), slice("a", 8080, "UDP", e)]).collect()
}

/// How the nodes know each other.
#[derive(Clone, Copy)]
enum Between {
    V4,
    V6,
}

/// Nodes that follow these objects, and know each other.
fn agents(cluster: &Cluster, between: Between, objects: &(Vec<Service>, Vec<EndpointSlice>)) -> Vec<Agent> {
    let address = |n: u32| match between {
        Between::V4 => format!("10.198.0.10{n}"),
        Between::V6 => format!("fd98::10{n}"),
    };
    let known: Vec<(String, String)> =
        cluster.nodes.iter().map(|node| (node.name().to_owned(), address(node.number))).collect();
    let known: Vec<(&str, [&str; 1])> = known.iter().map(|(name, a)| (name.as_str(), [a.as_str()])).collect();
    let known: Vec<(&str, &[&str])> = known.iter().map(|(name, a)| (*name, a.as_slice())).collect();
    let agent = |node: &xebec_rig::cluster::Node| {
        let mut agent = node.agent();
        agent.list(objects.0.clone(), objects.1.clone());
        within(&node.netns, || {
            agent.follow_nodes(&node.place().options, &known, &[&address(node.number)]);
        });
        agent.apply();
        agent
    };
    cluster.nodes.iter().map(agent).collect()
}

/// A pod's servers, which say `name` and whom they see.
fn servers(pod: &NetNs, name: &str, v4: &str, v6: &str) -> Vec<Server> {
    let addresses = [format!("{v4}:8080"), format!("[{v6}]:8080")];
    let both = |a: &String| [Server::seeing_tcp(pod, a, name), Server::seeing_udp(pod, a, name)];
    addresses.iter().flat_map(both).collect()
}

fn count(agent: &mut Agent, stat: PacketStat) -> u64 {
    agent.applier.maps().tracked().counters().unwrap()[stat as usize]
}

#[test]
fn the_endpoint_sees_the_client_and_answers_it_by_itself() {
    for between in [Between::V4, Between::V6] {
        let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
        let pod = cluster.nodes[1].pod(1);
        let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
        let objects = objects(json!({}), &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]);
        let mut agents = agents(&cluster, between, &objects);
        let outside = &cluster.outside[0];
        for (to, seen) in [
            (FIRST, "10.199.0.1"),
            ("10.196.88.8:80", "10.199.0.1"),
            ("[fd99::101]:30080", "fd99::1"),
            ("[fd96::88]:80", "fd99::1"),
        ] {
            for _ in 0..5 {
                assert_eq!(ask_tcp(outside, to), format!("B {seen}"), "tcp {to}");
                assert_eq!(ask_udp(outside, to, 10), format!("B {seen} 10"), "udp {to}");
            }
            // Between nodes that are known by IPv6 a packet is not cut once more.
            if matches!(between, Between::V4) {
                assert_eq!(ask_udp(outside, to, 4000), format!("B {seen} 4000"), "udp {to}, in fragments");
            }
        }
        // Nothing came back through the first node: it translated nothing.
        assert_eq!(count(&mut agents[0], PacketStat::Translated), 0);
        assert!(count(&mut agents[0], PacketStat::Direct) > 40);
        assert!(count(&mut agents[1], PacketStat::Established) >= 40);
        assert_eq!(count(&mut agents[1], PacketStat::Misdirected), 0);
        // A ClusterIP is not exposed: whoever reaches it from outside gets the node's address, as ever.
        assert_eq!(ask_tcp(outside, "10.196.77.1:80"), "B 10.198.0.101");
        let all = [outside, &pod, &cluster.nodes[0].netns, &cluster.nodes[1].netns];
        assert_eq!(all.into_iter().map(checksum_errors).sum::<u64>(), 0);
    }
}

/// Counters of `/proc/net/snmp`, such as `Ip FragCreates`.
fn snmp(netns: &NetNs, group: &str, name: &str) -> u64 {
    within(netns, || {
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .filter(|l| l.starts_with(&format!("{group}: ")))
            .map(|l| l.split(' ').collect())
            .collect();
        let at = lines[0].iter().position(|found| *found == name).unwrap();
        lines[1][at].parse().unwrap()
    })
}

/// What `ip` shows within a namespace.
fn shown(netns: &NetNs, words: &str) -> String {
    let output = Command::new("ip").args(["-n", &netns.name]).args(words.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn clients_send_no_more_than_fits_between_the_nodes() {
    // The network between the nodes is as wide as the client's, or narrower.
    for (between, mtu) in [(Between::V4, 1500), (Between::V6, 1500), (Between::V4, 1400)] {
        let Some(cluster) = Cluster::new(2, 1, mtu) else { return };
        let pod = cluster.nodes[1].pod(1);
        let _servers = [returning(&pod, "10.244.2.1:8080"), returning(&pod, "[fd44:2::1]:8080")];
        let objects = objects(json!({}), &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]);
        let mut agents = agents(&cluster, between, &objects);
        for to in ["10.196.88.8:80", "[fd96::88]:80", FIRST] {
            assert!(returned(&cluster.outside[0], to), "{to}");
        }
        assert_eq!(snmp(&cluster.nodes[0].netns, "Ip", "FragCreates"), 0, "nothing had to be cut");
        assert_eq!(count(&mut agents[0], PacketStat::Oversize), 0);
        assert_eq!(checksum_errors(&cluster.outside[0]), 0, "the clamped answer's sum is right");
    }
}

#[test]
fn what_may_not_be_cut_is_told_its_size() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    let objects = objects(json!({}), &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]);
    let mut agents = agents(&cluster, Between::V6, &objects);
    let outside = &cluster.outside[0];
    for (to, seen, largest) in
        [("10.196.88.8:80", "10.199.0.1", 1430 - 28), ("[fd96::88]:80", "fd99::1", 1430 - 48)]
    {
        within(outside, || {
            let socket = unfragmented(to);
            assert_eq!(exchange(&socket, 100), format!("B {seen} 100"));
            assert_eq!(path_mtu(&socket, to.starts_with('['), 1450), 1430, "{to}");
            // What was said is right; the old socket has an error to tell yet.
            assert_eq!(exchange(&unfragmented(to), largest), format!("B {seen} {largest}"), "{to}");
        });
    }
    assert!(count(&mut agents[0], PacketStat::Oversize) >= 2);
    assert_eq!(checksum_errors(outside), 0);
}

#[test]
fn errors_find_the_endpoint_and_the_client() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    // Nobody listens: the endpoint's own error goes to the client, in the name of what it asked.
    let objects = objects(json!({}), &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]);
    let mut agents = agents(&cluster, Between::V4, &objects);
    let outside = &cluster.outside[0];
    for to in ["10.196.88.8:80", "[fd96::88]:80", FIRST] {
        assert_eq!(ask_udp(outside, to, 10), REFUSED, "udp {to}");
        assert_eq!(ask_tcp(outside, to), REFUSED, "tcp {to}");
    }
    assert!(count(&mut agents[1], PacketStat::Errors) >= 3);
    // An error about an answer goes to whom the answer names as its sender, which is the first node.
    let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    within(outside, || {
        let socket = udp_socket("10.196.88.8:80").unwrap();
        assert_eq!(exchange(&socket, 10), "B 10.199.0.1 10");
        let port = socket.local_addr().unwrap().port();
        let answer = udp_ip("10.196.88.8:80", &format!("10.199.0.1:{port}"), Some(6));
        let mut error = vec![3, 4, 0, 0, 0, 0, 0x04, 0xb0];
        error.extend(&answer[..28]);
        let sum = sum(&[&error]);
        error[2..4].copy_from_slice(&sum.to_be_bytes());
        let raw = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
        UdpSocket::from(raw).send_to(&error, "10.196.88.8:0").unwrap();
    });
    // 1200 bytes, as the error says: the endpoint's kernel knows it.
    let known = || shown(&pod, "route get 10.199.0.1").contains("mtu 1200");
    let end = Instant::now() + Duration::from_secs(5);
    while !known() {
        assert!(Instant::now() < end, "the error did not reach the endpoint");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_question_in_the_syn() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let (pod, outside) = (cluster.nodes[1].pod(1), &cluster.outside[0]);
    for netns in [&pod, outside] {
        netns.sysctl("net/ipv4/tcp_fastopen", "1543");
    }
    let served = asked(&pod, "10.244.2.1:8080");
    let _agents = agents(&cluster, Between::V4, &objects(json!({}), &["10.244.2.1@node-2"], &[]));
    let beside = xebec_rig::Place::new(&format!("{}x", outside.name), "none", xebec_rig::object().unwrap());
    let mut client = Client::of(&beside, outside);
    for to in ["10.196.88.8:80", FIRST] {
        assert_eq!(client.ask(&format!("fastopen {to}")), format!("F {to}"));
    }
    assert_eq!(netstat(&pod, "TCPFastOpenPassive"), 2);
    assert_eq!(served.served(), 2);
}

#[test]
fn a_connection_goes_on_when_another_node_is_asked() {
    let Some(cluster) = Cluster::new(4, 1, 1500) else { return };
    let pods = [cluster.nodes[1].pod(1), cluster.nodes[2].pod(1)];
    let _servers = [echoing(&pods[0], "10.244.2.1:8080"), echoing(&pods[1], "10.244.3.1:8080")];
    let objects = objects(json!({}), &["10.244.2.1@node-2", "10.244.3.1@node-3"], &[]);
    let mut agents = agents(&cluster, Between::V4, &objects);
    let outside = &cluster.outside[0];
    let path = outside.path();
    let (talked, moved) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        let talk = scope.spawn(|| {
            xebec_rig::enter(&path);
            let say = |stream: &mut TcpStream| {
                let mut answer = [0; 4];
                stream.write_all(b"ping").unwrap();
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"ping");
            };
            let connect = |_| {
                let stream = TcpStream::connect("10.196.88.8:80").unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                stream
            };
            let mut streams: Vec<TcpStream> = (0..16).map(connect).collect();
            streams.iter_mut().for_each(say);
            talked.wait();
            moved.wait();
            streams.iter_mut().for_each(say);
        });
        talked.wait();
        // The fourth node has never heard of these connections, and finds the nodes where they are.
        outside.ip("route replace 10.196.0.0/16 via 10.199.0.104");
        moved.wait();
        talk.join().unwrap();
    });
    assert!(count(&mut agents[3], PacketStat::Direct) >= 16);
    for node in [1, 2] {
        assert!(count(&mut agents[node], PacketStat::Established) > 0, "both have some of them");
    }
}

#[test]
fn a_node_without_endpoints_finds_others_and_never_sends_on() {
    let Some(cluster) = Cluster::new(3, 1, 1500) else { return };
    let pod = cluster.nodes[2].pod(1);
    let _servers = servers(&pod, "C", "10.244.3.1", "fd44:3::1");
    let objects = objects(json!({}), &["10.244.2.1@node-2"], &[]);
    let mut agents = agents(&cluster, Between::V4, &objects);
    // The endpoint has moved, and only the second node knows already.
    for slice in slices(&["10.244.3.1@node-3"], &[]) {
        agents[1].set_slice(slice);
    }
    let outside = &cluster.outside[0];
    for to in ["10.196.88.8:80", FIRST] {
        assert_eq!(ask_tcp(outside, to), "C 10.198.0.102", "{to}: the third sees the second");
        assert_eq!(ask_udp(outside, to, 10), "C 10.198.0.102 10", "{to}");
    }
    assert_eq!(count(&mut agents[1], PacketStat::Direct), 0);
}

#[test]
fn only_nodes_may_send_and_only_what_is_wanted() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    let objects = objects(json!({}), &["10.244.2.1@node-2"], &[]);
    let mut agents = agents(&cluster, Between::V4, &objects);
    let outside = &cluster.outside[0];
    assert_eq!(ask_udp(outside, FIRST, 10), "B 10.199.0.1 10");
    // The second node follows an API in which the first is no node, or the Service wants nothing of this.
    let options = &cluster.nodes[1].place().options;
    let own = ["10.198.0.102"];
    let with = |agent: &mut Agent, nodes: &[(&str, &[&str])]| {
        within(&cluster.nodes[1].netns, || agent.follow_nodes(options, nodes, &own));
    };
    with(&mut agents[1], &[("node-2", &own)]);
    assert_eq!(ask_udp(outside, FIRST, 10), SILENCE);
    assert_eq!(count(&mut agents[1], PacketStat::Misdirected), 1);
    with(&mut agents[1], &[("node-1", &["10.198.0.101"]), ("node-2", &own)]);
    assert_eq!(ask_udp(outside, FIRST, 10), "B 10.199.0.1 10");
    let mut plain = objects.0[0].clone();
    plain.metadata.annotations = None;
    agents[1].world.service(Event::Apply(plain));
    agents[1].apply();
    assert_eq!(ask_udp(outside, FIRST, 10), SILENCE, "not of a Service that wants nothing of this");
    assert_eq!(servers[1].served(), 2);
}

#[test]
fn an_endpoint_whose_node_is_not_known_sees_the_node() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    let objects = objects(json!({}), &["10.244.2.1@node-9"], &[]);
    let mut agents = agents(&cluster, Between::V4, &objects);
    assert_eq!(ask_tcp(&cluster.outside[0], FIRST), "B 10.198.0.101");
    assert_eq!(count(&mut agents[0], PacketStat::Direct), 0);
}

#[test]
fn the_device_and_its_program_outlive_the_agent() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    let objects = objects(json!({}), &["10.244.2.1@node-2"], &[]);
    drop(agents(&cluster, Between::V4, &objects));
    let outside = &cluster.outside[0];
    let socket = within(outside, || udp_socket(FIRST).unwrap());
    assert_eq!(exchange(&socket, 10), "B 10.199.0.1 10");
    // Others take over what they find.
    let mut agents = agents(&cluster, Between::V4, &objects);
    assert_eq!(exchange(&socket, 10), "B 10.199.0.1 10");
    assert_eq!(ask_tcp(outside, FIRST), "B 10.199.0.1");
    drop(agents.remove(0));
    let index = |node: usize| shown(&cluster.nodes[node].netns, "link").contains("xebec-dsr");
    assert!(index(0));
    within(&cluster.nodes[0].netns, || {
        xebec_dataplane::detach(&cluster.nodes[0].place().options.pin_dir).unwrap();
    });
    assert!(!index(0) && index(1), "a clean-up removes the node's own");
}
