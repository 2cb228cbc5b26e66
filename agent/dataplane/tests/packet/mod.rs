//! Services from outside the node: a client on a wire, the node, a pod on it, and a machine behind it with a pod of
//! its own, which knows no way to the client: what it answers went through the node's translation. What a server saw
//! is read from its answer.

mod driver;
mod driver_table;
pub mod frame;
mod hostports;
mod maglev;
pub mod net;
mod paths;
pub mod table;

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use net::Outside;
use rustix::net::sockopt;
use serde_json::{Value, json};
use xebec_abi::flow::PacketStat;
use xebec_rig::ask::{REFUSED, SILENCE, ask_tcp, ask_udp, exchange, say, udp_socket};
use xebec_rig::within;

use xebec_rig::objects::{service, slice, tcp_udp};

const VIP: &str = "10.196.77.1";

pub fn node_port(extra: Value) -> Value {
    let mut spec = json!({"type": "LoadBalancer"});
    spec.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap());
    spec
}

pub fn ports() -> Value {
    json!([
        {"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080},
        {"name": "udp", "port": 80, "protocol": "UDP", "nodePort": 30080},
    ])
}

/// A connected socket whose datagrams may not be cut.
pub fn unfragmented(to: &str) -> UdpSocket {
    let socket = udp_socket(to).unwrap();
    if to.starts_with('[') {
        sockopt::set_ipv6_mtu_discover(socket.as_fd(), sockopt::Ipv6PathMtuDiscovery::DO).unwrap();
    } else {
        sockopt::set_ip_mtu_discover(socket.as_fd(), sockopt::Ipv4PathMtuDiscovery::DO).unwrap();
    }
    socket
}

/// Sends `len` bytes until the kernel knows that they are too long; returns the path's MTU.
pub fn path_mtu(socket: &UdpSocket, v6: bool, len: usize) -> u32 {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        // An error of before is reported once; the size is what counts.
        let _ = socket.send(&vec![0; len]);
        let mtu =
            if v6 { sockopt::ipv6_mtu(socket.as_fd()) } else { sockopt::ip_mtu(socket.as_fd()) }.unwrap();
        if mtu < 1500 || Instant::now() > end {
            return mtu;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn slices(endpoints: &[&str]) -> Vec<k8s_openapi::api::discovery::v1::EndpointSlice> {
    vec![slice("a", 8080, "TCP", endpoints), slice("a", 8080, "UDP", endpoints)]
}

#[test]
fn a_node_port_reaches_a_pod_here_which_sees_the_client() {
    let Some(mut outside) = Outside::new() else { return };
    let mut a = service("a", &[VIP], ports(), node_port(json!({"externalIPs": ["198.51.100.7"]})));
    a.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}})).unwrap();
    outside.agent.sync(vec![a], slices(&["10.244.0.5@node-a"]));
    // A node port, an external IP, a load balancer's IP, a ClusterIP.
    for to in ["10.199.0.2:30080", "198.51.100.7:80", "198.51.100.8:80", "10.196.77.1:80"] {
        assert_eq!(ask_tcp(&outside.rig.client_ns, to), "POD 10.199.0.1", "tcp {to}");
        assert_eq!(ask_udp(&outside.rig.client_ns, to, 10), "POD 10.199.0.1 10", "udp {to}");
    }
    // Another port of the node is the node's own.
    assert_eq!(ask_tcp(&outside.rig.client_ns, "10.199.0.2:30081"), REFUSED);
    assert_eq!(outside.count(PacketStat::Flows), 8);
    assert_eq!(outside.count(PacketStat::Established), 8);
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn a_node_port_reaches_a_pod_elsewhere_which_sees_the_node() {
    let Some(mut outside) = Outside::new() else { return };
    outside
        .agent
        .sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.244.1.5@node-b"]));
    for _ in 0..10 {
        assert_eq!(ask_tcp(&outside.rig.client_ns, "10.199.0.2:30080"), "FAR 10.198.0.2");
        assert_eq!(ask_udp(&outside.rig.client_ns, "10.199.0.2:30080", 10), "FAR 10.198.0.2 10");
    }
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn ipv6_from_outside() {
    let Some(mut outside) = Outside::new() else { return };
    let v6 =
        |endpoint: &str| vec![slice("a", 8080, "TCP", &[endpoint]), slice("a", 8080, "UDP", &[endpoint])];
    outside
        .agent
        .sync(vec![service("a", &["fd96::77"], ports(), node_port(json!({})))], v6("fd44::5@node-a"));
    for to in ["[fd99::2]:30080", "[fd96::77]:80"] {
        assert_eq!(ask_tcp(&outside.rig.client_ns, to), "POD fd99::1", "{to}");
        assert_eq!(ask_udp(&outside.rig.client_ns, to, 10), "POD fd99::1 10", "{to}");
        assert_eq!(ask_udp(&outside.rig.client_ns, to, 4000), "POD fd99::1 4000", "{to}");
    }
    for slice in v6("fd45::5@node-b") {
        outside.agent.set_slice(slice);
    }
    for to in ["[fd99::2]:30080", "[fd96::77]:80"] {
        assert_eq!(ask_tcp(&outside.rig.client_ns, to), "FAR fd98::2", "{to}");
        assert_eq!(ask_udp(&outside.rig.client_ns, to, 10), "FAR fd98::2 10", "{to}");
    }
    for slice in slices(&[]) {
        let mut slice = slice;
        slice.address_type = "IPv6".to_owned();
        slice.metadata.name = slice.metadata.name.map(|n| n.replace("false", "true"));
        outside.agent.set_slice(slice);
    }
    assert_eq!(ask_tcp(&outside.rig.client_ns, "[fd96::77]:80"), REFUSED);
    assert_eq!(ask_udp(&outside.rig.client_ns, "[fd96::77]:80", 10), REFUSED);
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn external_traffic_policy_local() {
    let Some(mut outside) = Outside::new() else { return };
    let local = || service("a", &[VIP], ports(), node_port(json!({"externalTrafficPolicy": "Local"})));
    outside.agent.sync(vec![local()], slices(&["10.244.0.5@node-a", "10.244.1.5@node-b"]));
    for _ in 0..20 {
        assert_eq!(ask_tcp(&outside.rig.client_ns, "10.199.0.2:30080"), "POD 10.199.0.1");
    }
    // Endpoints elsewhere only: upstream drops, and the load balancer goes elsewhere by the health check.
    for slice in slices(&["10.244.1.5@node-b"]) {
        outside.agent.set_slice(slice);
    }
    assert_eq!(ask_udp(&outside.rig.client_ns, "10.199.0.2:30080", 10), SILENCE);
    assert!(outside.count(PacketStat::NoLocal) > 0);
    // The ClusterIP is not external.
    assert_eq!(ask_tcp(&outside.rig.client_ns, "10.196.77.1:80"), "FAR 10.198.0.2");
}

#[test]
fn no_endpoints_is_a_refusal_by_the_address_asked() {
    let Some(mut outside) = Outside::new() else { return };
    outside.agent.sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], vec![]);
    for to in ["10.199.0.2:30080", "10.196.77.1:80"] {
        assert_eq!(ask_tcp(&outside.rig.client_ns, to), REFUSED, "tcp {to}");
        // A connected socket takes an ICMP error only if it names the socket's own ends.
        assert_eq!(ask_udp(&outside.rig.client_ns, to, 10), REFUSED, "udp {to}");
    }
    for slice in slices(&["10.244.0.5@node-a"]) {
        outside.agent.set_slice(slice);
    }
    assert_eq!(ask_tcp(&outside.rig.client_ns, "10.199.0.2:30080"), "POD 10.199.0.1");
    assert!(outside.count(PacketStat::Rejected) >= 4);
}

