//! From pod to pod past the node's IP stack: what the servers see, and what the node's own counters of forwarded packets
//! say.

use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};
use serde_json::json;
use xebec_abi::flow::PacketStat;
use xebec_dataplane::addresses::Notices;
use xebec_dataplane::pods::{LocalPod, PodPaths};
use xebec_rig::ask::{REFUSED, SILENCE, ask_tcp, ask_udp, ping};
use xebec_rig::netns::unique;
use xebec_rig::objects::{service, slice};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, enter, run};

use crate::packet::frame::{echo, tcp, udp};
use crate::packet::net::Outside;
use crate::policy::net::{A, B, Cluster, OUTSIDE, of_a, policy};

const A6: &str = "fd44::5";
const B6: &str = "fd44::6";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Packets that the node's stack has forwarded, of both families.
fn forwarded() -> u64 {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let v4 = read("snmp");
    let rows: Vec<Vec<&str>> =
        v4.lines().filter(|line| line.starts_with("Ip:")).map(|line| line.split(' ').collect()).collect();
    let at = rows[0].iter().position(|name| *name == "ForwDatagrams").unwrap();
    let v6 = read("snmp6");
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")).unwrap();
    rows[1][at].parse::<u64>().unwrap() + v6.trim().parse::<u64>().unwrap()
}

/// Ways to and from both pods.
pub fn paths(cluster: &Cluster) -> PodPaths {
    let mut paths = PodPaths::install(&cluster.rig.options).unwrap();
    for (pod, addresses) in [("a", [A, A6]), ("b", [B, B6])] {
        let pod = LocalPod { device: cluster.device(pod), mac: MAC, node_mac: NODE_MAC };
        for address in addresses {
            paths.add(address.parse().unwrap(), &pod).unwrap();
        }
    }
    paths
}

#[test]
fn whoever_follows_devices_is_told_that_one_is_gone() {
    if let Err(reason) = xebec_rig::object() {
        return eprintln!("SKIPPED: {reason}");
    }
    let node = NetNs::new(unique());
    enter(&node.path());
    node.ip("link add gone type veth peer name other");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let notices = Notices::of_devices().unwrap();
        let within = |wait| tokio::time::timeout(Duration::from_millis(wait), notices.changed());
        assert!(within(50).await.is_err(), "nothing changed");
        node.ip("link delete gone");
        within(5000).await.unwrap().unwrap();
    });
}

/// Everything that b can ask a, answered as without any path; how many packets the node forwarded meanwhile.
fn talk(cluster: &Cluster) -> u64 {
    let before = forwarded();
    for (a, b) in [(A.to_owned(), B.to_owned()), (format!("[{A6}]"), format!("[{B6}]"))] {
        let from = b.trim_matches(['[', ']']);
        assert_eq!(ask_tcp(&cluster.b, &format!("{a}:80")), format!("A {from}"));
        assert_eq!(ask_tcp(&cluster.a, &format!("{b}:81")), format!("B {}", a.trim_matches(['[', ']'])));
        assert_eq!(ask_udp(&cluster.b, &format!("{a}:9"), 10), REFUSED);
        assert_eq!(
            ping(&cluster.b, a.trim_matches(['[', ']'])),
            format!("type {} from {}", if a == A { 0 } else { 129 }, a.trim_matches(['[', ']']))
        );
    }
    assert_eq!(ask_udp(&cluster.b, &format!("{A}:80"), 4000), format!("A {B} 4000"), "in fragments");
    forwarded() - before
}

#[test]
fn pods_of_a_node_reach_each_other_past_its_stack() {
    let Some(mut cluster) = Cluster::new() else { return };
    assert!(talk(&cluster) > 30, "the node forwards without paths");
    let mut paths = paths(&cluster);
    assert_eq!(talk(&cluster), 0);
    // Others have the way they had.
    let before = forwarded();
    assert_eq!(ask_tcp(&cluster.rig.client_ns, &format!("{A}:80")), format!("A {OUTSIDE}"));
    assert!(forwarded() > before);

    // A selected pod is policies', in both directions.
    cluster.set(&[policy("deny", json!({"podSelector": of_a(), "policyTypes": ["Ingress"]}))]);
    assert_eq!(ask_tcp(&cluster.b, &format!("{A}:80")), SILENCE);
    let before = forwarded();
    assert_eq!(ask_tcp(&cluster.a, &format!("{B}:80")), format!("B {A}"));
    assert!(forwarded() >= before + 6, "both directions: {}", forwarded() - before);
    cluster.set(&[]);
    assert_eq!(talk(&cluster), 0);

    // Another agent takes over, while packets take the same way.
    drop(paths);
    assert_eq!(talk(&cluster), 0);
    paths = PodPaths::install(&cluster.rig.options).unwrap();
    assert_eq!((talk(&cluster), paths.clean().unwrap()), (0, 0));

    // A pod that is gone has no way, and its address is the next one's to have.
    run(&format!("ip -n {} link del xebb", cluster.rig.server_ns.name));
    assert_eq!(paths.clean().unwrap(), 2);
    assert_eq!(
        cluster.links().into_keys().collect::<Vec<_>>(),
        [format!("pod_path-{}", cluster.device("a"))]
    );
    assert_eq!(paths.remove_all().unwrap(), 2);
    assert!(cluster.links().is_empty());
}

