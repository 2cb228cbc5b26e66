//! NetworkPolicy on real pods: what passes is what a server answered.

pub mod net;
mod table;
mod tunnelled;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::{A, B, Cluster, OTHER, OUTSIDE, of_a, policy};
use serde_json::{Value, json};
use xebec_abi::policy::PolicyStat;

use xebec_rig::ask::{REFUSED, SILENCE, ask_tcp, ask_udp, exchange, ping, say, udp_socket};
use xebec_rig::within;

pub fn deny_ingress() -> Value {
    policy("deny", json!({"podSelector": of_a(), "policyTypes": ["Ingress"]}))
}

fn from_b(ports: Value) -> Value {
    let from = json!([{"podSelector": {"matchLabels": {"app": "b"}}}]);
    policy("from-b", json!({"podSelector": of_a(), "ingress": [{"from": from, "ports": ports}]}))
}

#[test]
fn an_address_that_goes_and_comes_is_one_store() {
    let Some(mut cluster) = Cluster::new() else { return };
    let a = format!("{A}:80");
    cluster.set(&[from_b(json!([]))]);
    assert_eq!(ask_tcp(&cluster.b, &a), format!("A {B}"));
    // Its class is still its other address's. The second write lets flows be judged anew.
    assert_eq!(cluster.move_b(&["fd44::6"]), 2);
    assert_eq!(ask_tcp(&cluster.b, &a), SILENCE);
    assert_eq!(cluster.move_b(&[B, "fd44::6"]), 2);
    assert_eq!(ask_tcp(&cluster.b, &a), format!("A {B}"));
}

#[test]
fn only_who_is_allowed_reaches_an_isolated_pod() {
    let Some(mut cluster) = Cluster::new() else { return };
    let (a, port81) = (format!("{A}:80"), format!("{A}:81"));
    assert_eq!(ask_tcp(&cluster.b, &a), format!("A {B}"));
    assert_eq!(ask_tcp(&cluster.rig.client_ns, &a), format!("A {OUTSIDE}"));

    cluster.set(&[deny_ingress()]);
    for netns in [&cluster.b, &cluster.rig.client_ns] {
        assert_eq!(ask_tcp(netns, &a), SILENCE);
        assert_eq!(ask_udp(netns, &a, 10), SILENCE);
        assert_eq!(ping(netns, A), SILENCE);
    }
    // What the pod begins is answered, and what the node begins is let in.
    for (to, who) in [(B, "B"), (OUTSIDE, "OUT")] {
        assert_eq!(ask_tcp(&cluster.a, &format!("{to}:80")), format!("{who} {A}"));
        assert_eq!(ask_udp(&cluster.a, &format!("{to}:80"), 10), format!("{who} {A} 10"));
        assert_eq!(ping(&cluster.a, to), format!("type 0 from {to}"));
    }
    assert!(ask_tcp(&cluster.rig.server_ns, &a).starts_with("A "));
    assert!(ask_udp(&cluster.rig.server_ns, &a, 10).starts_with("A "));
    assert_eq!(ask_tcp(&cluster.a, &a), format!("A {A}"), "itself");
    // An error about a datagram of its own comes back.
    assert_eq!(ask_udp(&cluster.a, &format!("{B}:9"), 10), REFUSED);
    // Nobody else is isolated, and nobody else pays.
    assert_eq!(ask_tcp(&cluster.rig.client_ns, &format!("{B}:80")), format!("B {OUTSIDE}"));
    assert_eq!(cluster.links().len(), 2, "{:?}", cluster.links());
    let counters = cluster.policies.counters().unwrap();
    assert!(counters[PolicyStat::IngressDropped as usize] >= 6, "{counters:?}");
    assert!(counters[PolicyStat::EgressAllowed as usize] >= 6, "{counters:?}");
    assert_eq!(counters[PolicyStat::EgressDropped as usize], 0);

    // Policies add up.
    cluster.set(&[deny_ingress(), from_b(json!([{"port": "web"}]))]);
    assert_eq!(ask_tcp(&cluster.b, &a), format!("A {B}"));
    assert_eq!(ask_tcp(&cluster.b, &port81), SILENCE);
    assert_eq!(ask_udp(&cluster.b, &a, 10), SILENCE);
    assert_eq!(ping(&cluster.b, A), SILENCE);
    assert_eq!(ask_tcp(&cluster.rig.client_ns, &a), SILENCE);
    cluster.set(&[from_b(json!([{"port": 80, "endPort": 81}, {"protocol": "UDP"}]))]);
    assert_eq!(ask_tcp(&cluster.b, &port81), format!("A {B}"));
    assert_eq!(ask_udp(&cluster.b, &a, 10), format!("A {B} 10"));
    // A closed port's own answer tells that it was reached.
    assert_eq!(ask_udp(&cluster.b, &format!("{A}:9"), 10), REFUSED);
    assert_eq!(ask_tcp(&cluster.b, &format!("{A}:82")), SILENCE);
    cluster.set(&[from_b(json!([]))]);
    assert_eq!(ping(&cluster.b, A), format!("type 0 from {A}"));

    cluster.set(&[]);
    assert_eq!(ask_tcp(&cluster.rig.client_ns, &a), format!("A {OUTSIDE}"));
    assert_eq!(ping(&cluster.rig.client_ns, A), format!("type 0 from {A}"));
    assert!(cluster.links().is_empty(), "{:?}", cluster.links());
}

