//! Ways of packets that need more of the wires: pings, clients that are endpoints, narrow hops.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::json;
use xebec_abi::flow::PacketStat;

use super::net::Outside;
use super::{VIP, node_port, path_mtu, ports, slices, unfragmented};
use xebec_dataplane::node::node_addresses;
use xebec_dataplane::{NodePorts, SourceRange};
use xebec_rig::ask::{REFUSED, SILENCE, ask_tcp, ask_udp, exchange, ping};
use xebec_rig::netns::wire;
use xebec_rig::server::Server;
use xebec_rig::within;

use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::{NetNs, run};

#[test]
fn a_vip_answers_pings_and_refuses_other_ports() {
    let Some(mut outside) = Outside::new() else { return };
    let external = node_port(json!({"externalIPs": ["198.51.100.7"]}));
    outside.agent.sync(
        vec![service("a", &[VIP], ports(), external), service("six", &["fd96::77"], tcp_udp(80), json!({}))],
        slices(&["10.244.0.5@node-a"]),
    );
    let client = &outside.rig.client_ns;
    for to in [VIP, "198.51.100.7"] {
        assert_eq!(ping(client, to), format!("type 0 from {to}"));
    }
    assert_eq!(ping(client, "fd96::77"), "type 129 from fd96::77");
    for port in ["10.196.77.1:81", "198.51.100.7:81", "[fd96::77]:81"] {
        assert_eq!(ask_tcp(client, port), REFUSED, "tcp {port}");
        assert_eq!(ask_udp(client, port, 10), REFUSED, "udp {port}");
    }
    // An address that is no VIP has no answer, and the node's own is its kernel's.
    assert_eq!(ping(client, "10.196.77.99"), SILENCE);
    assert_eq!(ping(client, "10.199.0.2"), "type 0 from 10.199.0.2");
    assert_eq!(outside.count(PacketStat::Echoes), 3);
    // From a pod and from the node, whose way out is the client's wire: answered as they leave.
    let (node, pod) = (outside.rig.server_ns.name.clone(), outside.pod.name.clone());
    run(&format!("ip -n {node} route add 10.196.0.0/16 via 10.199.0.1"));
    run(&format!("ip -n {pod} route add 10.196.0.0/16 via 10.199.0.1 dev eth0"));
    assert_eq!(ping(&outside.pod, VIP), format!("type 0 from {VIP}"));
    assert_eq!(ping(&outside.rig.server_ns, VIP), format!("type 0 from {VIP}"));
    assert_eq!(outside.count(PacketStat::Echoes), 5);
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn addresses_of_no_service_are_dropped_and_those_of_others_left_alone() {
    let Some(mut outside) = Outside::new() else { return };
    let mut dns = service("dns", &["10.196.77.10"], tcp_udp(53), json!({}));
    let labels = dns.metadata.labels.get_or_insert_default();
    labels.insert("service.kubernetes.io/service-proxy-name".to_owned(), "another".to_owned());
    outside.agent.sync(vec![service("a", &[VIP], ports(), node_port(json!({}))), dns], slices(&[]));
    let client = &outside.rig.client_ns;
    // Behind the node, at addresses that Services are from: whoever is there answers until the networks are known.
    run(&format!("ip -n {} route add 10.196.77.0/24 via 10.198.0.3", outside.rig.server_ns.name));
    run(&format!("ip -n {} addr add 10.196.77.10/32 dev lo", outside.far.name));
    run(&format!("ip -n {} addr add 10.196.77.99/32 dev lo", outside.far.name));
    run(&format!("ip -n {} route add 10.199.0.0/24 via 10.198.0.2", outside.far.name));
    for to in ["10.196.77.10:8080", "10.196.77.99:8080"] {
        assert_eq!(ask_tcp(client, to), "FAR 10.199.0.1", "{to}");
    }
    outside.agent.set_cidrs(&[&["10.196.0.0/16"]]);
    let client = &outside.rig.client_ns;
    assert_eq!(ask_tcp(client, "10.196.77.10:8080"), "FAR 10.199.0.1");
    assert_eq!(ask_tcp(client, "10.196.77.99:8080"), SILENCE);
    assert_eq!(ask_udp(client, "10.196.77.99:8080", 10), SILENCE);
    assert_eq!(ask_tcp(client, "10.196.77.1:81"), REFUSED);
    assert!(outside.count(PacketStat::Unallocated) >= 2);
}

#[test]
fn a_client_that_is_its_own_endpoint_sees_the_node() {
    let Some(mut outside) = Outside::new() else { return };
    let _tcp = Server::seeing_tcp(&outside.rig.client_ns, "10.199.0.1:8080", "SELF");
    let _udp = Server::seeing_udp(&outside.rig.client_ns, "10.199.0.1:8080", "SELF");
    // Known to be here or not: either way its answer must come back through the node.
    for endpoint in ["10.199.0.1@node-a", "10.199.0.1@node-b"] {
        outside.agent.sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&[endpoint]));
        for to in ["10.196.77.1:80", "10.199.0.2:30080"] {
            assert_eq!(ask_tcp(&outside.rig.client_ns, to), "SELF 10.199.0.2", "tcp {to} {endpoint}");
            assert_eq!(ask_udp(&outside.rig.client_ns, to, 10), "SELF 10.199.0.2 10", "udp {to} {endpoint}");
        }
    }
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn one_client_port_at_two_addresses_of_one_endpoint() {
    let Some(mut outside) = Outside::new() else { return };
    outside
        .agent
        .sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.244.0.5@node-a"]));
    let answers = within(&outside.rig.client_ns, || {
        let socket = UdpSocket::bind("10.199.0.1:5000").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let ask = |to: &str| {
            let mut buffer = [0; 64];
            socket.send_to(b"?", to).unwrap();
            socket.recv_from(&mut buffer).unwrap().1.to_string()
        };
        ["10.196.77.1:80", "10.199.0.2:30080", "10.196.77.1:80", "10.199.0.2:30080"].map(ask)
    });
    assert_eq!(answers, ["10.196.77.1:80", "10.199.0.2:30080", "10.196.77.1:80", "10.199.0.2:30080"]);
    assert_eq!(outside.count(PacketStat::Flows), 2);
}