#[test]
fn a_packet_is_what_the_kernel_would_have_made_of_it() {
    let Some(cluster) = Cluster::new() else { return };
    let mut paths = paths(&cluster);
    // Test runs are on this device, which is to be pod a's.
    let own = LocalPod { device: 1, mac: MAC, node_mac: NODE_MAC };
    for address in [A, A6] {
        paths.add(address.parse().unwrap(), &own).unwrap();
    }
    const PASS: u32 = u32::MAX;
    const REDIRECT: u32 = 7;
    let arrived = |src: &str, dst: &str| {
        let mut packet = echo(src, dst, false, 62);
        packet[..12].copy_from_slice(&[MAC, NODE_MAC].concat());
        packet
    };
    let same = |packet: Vec<u8>| (packet.clone(), PASS, packet);
    let rows = [
        ("to the other pod", (echo(A, B, false, 63), REDIRECT, arrived(A, B))),
        ("IPv6", (echo(A6, B6, false, 63), REDIRECT, arrived(A6, B6))),
        ("no hop left: the kernel says so", same(echo(A, B, false, 1))),
        ("no hop left, IPv6", same(echo(A6, B6, false, 1))),
        ("from an address that is not the pod's", same(echo(B, A, false, 63))),
        ("from an address that is nobody's", same(udp("10.244.0.77:1", &format!("{B}:2")))),
        ("to itself", same(tcp(&format!("{A}:1"), &format!("{A}:2"), 2))),
        ("to the node", same(udp(&format!("{A}:1"), "10.199.0.2:2"))),
        ("to outside", same(tcp(&format!("{A}:1"), &format!("{OUTSIDE}:2"), 2))),
        ("not IP", same([&[0; 12][..], &[8, 6], &[0; 28]].concat())),
    ];
    for (name, (packet, verdict, expected)) in rows {
        let mut out = vec![0; packet.len() + 64];
        let options =
            TestRunOptions { data_in: Some(&packet), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = paths.program().unwrap().test_run(options).unwrap();
        assert_eq!(result.return_value, verdict, "{name}");
        assert_eq!(&out[..packet.len()], expected, "{name}");
    }
}

#[test]
fn calls_from_outside_and_their_answers_pass_the_stack_by() {
    let Some(mut outside) = Outside::new() else { return };
    let ports = json!([
        {"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080},
        {"name": "udp", "port": 80, "protocol": "UDP", "nodePort": 30080},
    ]);
    let spec = json!({"type": "NodePort"});
    let endpoints = |name: &str, address: &str| {
        ["TCP", "UDP"].map(|protocol| slice(name, 8080, protocol, &[&format!("{address}@node-a")]))
    };
    outside.agent.sync(
        vec![
            service("a", &["10.196.77.1"], ports.clone(), spec.clone()),
            service("six", &["fd96::77"], ports, spec),
        ],
        [endpoints("a", "10.244.0.5"), endpoints("six", "fd44::5")].concat(),
    );
    let talk = |outside: &Outside| {
        let before = forwarded();
        for (to, from) in [
            ("10.199.0.2:30080", "10.199.0.1"),
            ("[fd99::2]:30080", "fd99::1"),
            ("10.196.77.1:80", "10.199.0.1"),
        ] {
            assert_eq!(ask_tcp(&outside.rig.client_ns, to), format!("POD {from}"));
            assert_eq!(ask_udp(&outside.rig.client_ns, to, 10), format!("POD {from} 10"));
        }
        forwarded() - before
    };
    assert!(talk(&outside) > 20);
    let mut paths = PodPaths::install(&outside.rig.options).unwrap();
    let ((index, node_mac), (_, mac)) = (outside.rig.server_ns.device("xebpod"), outside.pod.device("eth0"));
    for address in [A, A6] {
        paths.add(address.parse().unwrap(), &LocalPod { device: index, mac, node_mac }).unwrap();
    }
    let flows = outside.count(PacketStat::Established);
    assert_eq!(talk(&outside), 0);
    assert_eq!(outside.count(PacketStat::Established) - flows, 6);
    // Fragments, a closed port's answer, and what the pod begins itself are the kernel's.
    let before = forwarded();
    assert_eq!(ask_udp(&outside.rig.client_ns, "10.199.0.2:30080", 4000), "POD 10.199.0.1 4000");
    assert!(forwarded() > before);
    for slice in endpoints("a", "10.244.0.5").map(|mut slice| {
        slice.ports.iter_mut().flatten().for_each(|port| port.port = Some(9));
        slice
    }) {
        outside.agent.set_slice(slice);
    }
    assert_eq!(ask_tcp(&outside.rig.client_ns, "10.199.0.2:30080"), REFUSED);
    assert_eq!(ask_udp(&outside.rig.client_ns, "10.199.0.2:30080", 10), REFUSED);
    run(&format!("ip -n {} route add 10.244.0.0/24 via 10.199.0.2", outside.rig.client_ns.name));
    let _server = Server::seeing_udp(&outside.rig.client_ns, "10.199.0.1:7070", "OUT");
    assert_eq!(ask_udp(&outside.pod, "10.199.0.1:7070", 10), "OUT 10.244.0.5 10");
    assert_eq!(outside.kernel_checksum_errors(), 0);
}