#[test]
fn icmp_errors_of_endpoints_name_the_address_asked() {
    let Some(mut outside) = Outside::new() else { return };
    // Port 8081: nobody listens there, so the pod's own kernel answers with an error.
    for (endpoint, before) in [("10.244.0.5@node-a", 0), ("10.244.1.5@node-b", 1)] {
        outside.agent.sync(
            vec![service("a", &[VIP], tcp_udp(80), json!({}))],
            vec![slice("a", 8081, "UDP", &[endpoint])],
        );
        assert!(outside.count(PacketStat::Errors) >= before);
        assert_eq!(ask_udp(&outside.rig.client_ns, "10.196.77.1:80", 10), REFUSED, "{endpoint}");
    }
    // The error of the pod elsewhere passed two translations.
    assert_eq!(outside.count(PacketStat::Errors), 3);
}

#[test]
fn source_ranges_of_a_load_balancer() {
    let Some(mut outside) = Outside::new() else { return };
    let with = |ranges: &[&str]| {
        let mut a = service("a", &[VIP], ports(), node_port(json!({"loadBalancerSourceRanges": ranges})));
        a.status =
            serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}})).unwrap();
        a
    };
    outside.agent.sync(vec![with(&["10.199.0.0/29", "192.0.2.0/24"])], slices(&["10.244.0.5@node-a"]));
    assert_eq!(ask_udp(&outside.rig.client_ns, "198.51.100.8:80", 10), "POD 10.199.0.1 10");
    let mut set = |ranges: &[&str]| {
        outside.agent.world.service(kube::runtime::watcher::Event::Apply(with(ranges)));
        outside.agent.apply();
    };
    set(&["10.199.0.8/29"]);
    assert_eq!(ask_udp(&outside.rig.client_ns, "198.51.100.8:80", 10), SILENCE);
    // Ranges guard the load balancer's address, as upstream.
    assert_eq!(ask_udp(&outside.rig.client_ns, "10.199.0.2:30080", 10), "POD 10.199.0.1 10");
    assert!(outside.count(PacketStat::Denied) > 0);
    let mut set = |ranges: &[&str]| {
        outside.agent.world.service(kube::runtime::watcher::Event::Apply(with(ranges)));
        outside.agent.apply();
    };
    set(&[]);
    assert_eq!(ask_udp(&outside.rig.client_ns, "198.51.100.8:80", 10), "POD 10.199.0.1 10");
}

