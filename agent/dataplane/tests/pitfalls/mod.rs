//! What other proxies have tripped over (`dataplane.md`, section 7), each as it is here. Others of that section stand
//! beside the paths they belong to: v4-mapped sockets, swaps under load, agents that are killed, narrow hops, fragments,
//! a socket's ring, source ports that run out.

pub mod calls;
mod packets;

use serde_json::json;
use xebec_rig::Rig;
use xebec_rig::client::Client;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;

const VIP: &str = "10.196.77.1";

#[test]
fn one_way_senders_go_on_after_no_endpoints() {
    let Some(rig) = Rig::new() else { return };
    let servers = ["10.199.1.1:8080", "10.199.1.2:8080"].map(|a| Server::udp(&rig.server_ns, a, "A"));
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    agent.sync(
        vec![service("a", &[VIP], tcp_udp(80), json!({}))],
        vec![slice("a", 8080, "UDP", &["10.199.1.1"])],
    );
    let order = format!("oneway {VIP}:80");
    for _ in 0..3 {
        assert_eq!(client.ask(&order), "sent 1");
    }
    // By another socket behind them, so that they have arrived.
    let behind = format!("udp {VIP}:80");
    assert_eq!(client.ask(&behind), format!("A {VIP}:80"));
    agent.set_slice(slice("a", 8080, "UDP", &[]));
    assert_eq!(client.ask(&order), crate::ECONNREFUSED);
    let before = servers[0].served();
    // Another endpoint than before, for the same socket, which never reads.
    agent.set_slice(slice("a", 8080, "UDP", &["10.199.1.2"]));
    for _ in 0..3 {
        assert_eq!(client.ask(&order), "sent 1");
    }
    assert_eq!(client.ask(&behind), format!("A {VIP}:80"));
    assert_eq!((before, servers[0].served(), servers[1].served()), (4, 4, 4));
}

#[test]
fn calls_at_once_of_one_client_with_affinity_reach_one_endpoint() {
    let Some(rig) = Rig::new() else { return };
    let address = |i: usize| format!("10.199.1.{i}");
    let servers: Vec<Server> = (1..=7)
        .map(|i| Server::tcp(&rig.server_ns, &format!("{}:8080", address(i)), &format!("A{i}")))
        .collect();
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let endpoints: Vec<String> = (1..=7).map(address).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let vips: Vec<String> = (1..=20).map(|i| format!("10.196.77.{i}")).collect();
    let names: Vec<String> = (1..=20).map(|i| format!("s{i}")).collect();
    let affinity = json!({"sessionAffinity": "ClientIP"});
    agent.sync(
        names.iter().zip(&vips).map(|(n, vip)| service(n, &[vip], tcp_udp(80), affinity.clone())).collect(),
        names.iter().map(|name| slice(name, 8080, "TCP", &endpoints)).collect(),
    );
    let mut chosen = std::collections::BTreeSet::new();
    for vip in &vips {
        let answer = client.ask(&format!("parallel 64 {vip}:80"));
        let (name, times) = answer.split_once('=').unwrap();
        assert_eq!(times, "64", "{vip}: {answer}");
        chosen.insert(name.to_owned());
    }
    assert!(chosen.len() > 1, "the choice is spread over Services: {chosen:?}");
    assert_eq!(servers.iter().map(Server::served).sum::<usize>(), 20 * 64);
}

#[test]
fn what_does_not_fit_is_told_and_the_rest_works() {
    let Some(mut rig) = Rig::new() else { return };
    rig.options.capacity = xebec_dataplane::Capacity {
        frontends: 8,
        services: 8,
        slots4: 16,
        slots6: 16,
        backends: 16,
        rows: 64,
    };
    let server = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let tcp = json!([{"name": "tcp", "port": 80, "protocol": "TCP"}]);
    let names: Vec<String> = (1..=20).map(|i| format!("s{i:02}")).collect();
    let object = |i: usize| service(&names[i], &[&format!("10.196.77.{}", i + 1)], tcp.clone(), json!({}));
    let endpoints = |i: usize| slice(&names[i], 8080, "TCP", &["10.199.1.1"]);
    agent.sync((0..3).map(object).collect(), (0..3).map(endpoints).collect());
    for i in 3..20 {
        agent.world.service(kube::runtime::watcher::Event::Apply(object(i)));
        agent.world.slice(kube::runtime::watcher::Event::Apply(endpoints(i)));
    }
    let applied = agent.applier.apply(&mut agent.world).unwrap();
    let told: Vec<String> = applied.full.iter().map(ToString::to_string).collect();
    assert!(!told.is_empty());
    // Each names the Service, what there is no room for, and what to do.
    for text in &told {
        assert!(
            text.starts_with("default/s") && text.contains(": no room for 1 more service ports"),
            "{text}"
        );
        assert!(text.contains("raise --bpf-max-endpoints"), "{text}");
    }
    for i in 1..=3 {
        assert_eq!(client.ask(&format!("tcp 10.196.77.{i}:80")), format!("A1 10.196.77.{i}:80"));
    }
    // As many as fit are there beside them, and none leads astray.
    let answers: Vec<String> = (4..=20).map(|i| client.ask(&format!("tcp 10.196.77.{i}:80"))).collect();
    let right =
        answers.iter().enumerate().filter(|(i, a)| **a == format!("A1 10.196.77.{}:80", i + 4)).count();
    assert_eq!(answers.iter().filter(|a| a.starts_with("error ")).count() + right, 17, "{answers:?}");
    assert_eq!(17 - right, told.len(), "{answers:?} {told:?}");
    assert_eq!(server.served(), 3 + right);
    // Room is made, and the next fits.
    for i in 0..3 {
        agent.world.service(kube::runtime::watcher::Event::Delete(object(i)));
        agent.world.slice(kube::runtime::watcher::Event::Delete(endpoints(i)));
    }
    let after = agent.applier.apply(&mut agent.world).unwrap();
    if let Some(grace) = agent.applier.seal() {
        std::thread::sleep(std::time::Duration::from_millis(2));
        agent.applier.release(grace);
    }
    let again = agent.applier.apply(&mut agent.world).unwrap();
    assert!(again.full.len() + 3 <= told.len().max(3), "{} then {}", after.full.len(), again.full.len());
}
