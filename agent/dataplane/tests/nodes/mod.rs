//! Two nodes, each with a dataplane and pods of its own, and a machine outside.

pub mod tunnelled;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use xebec_rig::ask::{SILENCE, ask_tcp, ask_udp, exchange, say, udp_socket};
use xebec_rig::client::Client;
use xebec_rig::cluster::Cluster;
use xebec_rig::netns::checksum_errors;
use xebec_rig::objects::{Agent, service, slice};
use xebec_rig::server::{Server, accept};
use xebec_rig::{NetNs, enter, within};

use crate::packet::{node_port, path_mtu, ports, unfragmented};

const VIP: &str = "10.196.77.1";
const FIRST: &str = "10.199.0.101:30080";
const SECOND: &str = "10.199.0.102:30080";

/// A Service of both families with a node port, and its endpoints.
fn objects(extra: Value, v4: &[&str], v6: &[&str]) -> (Vec<Service>, Vec<EndpointSlice>) {
    let slices = [v4, v6].into_iter().filter(|endpoints| !endpoints.is_empty());
    let both = slices.flat_map(|e| [slice("a", 8080, "TCP", e), slice("a", 8080, "UDP", e)]);
    (vec![service("a", &[VIP, "fd96::77"], ports(), node_port(extra))], both.collect())
}

/// A pod's servers, which say `name` and whom they see.
fn servers(pod: &NetNs, name: &str, v4: &str, v6: &str) -> Vec<Server> {
    let addresses = [format!("{v4}:8080"), format!("[{v6}]:8080")];
    addresses
        .iter()
        .flat_map(|address| [Server::seeing_tcp(pod, address, name), Server::seeing_udp(pod, address, name)])
        .collect()
}

fn agents(cluster: &Cluster, objects: &(Vec<Service>, Vec<EndpointSlice>)) -> Vec<Agent> {
    let agent = |node: &xebec_rig::cluster::Node| {
        let mut agent = node.agent();
        agent.sync(objects.0.clone(), objects.1.clone());
        agent
    };
    cluster.nodes.iter().map(agent).collect()
}

fn all_checksum_errors(cluster: &Cluster, pods: &[&NetNs]) -> u64 {
    let nodes = cluster.nodes.iter().map(|node| &node.netns);
    nodes.chain(&cluster.outside).chain(pods.iter().copied()).map(checksum_errors).sum()
}

#[test]
fn a_node_port_leads_to_a_pod_of_the_other_node() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    let objects = objects(json!({}), &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]);
    let _agents = agents(&cluster, &objects);
    let outside = &cluster.outside[0];
    // By the other node: the pod sees that node. By its own: the client.
    for (to, seen) in [
        (FIRST, "10.198.0.101"),
        (SECOND, "10.199.0.1"),
        ("[fd99::101]:30080", "fd98::101"),
        ("[fd99::102]:30080", "fd99::1"),
    ] {
        for _ in 0..5 {
            assert_eq!(ask_tcp(outside, to), format!("B {seen}"), "tcp {to}");
            assert_eq!(ask_udp(outside, to, 10), format!("B {seen} 10"), "udp {to}");
        }
        assert_eq!(ask_udp(outside, to, 4000), format!("B {seen} 4000"), "udp {to}, in fragments");
    }
    // A pod of the first node: its own node's address leads to the endpoint at once, the other's through that node, and
    // the endpoint sees the pod each time.
    let caller = cluster.nodes[0].pod(1);
    let mut client = cluster.nodes[0].client(&caller);
    for to in [FIRST, SECOND, "10.196.77.1:80"] {
        assert_eq!(client.ask(&format!("tcp {to}")), format!("B 10.244.1.1 {to}"), "{to}");
    }
    assert_eq!(all_checksum_errors(&cluster, &[&pod, &caller]), 0);
}