#[test]
fn an_isolated_pod_reaches_only_what_it_may() {
    let Some(mut cluster) = Cluster::new() else { return };
    let egress = |rules: Value| {
        policy("out", json!({"podSelector": of_a(), "policyTypes": ["Egress"], "egress": rules}))
    };
    cluster.set(&[egress(json!([]))]);
    assert_eq!(ask_tcp(&cluster.a, &format!("{B}:80")), SILENCE);
    assert_eq!(ask_udp(&cluster.a, &format!("{OUTSIDE}:80"), 10), SILENCE);
    assert_eq!(ping(&cluster.a, B), SILENCE);
    // Who calls it is answered, errors included.
    assert_eq!(ask_tcp(&cluster.b, &format!("{A}:80")), format!("A {B}"));
    assert_eq!(ask_udp(&cluster.b, &format!("{A}:80"), 10), format!("A {B} 10"));
    assert_eq!(ask_udp(&cluster.b, &format!("{A}:9"), 10), REFUSED);
    assert_eq!(ping(&cluster.b, A), format!("type 0 from {A}"));

    let block = json!({"cidr": "10.199.0.0/24", "except": ["10.199.0.8/29"]});
    cluster.set(&[egress(json!([{"to": [{"ipBlock": block}]}]))]);
    assert_eq!(ask_tcp(&cluster.a, &format!("{OUTSIDE}:80")), format!("OUT {A}"));
    assert_eq!(ask_udp(&cluster.a, &format!("{OTHER}:80"), 10), SILENCE);
    assert_eq!(ask_udp(&cluster.a, &format!("{B}:80"), 10), SILENCE);

    // The port's name is the destination's.
    cluster.set(&[egress(json!([{"to": [{"podSelector": {}}], "ports": [{"port": "web"}]}]))]);
    assert_eq!(ask_tcp(&cluster.a, &format!("{B}:80")), format!("B {A}"));
    assert_eq!(ask_tcp(&cluster.a, &format!("{B}:81")), SILENCE);
    assert_eq!(ask_udp(&cluster.a, &format!("{B}:80"), 10), SILENCE);
}

