//! From pod to pod of one node, where other protocols take the way past its stack, and with policies.

use serde_json::{Value, json};
use xebec_rig::ask::{REFUSED, SILENCE};
use xebec_rig::objects::{Agent, service, slice};
use xebec_rig::run;
use xebec_rig::sctp::ask_sctp;
use xebec_rig::server::Server;

use crate::path::paths;
use crate::policy::net::{A, B, Cluster, of_a, policy};

const OF_A: &str = "10.196.77.1:80";
const OF_B: &str = "10.196.77.2:80";
const OF_A6: &str = "[fd96::77]:80";
/// ENOPROTOOPT, EPROTO: what an endpoint's kernel without SCTP says of it.
const NO_SCTP: &str = "error 92";
const NO_SCTP6: &str = "error 71";

/// Services of both pods, and who asks for them.
fn services(cluster: &Cluster) -> Agent {
    for pod in [&cluster.a, &cluster.b] {
        run(&format!("ip -n {} route add 10.196.0.0/16 via 169.254.1.1 dev eth0 onlink", pod.name));
        run(&format!("ip -n {} route add fd96::/64 via fe80::1 dev eth0", pod.name));
    }
    let node = &cluster.rig.server_ns.name;
    run(&format!("ip -n {node} route add 10.196.0.0/16 via 10.199.0.1"));
    run(&format!("ip -n {node} route add fd96::/64 via fd99::1"));
    let mut agent = Agent::new(&cluster.rig.options);
    agent.serve_sctp(&cluster.rig.options, &["10.244.0.0/16", "fd44::/16"]);
    let ports = || json!([{"name": "sctp", "port": 80, "protocol": "SCTP"}]);
    let services = vec![
        service("a", &["10.196.77.1", "fd96::77"], ports(), json!({})),
        service("b", &["10.196.77.2"], ports(), json!({})),
    ];
    let slices = vec![
        slice("a", 8080, "SCTP", &[&format!("{A}@node-a")]),
        slice("a", 8080, "SCTP", &["fd44::5@node-a"]),
        slice("b", 8080, "SCTP", &[&format!("{B}@node-a")]),
    ];
    agent.sync(services, slices);
    agent
}

#[test]
fn answers_between_pods_of_a_node_take_the_way_that_translates_them() {
    let Some(cluster) = Cluster::new() else { return };
    let _agent = services(&cluster);
    let servers = [
        Server::sctp(&cluster.a, &format!("{A}:8080"), "A"),
        Server::sctp(&cluster.a, "[fd44::5]:8080", "A"),
    ];
    let check = || {
        assert_eq!(ask_sctp(&cluster.b, OF_A), format!("A {B}"));
        assert_eq!(ask_sctp(&cluster.b, OF_A6), "A fd44::6");
        assert_eq!(ask_sctp(&cluster.b, &format!("{A}:8080")), format!("A {B}"), "without a Service");
        assert!(ask_sctp(&cluster.a, OF_A).starts_with("A 10.199."), "itself");
    };
    check();
    let _paths = paths(&cluster);
    check();
    // Errors about it, too: of the endpoint's kernel, by the name of the Service.
    drop(servers);
    // A kernel sends few errors to one receiver.
    let error = |to: &str| (0..8).map(|_| ask_sctp(&cluster.b, to)).find(|answer| answer != SILENCE);
    assert_eq!(error(OF_A).as_deref(), Some(NO_SCTP));
    assert_eq!(error(OF_A6).as_deref(), Some(NO_SCTP6));
}

#[test]
fn policies_see_the_ends_of_what_services_translate() {
    let Some(mut cluster) = Cluster::new() else { return };
    let _agent = services(&cluster);
    let _servers = [
        Server::sctp(&cluster.a, &format!("{A}:8080"), "A"),
        Server::sctp(&cluster.b, &format!("{B}:8080"), "B"),
    ];
    let _paths = paths(&cluster);
    let ports = |port: u16| json!([{"protocol": "SCTP", "port": port}]);
    let ingress = |port| json!({"podSelector": of_a(), "ingress": [{"from": [{"podSelector": {}}], "ports": ports(port)}]});
    let mut with = |spec: Value| {
        cluster.set(&[policy("p", spec)]);
        (ask_sctp(&cluster.b, OF_A), ask_sctp(&cluster.a, OF_B))
    };
    let (to_a, to_b) = (format!("A {B}"), format!("B {A}"));
    assert_eq!(with(ingress(8080)), (to_a.clone(), to_b.clone()));
    assert_eq!(with(ingress(80)), (SILENCE.to_owned(), to_b.clone()), "not the Service's port");
    // What leaves a pod is seen before its Service is translated.
    let egress = |cidr: &str| {
        let to = json!([{"to": [{"ipBlock": {"cidr": cidr}}], "ports": ports(80)}]);
        json!({"podSelector": of_a(), "policyTypes": ["Egress"], "egress": to})
    };
    assert_eq!(with(egress("10.196.77.2/32")), (to_a.clone(), to_b));
    assert_eq!(with(egress("10.196.77.3/32")), (to_a, SILENCE.to_owned()));
    cluster.set(&[]);
    assert_eq!(ask_sctp(&cluster.b, "10.196.77.1:81"), REFUSED);
}