#[test]
fn a_pod_calls_itself_by_the_other_nodes_address() {
    let Some(cluster) = Cluster::new(2, 0, 1500) else { return };
    let pod = cluster.nodes[0].pod(1);
    let _servers = servers(&pod, "A", "10.244.1.1", "fd44:1::1");
    let _agents = agents(&cluster, &objects(json!({}), &["10.244.1.1@node-1"], &["fd44:1::1@node-1"]));
    let mut client = cluster.nodes[0].client(&pod);
    // The other node has no endpoint: its answer must come back through it, so that node is what the endpoint sees.
    let answer = client.ask(&format!("tcp {SECOND}"));
    assert!(answer.ends_with(&format!(" {SECOND}")), "{answer}");
    assert!(answer.starts_with("A 10.199.0.102 ") || answer.starts_with("A 10.198.0.102 "), "{answer}");
    assert_eq!(client.ask(&format!("tcp {FIRST}")), format!("A 10.244.1.1 {FIRST}"));
}

#[test]
fn local_traffic_policy_with_the_endpoint_on_one_node() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    let local = json!({"externalTrafficPolicy": "Local"});
    let _agents = agents(&cluster, &objects(local, &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]));
    let outside = &cluster.outside[0];
    // Upstream drops at a node without an endpoint: the load balancer is told by the health check.
    for to in [FIRST, "[fd99::101]:30080"] {
        assert_eq!(ask_udp(outside, to, 10), SILENCE, "{to}");
        assert!(ask_tcp(outside, to).starts_with("error "), "{to}");
    }
    assert_eq!(servers.iter().map(Server::served).sum::<usize>(), 0);
    for (to, seen) in [(SECOND, "10.199.0.1"), ("[fd99::102]:30080", "fd99::1")] {
        assert_eq!(ask_tcp(outside, to), format!("B {seen}"));
        assert_eq!(ask_udp(outside, to, 10), format!("B {seen} 10"));
    }
    // The cluster's own pods are not external at their node's address; another node's is left to that node.
    let caller = cluster.nodes[0].pod(1);
    let mut client = cluster.nodes[0].client(&caller);
    for to in [FIRST, SECOND] {
        assert_eq!(client.ask(&format!("tcp {to}")), format!("B 10.244.1.1 {to}"), "{to}");
    }
}

/// Reads all that comes, then says how much it was, and sends as much back.
pub fn returning(pod: &NetNs, address: &str) -> Server {
    let address: SocketAddr = address.parse().unwrap();
    Server::start(pod, address, move |_, stop, ready| {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        ready();
        accept(&listener, &stop, |mut stream, _| {
            let mut bytes = Vec::new();
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.read_to_end(&mut bytes);
            let _ = stream.write_all(&bytes);
        });
    })
}

/// Sends so much and reads as much back; says whether it was the same.
pub fn returned(netns: &NetNs, to: &str) -> bool {
    within(netns, || {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes == sent
    })
}

/// Says everything back at once.
pub fn echoing(pod: &NetNs, address: &str) -> Server {
    let address: SocketAddr = address.parse().unwrap();
    Server::start(pod, address, move |_, stop, ready| {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        ready();
        let mut talks = Vec::new();
        accept(&listener, &stop, |mut stream, _| {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            talks.push(std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        return;
                    }
                }
            }));
        });
        talks.into_iter().for_each(|talk| talk.join().unwrap());
    })
}

#[test]
fn a_narrow_network_between_the_nodes() {
    let Some(cluster) = Cluster::new(2, 1, 1280) else { return };
    let pod = cluster.nodes[1].pod(1);
    let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    let _tcp = [returning(&pod, "10.244.2.1:9090"), returning(&pod, "[fd44:2::1]:9090")];
    let (mut services, mut slices) = objects(json!({}), &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]);
    let bulk = json!([{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30090}]);
    services.push(service("bulk", &["10.196.77.2", "fd96::78"], bulk, node_port(json!({}))));
    slices.push(slice("bulk", 9090, "TCP", &["10.244.2.1@node-2"]));
    slices.push(slice("bulk", 9090, "TCP", &["fd44:2::1@node-2"]));
    let _agents = agents(&cluster, &(services, slices));
    let outside = &cluster.outside[0];
    for (to, bulk, seen) in [
        (FIRST, "10.199.0.101:30090", "10.198.0.101"),
        ("[fd99::101]:30080", "[fd99::101]:30090", "fd98::101"),
    ] {
        // The first node itself finds the way too narrow, and tells the client about the packet that the client sent.
        let mtu = within(outside, || {
            let socket = unfragmented(to);
            assert_eq!(exchange(&socket, 100), format!("B {seen} 100"));
            path_mtu(&socket, to.starts_with('['), 1400)
        });
        assert_eq!(mtu, 1280, "{to}");
        // Both directions of a connection, whose segments begin as long as the client's and the pod's own devices take.
        assert!(returned(outside, bulk), "{bulk}");
    }
    assert_eq!(all_checksum_errors(&cluster, &[&pod]), 0);
}