#[test]
fn a_narrow_hop_behind_the_translation_is_known_to_the_client() {
    let Some(mut outside) = Outside::new() else { return };
    // Behind the machine behind the node, by a wire that takes 1280 bytes: what the hop before it says about a packet
    // quotes the node's address, which the client never saw.
    let (far, node) = (&outside.far, &outside.rig.server_ns);
    let deep = NetNs::new(format!("{}d", node.name));
    wire((far, "narrow"), (&deep, "narrow"), 1280);
    for (netns, addresses) in
        [(far, ["10.197.0.2/24", "fd97::2/64"]), (&deep, ["10.197.0.3/24", "fd97::3/64"])]
    {
        addresses.into_iter().for_each(|address| netns.address("narrow", address));
    }
    far.neighbour("narrow", "fd97::3", &deep, "narrow");
    deep.neighbour("narrow", "fd97::2", far, "narrow");
    for route in ["10.198.0.0/24 via 10.197.0.2", "fd98::/64 via fd97::2"] {
        deep.ip(&format!("route add {route}"));
    }
    for route in ["10.197.0.0/24 via 10.198.0.3", "fd97::/64 via fd98::3"] {
        node.ip(&format!("route add {route}"));
    }
    far.forward();
    let _servers = [
        Server::seeing_udp(&deep, "10.197.0.3:8080", "DEEP"),
        Server::seeing_udp(&deep, "[fd97::3]:8080", "DEEP"),
    ];
    outside.agent.sync(
        vec![
            service("a", &[VIP], tcp_udp(80), json!({})),
            service("six", &["fd96::77"], tcp_udp(80), json!({})),
        ],
        vec![slice("a", 8080, "UDP", &["10.197.0.3@node-b"]), slice("six", 8080, "UDP", &["fd97::3@node-b"])],
    );
    for (to, answer, errors) in
        [("10.196.77.1:80", "DEEP 10.198.0.2", 2), ("[fd96::77]:80", "DEEP fd98::2", 4)]
    {
        let v6 = to.starts_with('[');
        let mtu = within(&outside.rig.client_ns, || {
            let socket = unfragmented(to);
            assert_eq!(exchange(&socket, 100), format!("{answer} 100"));
            path_mtu(&socket, v6, 1400)
        });
        assert_eq!(mtu, 1280, "{to}");
        // Once as the error came in from the hop, once as it went out to the client.
        assert!(outside.count(PacketStat::Errors) >= errors, "{to}");
    }
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn what_comes_from_the_clusters_pods_is_not_external() {
    let Some(mut outside) = Outside::new() else { return };
    let local = || service("a", &[VIP], ports(), node_port(json!({"externalTrafficPolicy": "Local"})));
    outside.agent.sync(vec![local()], slices(&["10.244.1.5@node-b"]));
    let to = "10.199.0.2:30080";
    assert_eq!(ask_udp(&outside.rig.client_ns, to, 10), SILENCE, "no endpoint is here");
    let range = |text: &str| std::collections::BTreeSet::from([SourceRange::parse(text).unwrap()]);
    outside.agent.applier.maps().set_pod_ranges(&range("10.199.0.0/24")).unwrap();
    assert_eq!(ask_tcp(&outside.rig.client_ns, to), "FAR 10.198.0.2");
    // The next agent finds the networks in the maps and leaves them.
    outside.agent = Agent::new(&outside.rig.options.clone());
    outside.refresh();
    outside.agent.sync(vec![local()], slices(&["10.244.1.5@node-b"]));
    assert_eq!(ask_tcp(&outside.rig.client_ns, to), "FAR 10.198.0.2");
    outside.agent.applier.maps().set_pod_ranges(&range("10.1.0.0/16")).unwrap();
    assert_eq!(ask_udp(&outside.rig.client_ns, to, 10), SILENCE, "the client's network is no pods' any more");
}

#[test]
fn node_ports_answer_only_at_the_addresses_they_are_told() {
    let Some(mut outside) = Outside::new() else { return };
    outside
        .agent
        .sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.244.0.5@node-a"]));
    let to = "10.199.0.2:30080";
    assert_eq!(ask_tcp(&outside.rig.client_ns, to), "POD 10.199.0.1");
    let own = xebec_dataplane::addresses::local_addresses().unwrap();
    let only = NodePorts::Within(vec![SourceRange::parse("10.198.0.0/24").unwrap()]);
    outside.agent.applier.maps().set_node_addresses(&node_addresses(&own, &only, &[])).unwrap();
    assert_eq!(
        ask_tcp(&outside.rig.client_ns, to),
        REFUSED,
        "the node's kernel answers, where nobody listens"
    );
    assert_eq!(ask_tcp(&outside.rig.client_ns, "10.196.77.1:80"), "POD 10.199.0.1");
    // The address is still the node's own: its kernel answers pings.
    assert_eq!(ping(&outside.rig.client_ns, "10.199.0.2"), "type 0 from 10.199.0.2");
    let primary = node_addresses(&own, &NodePorts::Primary, &["10.199.0.2".parse().unwrap()]);
    outside.agent.applier.maps().set_node_addresses(&primary).unwrap();
    assert_eq!(ask_tcp(&outside.rig.client_ns, to), "POD 10.199.0.1");
}
