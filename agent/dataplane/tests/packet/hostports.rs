//! Ports of the node that lead to one pod.

use std::net::IpAddr;

use serde_json::json;
use xebec_dataplane::hostports::AllPorts;
use xebec_dataplane::{HostPort, PodPorts, Protocol};

use super::net::Outside;
use super::{VIP, node_port, ports, slices};
use xebec_rig::ask::{REFUSED, ask_tcp, ask_udp};
use xebec_rig::client::Client;
use xebec_rig::objects::{Agent, service};
use xebec_rig::run;

fn port(host: Option<&str>, port: u16, protocol: Protocol, endpoint: &str) -> HostPort {
    let host = host.map(|host| host.parse::<IpAddr>().unwrap());
    HostPort { host, port, protocol, endpoint: endpoint.parse().unwrap() }
}

fn all(ports: Vec<HostPort>) -> AllPorts {
    AllPorts::from([("c1 eth0".to_owned(), PodPorts { pod: "default/a".to_owned(), created: 1, ports })])
}

fn sync(agent: &mut Agent, ports_of_pods: &AllPorts) {
    agent.world.set_host_ports(ports_of_pods);
    agent.sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.244.1.5@node-b"]));
}

#[test]
fn host_ports_lead_to_their_pod_from_everywhere() {
    let Some(mut outside) = Outside::new() else { return };
    let pod = "10.244.0.5:8080";
    let wanted = all(vec![
        port(None, 8081, Protocol::Tcp, pod),
        port(None, 8081, Protocol::Udp, pod),
        port(None, 8081, Protocol::Tcp, "[fd44::5]:8080"),
        port(Some("10.198.0.2"), 8082, Protocol::Tcp, pod),
        port(Some("127.0.0.1"), 8083, Protocol::Tcp, pod),
        // The node port of a Service, too: that goes first.
        port(None, 30080, Protocol::Tcp, pod),
    ]);
    sync(&mut outside.agent, &wanted);
    let checks = |outside: &Outside| {
        let client = &outside.rig.client_ns;
        assert_eq!(ask_tcp(client, "10.199.0.2:8081"), "POD 10.199.0.1");
        assert_eq!(ask_udp(client, "10.199.0.2:8081", 10), "POD 10.199.0.1 10");
        assert_eq!(ask_tcp(client, "[fd99::2]:8081"), "POD fd99::1");
        assert_eq!(ask_tcp(&outside.far, "10.198.0.2:8082"), "POD 10.198.0.3");
        for other in ["10.199.0.2:8082", "10.199.0.2:8083", "10.199.0.2:8084"] {
            assert_eq!(ask_tcp(client, other), REFUSED, "{other}");
        }
        assert_eq!(ask_tcp(client, "10.199.0.2:30080"), "FAR 10.198.0.2");
    };
    checks(&outside);
    let name = |answer: String| answer.split(' ').next().unwrap().to_owned();
    // The pod's way to the address that the node itself takes.
    run(&format!("ip -n {} route add 10.199.1.0/24 dev eth0", outside.pod.name));
    let mut node = Client::of(outside.rig.place(), &outside.rig.server_ns);
    for to in ["127.0.0.1:8081", "10.199.0.2:8081", "10.198.0.2:8082", "127.0.0.1:8083"] {
        assert_eq!(name(node.ask(&format!("tcp {to}"))), "POD", "{to}");
    }
    assert_eq!(name(node.ask("udp 127.0.0.1:8081")), "POD");
    assert_eq!(name(node.ask("tcp 10.199.0.2:30080")), "FAR");
    assert_eq!(node.ask("tcp 10.199.0.2:8083"), REFUSED);
    // In a pod, loopback is its own; the node's addresses are the node's.
    let mut inside = Client::of(outside.rig.place(), &outside.pod);
    assert_eq!(name(inside.ask("tcp 10.199.0.2:8081")), "POD");
    assert_eq!(inside.ask("tcp 127.0.0.1:8081"), REFUSED);

    // Without an agent, with the next one, and after it has heard of the same pods.
    outside.agent = Agent::new(&outside.rig.options);
    checks(&outside);
    sync(&mut outside.agent, &wanted);
    outside.refresh();
    checks(&outside);
    // The pod goes.
    outside.agent.world.set_host_ports(&AllPorts::new());
    outside.agent.apply();
    let client = &outside.rig.client_ns;
    assert_eq!(ask_tcp(client, "10.199.0.2:8081"), REFUSED);
    assert_eq!(ask_udp(client, "10.199.0.2:8081", 10), REFUSED);
    assert_eq!(node.ask("tcp 127.0.0.1:8081"), REFUSED);
    assert_eq!(ask_tcp(client, "10.199.0.2:30080"), "FAR 10.198.0.2");
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn of_two_pods_at_one_port_the_older_has_it() {
    let Some(mut outside) = Outside::new() else { return };
    let claim = |pod: &str, created, endpoint| PodPorts {
        pod: pod.to_owned(),
        created,
        ports: vec![port(None, 8081, Protocol::Tcp, endpoint)],
    };
    // Nobody listens there.
    let older = claim("default/a", 1, "10.244.0.5:9999");
    let newer = claim("default/b", 2, "10.244.0.5:8080");
    let mut both = AllPorts::from([("z".to_owned(), older), ("a".to_owned(), newer)]);
    sync(&mut outside.agent, &both);
    assert_eq!(ask_tcp(&outside.far, "10.198.0.2:8081"), REFUSED);
    both.remove("z");
    outside.agent.world.set_host_ports(&both);
    outside.agent.apply();
    assert_eq!(ask_tcp(&outside.far, "10.198.0.2:8081"), "POD 10.198.0.3");
}