#[test]
fn the_agent_of_a_node_is_killed_ten_times_under_load() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pods = [cluster.nodes[0].pod(1), cluster.nodes[1].pod(1)];
    let _servers = [
        servers(&pods[0], "A", "10.244.1.1", "fd44:1::1"),
        servers(&pods[1], "B", "10.244.2.1", "fd44:2::1"),
    ];
    let (services, slices) = objects(json!({}), &["10.244.1.1@node-1", "10.244.2.1@node-2"], &[]);
    let node = &cluster.nodes[0];
    let agent = || Client::agent(node.place(), &node.netns, &services, &slices);
    let mut running = Some(agent());
    let outside = cluster.outside[0].path();
    let stop = AtomicBool::new(false);
    let mut client = node.client(&pods[0]);
    let socket = within(&cluster.outside[0], || udp_socket(FIRST).unwrap());
    let first = exchange(&socket, 10);
    let answers = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            enter(&outside);
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                answers.push(say(FIRST).map_err(|e| e.to_string()));
                // However slow agents start: an endpoint elsewhere has one source port for each connection of a minute.
                std::thread::sleep(Duration::from_millis(3));
            }
            answers
        });
        for _ in 0..10 {
            // From one of its pods, too; the client is of the node's cgroup.
            client.send(&format!("hammer 0.2 1 ={VIP}:80"));
            running.take().into_iter().for_each(Client::kill);
            running = Some(agent());
            let answer = client.answer();
            assert!(answer.ends_with(" failed=0") && !answer.starts_with("ok=0 "), "{answer}");
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), failed.first());
    let of = |name: &str| answers.iter().flatten().filter(|answer| answer.starts_with(name)).count();
    assert!(of("A ") > 0 && of("B ") > 0, "{} {}", of("A "), of("B "));
    assert_eq!(exchange(&socket, 10), first, "the flow is where it was");
    assert!(running.is_some());
}

#[test]
fn clients_keep_their_endpoints_when_another_node_lets_them_in() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pods = [cluster.nodes[0].pod(1), cluster.nodes[1].pod(1)];
    let _one = servers(&pods[0], "A", "10.244.1.1", "fd44:1::1");
    let _two = servers(&pods[1], "B", "10.244.2.1", "fd44:2::1");
    let exposed = json!({"externalIPs": ["198.51.100.7"]});
    let _agents = agents(&cluster, &objects(exposed, &["10.244.1.1@node-1", "10.244.2.1@node-2"], &[]));
    let outside = &cluster.outside[0];
    // A router that takes the one node, and then the other.
    let by = |node: &str| outside.ip(&format!("route replace 198.51.100.7 via {node}"));
    let answers = |sockets: &[std::net::UdpSocket]| -> Vec<String> {
        sockets.iter().map(|socket| exchange(socket, 10)[..1].to_owned()).collect()
    };
    by("10.199.0.101");
    let sockets: Vec<_> =
        within(outside, || (0..30).map(|_| udp_socket("198.51.100.7:80").unwrap()).collect());
    let first = answers(&sockets);
    assert!(first.contains(&"A".to_owned()) && first.contains(&"B".to_owned()), "{first:?}");
    by("10.199.0.102");
    assert_eq!(answers(&sockets), first);
    assert_eq!(all_checksum_errors(&cluster, &[&pods[0], &pods[1]]), 0);
}