#[test]
fn ipv6() {
    let Some(mut cluster) = Cluster::new() else { return };
    let (a, b) = ("[fd44::5]:80", "[fd44::6]:80");
    assert_eq!(ask_tcp(&cluster.b, a), "A fd44::6");
    // A block of all IPv4 is none of IPv6.
    let all4 = policy(
        "all4",
        json!({"podSelector": of_a(), "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}),
    );
    cluster.set(&[all4]);
    assert_eq!(ask_udp(&cluster.b, a, 10), SILENCE);
    assert_eq!(ping(&cluster.b, "fd44::5"), SILENCE);
    assert_eq!(ask_udp(&cluster.b, &format!("{A}:80"), 10), format!("A {B} 10"));
    assert_eq!(ask_tcp(&cluster.a, b), "B fd44::5");
    assert_eq!(ask_udp(&cluster.a, "[fd44::6]:9", 10), REFUSED);
    let all6 = policy(
        "all6",
        json!({"podSelector": of_a(), "ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}}]}]}),
    );
    cluster.set(&[all6]);
    assert_eq!(ask_tcp(&cluster.b, a), "A fd44::6");
    assert_eq!(ping(&cluster.b, "fd44::5"), "type 129 from fd44::5");
    assert_eq!(ask_udp(&cluster.b, &format!("{A}:80"), 10), SILENCE);
    // Fragments are of the flow that their first is of.
    assert_eq!(ask_udp(&cluster.b, a, 4000), "A fd44::6 4000");
}

/// A connection that answers each byte, between two pods.
fn connection(cluster: &Cluster) -> TcpStream {
    let listener = within(&cluster.a, || TcpListener::bind((A, 7)).unwrap());
    let stream = within(&cluster.b, || TcpStream::connect((A, 7)).unwrap());
    let (mut accepted, _) = listener.accept().unwrap();
    std::thread::spawn(move || {
        let mut byte = [0];
        while accepted.read_exact(&mut byte).is_ok() && accepted.write_all(&byte).is_ok() {}
    });
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    stream
}

fn echoes(mut stream: &TcpStream) -> bool {
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
}

#[test]
fn flows_are_judged_again_when_policies_change() {
    let Some(mut cluster) = Cluster::new() else { return };
    let both = policy("both", json!({"podSelector": of_a(), "policyTypes": ["Ingress", "Egress"]}));
    let open = [both.clone(), from_b(json!([{"port": 7}, {"port": 80, "protocol": "UDP"}]))];
    cluster.set(&open);
    let stream = connection(&cluster);
    let socket = within(&cluster.b, || udp_socket(&format!("{A}:80")).unwrap());
    let speaks = |socket: &std::net::UdpSocket| exchange(socket, 10) == format!("A {B} 10");
    assert!(echoes(&stream) && speaks(&socket));
    // A change that leaves the flows allowed leaves them alone.
    cluster.set(&[
        open[0].clone(),
        open[1].clone(),
        policy("more", json!({"podSelector": of_a(), "ingress": [{"ports": [{"port": 99}]}]})),
    ]);
    assert!(echoes(&stream) && speaks(&socket));
    // Unlike one that does not.
    cluster.set(&[both]);
    assert!(!echoes(&stream) && !speaks(&socket));
    // Isolation that ends lets the connection go on where it was.
    cluster.set(&[]);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!((&stream).read_exact(&mut [0]).is_ok() && echoes(&stream));
    // A connection older than its pod's policies, which allow it.
    cluster.set(&open);
    assert!(echoes(&stream) && speaks(&socket));
}

#[test]
fn policies_hold_while_agents_come_and_go() {
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.set(&[deny_ingress(), from_b(json!([{"port": 80}]))]);
    let stream = within(&cluster.b, || TcpStream::connect((A, 80)));
    assert!(stream.is_ok());
    let check = |cluster: &Cluster| {
        assert_eq!(ask_tcp(&cluster.b, &format!("{A}:80")), format!("A {B}"));
        assert_eq!(ask_udp(&cluster.rig.client_ns, &format!("{A}:80"), 10), SILENCE);
    };
    let links = cluster.links();
    for _ in 0..3 {
        cluster.restart();
        // Before anything is known of the cluster.
        check(&cluster);
        assert_eq!(cluster.links(), links);
    }
    cluster.set(&[deny_ingress()]);
    assert_eq!(ask_tcp(&cluster.b, &format!("{A}:80")), SILENCE);
    cluster.restart();
    // What the new agent knows, it changes.
    cluster.set(&[from_b(json!([]))]);
    check(&cluster);
    std::thread::sleep(Duration::from_millis(1100));
    assert!(!cluster.policies.collect().unwrap());
    check(&cluster);
    // A device that is gone takes its programs with it, and leaves no pin behind.
    xebec_rig::run(&format!("ip -n {} link del xeba", cluster.rig.server_ns.name));
    cluster.restart();
    cluster.set(&[]);
    assert!(cluster.links().is_empty() && cluster.policies.devices().is_empty());
}

#[test]
fn no_connection_fails_while_other_rules_change() {
    let Some(mut cluster) = Cluster::new() else { return };
    let block = |cidr: &str, except: &[&str]| {
        policy(
            "block",
            json!({"podSelector": of_a(), "ingress": [{"from": [{"ipBlock": {"cidr": cidr, "except": except}}]}]}),
        )
    };
    // Each of them lets b in, by another rule, and not one of them lets the other machine in.
    let variants = [
        vec![deny_ingress(), from_b(json!([{"port": 80}]))],
        vec![block("10.0.0.0/8", &["10.199.0.0/16"])],
        vec![block("0.0.0.0/0", &["10.199.0.0/24"]), from_b(json!([]))],
        vec![policy(
            "b",
            json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]}),
        )],
    ];
    cluster.set(&variants[0]);
    let (stop, path) = (AtomicBool::new(false), cluster.b.path());
    let outside = cluster.rig.client_ns.path();
    std::thread::scope(|scope| {
        let allowed = scope.spawn(|| {
            xebec_rig::enter(&path);
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                answers.push(say(&format!("{A}:80")).map_err(|e| e.to_string()));
            }
            answers
        });
        let denied = scope.spawn(|| {
            xebec_rig::enter(&outside);
            let mut let_in = 0;
            while !stop.load(Ordering::Relaxed) {
                let to = format!("{A}:80").parse().unwrap();
                let_in += usize::from(TcpStream::connect_timeout(&to, Duration::from_millis(5)).is_ok());
            }
            let_in
        });
        for round in 0..400 {
            cluster.set(&variants[round % variants.len()]);
            std::thread::sleep(Duration::from_millis(3));
            if round % 100 == 50 {
                cluster.restart();
            }
        }
        stop.store(true, Ordering::Relaxed);
        let answers = allowed.join().unwrap();
        let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), failed.first());
        assert!(answers.len() > 100, "{}", answers.len());
        assert_eq!(denied.join().unwrap(), 0);
    });
}
