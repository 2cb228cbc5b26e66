//! loadBalancerSourceRanges at the socket: a pod is judged by its own address, what runs in the node's network by the node's.

use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use xebec_abi::state::Stat;
use xebec_dataplane::{Protocol, explain, sources};
use xebec_rig::client::Client;
use xebec_rig::cluster::{Cluster, Node};
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;
use xebec_rig::within;

/// EPERM.
const DENIED: &str = "error 1";
/// The load balancer's, of both families.
const LB: [&str; 2] = ["198.51.100.8", "2001:db8:8::8"];
const VIPS: [&str; 2] = ["10.196.77.1", "fd96::1"];
const NODE: [&str; 2] = ["10.199.0.101", "fd99::101"];

fn balancer(ranges: &[&str]) -> Service {
    let ports: Vec<Value> =
        tcp_udp(80).as_array().unwrap().iter().cloned().zip([30080, 30080]).map(with_port).collect();
    let more = json!({
        "type": "LoadBalancer", "loadBalancerSourceRanges": ranges,
        "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack",
    });
    let mut service = service("a", &VIPS, ports.into(), more);
    let ingress = LB.map(|ip| json!({"ip": ip}));
    service.status = serde_json::from_value(json!({"loadBalancer": {"ingress": ingress}})).unwrap();
    service
}

fn with_port((mut port, number): (Value, u16)) -> Value {
    port["nodePort"] = number.into();
    port
}

/// Every kind of call to the load balancer's addresses.
fn calls() -> Vec<String> {
    let to = [format!("{}:80", LB[0]), format!("[::ffff:{}]:80", LB[0]), format!("[{}]:80", LB[1])];
    to.iter().flat_map(|to| ["tcp", "udp", "udpc"].map(|command| format!("{command} {to}"))).collect()
}

/// What each call comes to: a server's answer, which shows the address that was asked, or a refusal.
fn check(client: &mut Client, admitted: bool, who: &str) {
    for call in calls() {
        let answer = client.ask(&call);
        let to = call.split_once(' ').unwrap().1;
        let wanted = if admitted { format!("S {to}") } else { DENIED.to_owned() };
        assert_eq!(answer, wanted, "{who}: {call}");
    }
}

fn set(agent: &mut Agent, ranges: &[&str]) {
    agent.world.service(Event::Apply(balancer(ranges)));
    agent.apply();
}

/// As the agent does before it applies such a Service, and whenever pods come.
fn look(agent: &mut Agent, node: &Node) {
    let own = NODE.map(|address| address.parse().unwrap());
    let found = within(&node.netns, || sources::list(&own)).unwrap();
    agent.applier.maps().set_namespaces(&found).unwrap();
}

#[test]
fn pods_ask_a_load_balancer_by_their_own_address() {
    let Some(cluster) = Cluster::new(1, 0, 1500) else { return };
    let node = &cluster.nodes[0];
    let [listed, other, serving] = [1, 2, 3].map(|k| node.pod(k));
    let servers: Vec<Server> = ["10.244.1.3:8080", "[fd44:1::3]:8080"]
        .iter()
        .flat_map(|at| [Server::tcp(&serving, at, "S"), Server::udp(&serving, at, "S")])
        .collect();
    let mut agent = node.agent();
    let endpoints = ["10.244.1.3@node-1", "fd44:1::3@node-1"];
    let slices: Vec<_> = endpoints
        .iter()
        .flat_map(|e| ["TCP", "UDP"].map(|protocol| slice("a", 8080, protocol, &[e])))
        .collect();
    agent.sync(vec![balancer(&[])], slices.clone());
    assert!(!agent.world.has_source_ranges());
    let [mut in_listed, mut in_other] = [&listed, &other].map(|pod| node.client(pod));
    let mut on_node = node.client(&node.netns);
    for client in [&mut in_listed, &mut in_other, &mut on_node] {
        check(client, true, "without ranges nobody is asked");
    }

    // Who is not known is refused until it is.
    let ranges = ["10.244.1.1/32", "fd44:1::1/128"];
    set(&mut agent, &ranges);
    assert!(agent.world.has_source_ranges());
    check(&mut in_listed, false, "unknown");
    look(&mut agent, node);
    let served = || servers.iter().map(Server::served).sum::<usize>();
    let before = served();
    check(&mut in_listed, true, "listed");
    check(&mut in_other, false, "not listed");
    check(&mut on_node, false, "the node is not listed");
    assert_eq!(served(), before + calls().len(), "by the servers' own count");
    let counters = agent.applier.maps().counters().unwrap();
    assert_eq!(counters[Stat::Denied as usize], 3 * calls().len() as u64);

    // The ranges are the load balancer's: its other addresses answer everybody.
    for (vip, node) in VIPS.iter().zip(NODE) {
        for to in [super::packets::at(vip, 80), super::packets::at(node, 30080)] {
            for command in ["tcp", "udp", "udpc"] {
                assert_eq!(in_other.ask(&format!("{command} {to}")), format!("S {to}"), "{command}");
            }
        }
    }

    let explained = |address: &str| {
        let pins = &node.place().options.pin_dir;
        explain(pins, address.parse().unwrap(), 80, Protocol::Tcp).unwrap().to_string()
    };
    let only = "for clients in loadBalancerSourceRanges only";
    assert!(explained(LB[0]).contains(only) && !explained(VIPS[0]).contains(only));

    // A socket that is bound is judged by that, as its packets are.
    other.address("eth0", "10.244.1.1/32");
    other.address("eth0", "fd44:1::1/128");
    for (lb, (listed, own)) in LB.iter().zip([("10.244.1.1", "10.244.1.2"), ("fd44:1::1", "fd44:1::2")]) {
        let to = super::packets::at(lb, 80);
        for (command, from) in [("from", own), ("udpfrom", own)] {
            let call = format!("{command} {} {to}", super::packets::at(from, 0));
            assert_eq!(in_other.ask(&call), DENIED, "{call}");
        }
        // What the endpoint answers goes to the pod that has the address: nothing comes back, but nothing was refused.
        let call = format!("udpfrom {} {to}", super::packets::at(listed, 0));
        assert_eq!(in_other.ask(&call), "error 11", "{call}");
    }

    // Pods change places, while nobody runs but the programs.
    set(&mut agent, &["10.244.1.2/32", "fd44:1::2/128", "10.199.0.0/24", "fd99::/64"]);
    drop(agent);
    check(&mut in_listed, false, "no longer listed");
    check(&mut in_other, true, "listed now");
    check(&mut on_node, true, "the node's network is listed");

    // The next agent goes on with what is known, and forgets who is gone.
    let mut agent = node.agent();
    agent.sync(vec![balancer(&["10.244.1.2/32", "fd44:1::2/128"])], slices);
    check(&mut in_other, true, "still listed");
    drop((in_other, other));
    look(&mut agent, node);
    check(&mut in_listed, false, "still not listed");
    set(&mut agent, &[]);
    check(&mut on_node, true, "without ranges again");
}