#[test]
fn one_client_keeps_its_endpoint_with_affinity() {
    let Some(mut outside) = Outside::new() else { return };
    let affinity = json!({"sessionAffinity": "ClientIP"});
    outside.agent.sync(
        vec![service("a", &[VIP], ports(), node_port(affinity))],
        slices(&["10.244.0.5@node-a", "10.244.1.5@node-b"]),
    );
    let first = ask_tcp(&outside.rig.client_ns, "10.199.0.2:30080");
    for _ in 0..20 {
        assert_eq!(ask_tcp(&outside.rig.client_ns, "10.199.0.2:30080"), first);
    }
    let left = if first.starts_with("POD") { "10.244.1.5@node-b" } else { "10.244.0.5@node-a" };
    for slice in slices(&[left]) {
        outside.agent.set_slice(slice);
    }
    assert_ne!(ask_tcp(&outside.rig.client_ns, "10.199.0.2:30080"), first);
}

#[test]
fn large_datagrams_pass_in_fragments() {
    let Some(mut outside) = Outside::new() else { return };
    outside
        .agent
        .sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.244.0.5@node-a"]));
    assert_eq!(ask_udp(&outside.rig.client_ns, "10.199.0.2:30080", 4000), "POD 10.199.0.1 4000");
    for slice in slices(&["10.244.1.5@node-b"]) {
        outside.agent.set_slice(slice);
    }
    assert_eq!(ask_udp(&outside.rig.client_ns, "10.199.0.2:30080", 4000), "FAR 10.198.0.2 4000");
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn datagrams_leave_an_endpoint_that_left_its_service() {
    let Some(mut outside) = Outside::new() else { return };
    outside
        .agent
        .sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.244.0.5@node-a"]));
    let to = "10.199.0.2:30080";
    let socket = within(&outside.rig.client_ns, || udp_socket(to).unwrap());
    assert_eq!(exchange(&socket, 10), "POD 10.199.0.1 10");
    for slice in slices(&["10.244.1.5@node-b"]) {
        outside.agent.set_slice(slice);
    }
    assert_eq!(exchange(&socket, 10), "FAR 10.198.0.2 10", "the same socket's next datagram");
    assert_eq!(outside.count(PacketStat::Reselected), 1);
}

#[test]
fn endpoints_and_agents_change_under_load() {
    let Some(mut outside) = Outside::new() else { return };
    let objects = || vec![service("a", &[VIP], ports(), node_port(json!({})))];
    outside.agent.sync(objects(), slices(&["10.244.0.5@node-a"]));
    let client = outside.rig.client_ns.path();
    let load = std::thread::spawn(move || {
        xebec_rig::enter(&client);
        let (end, mut answers) = (Instant::now() + Duration::from_secs(2), Vec::new());
        while Instant::now() < end {
            answers.push(say("10.199.0.2:30080").map_err(|e| e.to_string()));
        }
        answers
    });
    // A datagram flow and its socket, which outlive the agent.
    let socket = within(&outside.rig.client_ns, || udp_socket("10.199.0.2:30080").unwrap());
    assert_eq!(exchange(&socket, 10), "POD 10.199.0.1 10");
    let options = outside.rig.options.clone();
    let before = outside.links();
    for round in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        let endpoint = ["10.244.1.5@node-b", "10.244.0.5@node-a"][round % 2];
        outside.agent.set_slice(slice("a", 8080, "TCP", &[endpoint]));
        if round == 10 {
            // Another agent takes over: the links stay and get its programs, flows stay.
            outside.agent = xebec_rig::objects::Agent::new(&options);
            outside.refresh();
            outside.agent.sync(objects(), slices(&["10.244.0.5@node-a"]));
            assert_eq!(outside.links(), before);
        }
    }
    assert_eq!(exchange(&socket, 10), "POD 10.199.0.1 10");
    let answers = load.join().unwrap();
    let failed: Vec<_> = answers.iter().filter_map(|a| a.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), failed.first());
    let of = |name: &str| answers.iter().flatten().filter(|a| a.starts_with(name)).count();
    assert!(of("POD") > 0 && of("FAR") > 0 && answers.len() > 100, "{} {}", of("POD"), of("FAR"));
    assert_eq!(outside.count(PacketStat::Reselected), 0, "no connection changed its endpoint");
}
