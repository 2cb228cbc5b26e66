//! The packet programs on single packets (BPF_PROG_TEST_RUN): what goes in, the verdict, what comes out, what was
//! counted. Every expected packet is built from nothing, with whole checksums: the programs' differences must agree.

use aya::programs::{TestRun, TestRunOptions};
use serde_json::json;
use xebec_abi::flow::PacketStat::{
    self, Denied, Echoes, Errors, Established, Exhausted, Flows, Rejected, Translated,
};
use xebec_dataplane::maps::tracked::DeviceAddresses;

use super::frame::{back, echo, frame, tcp, tcp_after, udp, udp_ip, unreachable};
use super::net::Outside;
use super::{VIP, node_port, ports, slices};
use xebec_rig::objects::{Agent, service, slice, tcp_udp};

pub const NEXT: u32 = u32::MAX;
pub const DROP: u32 = 2;
pub const BACK: u32 = 7;

/// The quoted transport checksum stays as its sender got it: nobody can check it.
fn quoting(mut quoted: Vec<u8>, received: &[u8]) -> Vec<u8> {
    quoted[26..28].copy_from_slice(&received[26..28]);
    quoted
}

/// A packet, and what is to become of it.
pub struct Row {
    name: &'static str,
    program: &'static str,
    packet: Vec<u8>,
    verdict: u32,
    out: Vec<u8>,
    counts: &'static [PacketStat],
}

pub fn row(
    name: &'static str,
    program: &'static str,
    (packet, out): (Vec<u8>, Vec<u8>),
    verdict: u32,
    counts: &'static [PacketStat],
) -> Row {
    Row { name, program, packet, verdict, out, counts }
}

/// Runs each row's program on its packet, one after the other, and looks at all that is counted.
pub fn check(agent: &mut Agent, rows: impl IntoIterator<Item = Row>) {
    let counters = |agent: &mut Agent| agent.applier.maps().tracked().counters().unwrap();
    for Row { name, program, packet, verdict, out, counts } in rows {
        let before = counters(agent);
        assert_eq!(run_at(agent, program, &packet), (verdict, out), "{name}");
        for (at, (before, after)) in before.iter().zip(counters(agent)).enumerate() {
            let wanted = u64::from(counts.iter().any(|c| *c as usize == at));
            assert_eq!(after - before, wanted, "{name}: counter {at}");
        }
    }
}

/// Addresses of the device that test runs are on.
fn own(addresses: &[&str]) -> std::collections::HashMap<u32, DeviceAddresses> {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    std::collections::HashMap::from([(1, DeviceAddresses { name: "lo".to_owned(), addresses })])
}

/// The port that a frame comes from.
fn source_port(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]])
}

/// Runs a program on a packet: the verdict, and what became of the packet.
pub fn run(outside: &mut Outside, program: &str, packet: &[u8]) -> (u32, Vec<u8>) {
    run_at(&mut outside.agent, program, packet)
}

/// Runs a node's program on a frame: its verdict, and what became of the frame.
pub fn run_at(agent: &mut Agent, program: &str, packet: &[u8]) -> (u32, Vec<u8>) {
    let mut out = vec![0; packet.len() + 64];
    let options = TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), ..TestRunOptions::new() };
    let result = agent.devices.program(program).unwrap().test_run(options);
    let result = result.unwrap_or_else(|e| panic!("{} bytes: {}", packet.len(), xebec_program::chain(&e)));
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

#[test]
fn the_table() {
    let Some(mut outside) = Outside::new() else { return };
    let mut guarded = service(
        "guarded",
        &["10.196.77.3"],
        tcp_udp(80),
        node_port(json!({"loadBalancerSourceRanges": ["192.0.2.0/24"]})),
    );
    guarded.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}})).unwrap();
    let mut all = slices(&["10.244.0.5@node-a"]);
    all.extend([
        slice("six", 8080, "UDP", &["fd44::5@node-a"]),
        slice("far", 8080, "UDP", &["10.244.1.5@node-b"]),
    ]);
    outside.agent.sync(
        vec![
            service("a", &[VIP], ports(), node_port(json!({}))),
            service("six", &["fd96::77"], tcp_udp(80), json!({})),
            service("own", &["10.196.77.5"], tcp_udp(80), json!({"externalIPs": ["10.199.0.2"]})),
            service("far", &["10.196.77.2"], tcp_udp(80), json!({})),
            service("empty", &["10.196.77.4"], tcp_udp(80), json!({})),
            guarded,
        ],
        all,
    );
    let (c, pod, vip) = ("10.199.0.1:5000", "10.244.0.5:8080", "10.196.77.1:80");
    let same = |p: Vec<u8>| (p.clone(), p);
    let (i, e) = ("tcx_ingress", "tcx_egress");
    let bare = |dst| frame(udp_ip("10.199.0.1:5001", dst, None));
    let received = udp_ip(c, pod, Some(6));
    let rows = [
        row("no service", i, same(udp(c, "10.199.0.2:53")), NEXT, &[]),
        row("cut off before its ports end", i, same(udp(c, vip)[..36].to_vec()), NEXT, &[]),
        row("another protocol", i, same([vec![0; 12], vec![8, 6], vec![0; 28]].concat()), NEXT, &[]),
        row("a datagram", i, (udp(c, vip), udp(c, pod)), NEXT, &[Flows, Translated]),
        row("the next one", i, (udp(c, vip), udp(c, pod)), NEXT, &[Translated]),
        row("its answer", e, (udp(pod, c), udp(vip, c)), NEXT, &[Established, Translated]),
        row("the next answer", e, (udp(pod, c), udp(vip, c)), NEXT, &[Translated]),
        row("an answer to nobody", e, same(udp(pod, "10.199.0.1:5009")), NEXT, &[]),
        row("no checksum", i, (bare(vip), bare(pod)), NEXT, &[Flows, Translated]),
        row("a node port", i, (tcp(c, "10.199.0.2:30080", 2), tcp(c, pod, 2)), NEXT, &[Flows, Translated]),
        row(
            "an error out",
            e,
            (
                unreachable("10.244.0.5", "10.199.0.1", &received),
                unreachable("10.196.77.1", "10.199.0.1", &quoting(udp_ip(c, vip, Some(6)), &received)),
            ),
            NEXT,
            &[Errors],
        ),
        row("a stranger at a guarded address", i, same(udp(c, "198.51.100.8:80")), DROP, &[Denied]),
        row(
            "no endpoints",
            i,
            (udp(c, "10.196.77.4:80"), udp(c, "127.0.0.1:61000")),
            NEXT,
            &[Rejected, Translated],
        ),
        row(
            "IPv6",
            i,
            (udp("[fd99::1]:5000", "[fd96::77]:80"), udp("[fd99::1]:5000", "[fd44::5]:8080")),
            NEXT,
            &[Flows, Translated],
        ),
        row(
            "a port that the VIP does not have",
            i,
            (udp("10.199.0.1:5002", "10.196.77.1:81"), udp("10.199.0.1:5002", "127.0.0.1:61000")),
            NEXT,
            &[Rejected, Translated],
        ),
        row(
            "ping of a VIP",
            i,
            (echo("10.199.0.1", "10.196.77.1", false, 3), back(echo("10.196.77.1", "10.199.0.1", true, 64))),
            BACK,
            &[Echoes],
        ),
        row(
            "ping of a VIP from this side",
            e,
            (
                echo("10.244.0.5", "198.51.100.8", false, 63),
                back(echo("198.51.100.8", "10.244.0.5", true, 64)),
            ),
            BACK,
            &[Echoes],
        ),
        row(
            "ping of a VIP, IPv6",
            i,
            (echo("fd99::1", "fd96::77", false, 3), back(echo("fd96::77", "fd99::1", true, 64))),
            BACK,
            &[Echoes],
        ),
        row("ping of the node", i, same(echo("10.199.0.1", "10.199.0.2", false, 64)), NEXT, &[]),
        row("ping of no VIP", i, same(echo("10.199.0.1", "10.196.77.99", false, 64)), NEXT, &[]),
        row("an echo reply", i, same(echo("10.199.0.1", "10.196.77.1", true, 64)), NEXT, &[]),
        row(
            "IPv6's answer",
            e,
            (udp("[fd44::5]:8080", "[fd99::1]:5000"), udp("[fd96::77]:80", "[fd99::1]:5000")),
            NEXT,
            &[Established, Translated],
        ),
        row(
            "to elsewhere",
            i,
            (udp(c, "10.196.77.2:80"), udp(c, "10.244.1.5:8080")),
            NEXT,
            &[Flows, Translated],
        ),
    ];
    outside.agent.applier.maps().tracked().set_devices(&own(&["127.0.0.1"])).unwrap();
    check(&mut outside.agent, rows);
    // Out to an endpoint elsewhere: the device's address, and a port of the block that the answer comes back to.
    let packet = udp(c, "10.244.1.5:8080");
    outside.agent.applier.maps().tracked().set_devices(&own(&[])).unwrap();
    assert_eq!(run(&mut outside, e, &packet), (DROP, packet.clone()), "a device without an address");
    assert_eq!(outside.count(Exhausted), 1);
    outside.agent.applier.maps().tracked().set_devices(&own(&["10.198.0.2"])).unwrap();
    let (verdict, bytes) = run(&mut outside, e, &packet);
    let port = source_port(&bytes);
    assert!((1024..30_000).contains(&port) || port > 61_000, "{port}");
    let node = format!("10.198.0.2:{port}");
    assert_eq!((verdict, bytes), (NEXT, udp(&node, "10.244.1.5:8080")));
    let back = run(&mut outside, i, &udp("10.244.1.5:8080", &node));
    assert_eq!(back, (NEXT, udp("10.244.1.5:8080", c)));
    assert_eq!(run(&mut outside, e, &back.1), (NEXT, udp("10.196.77.2:80", c)));
    // Quiet for long enough, everything is collected, answered or not.
    let tracked = outside.agent.applier.maps().tracked();
    assert!(!tracked.established().unwrap().is_empty());
    let (removed, restored) = tracked.collect(u64::MAX, |_, _| false).unwrap();
    assert!(
        removed >= 10 && restored == 0 && tracked.established().unwrap().is_empty(),
        "{removed} {restored}"
    );
}

#[test]
fn a_client_port_that_is_taken_inside_becomes_another() {
    let Some(mut outside) = Outside::new() else { return };
    outside
        .agent
        .sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.244.0.5@node-a"]));
    let (client, pod) = ("10.199.0.1:5000", "10.244.0.5:8080");
    let (vip, node) = ("10.196.77.1:80", "10.199.0.2:30080");
    assert_eq!(run(&mut outside, "tcx_ingress", &udp(client, vip)), (NEXT, udp(client, pod)));
    // The same client port at another address of the same endpoint would be the same flow to the pod.
    let (verdict, bytes) = run(&mut outside, "tcx_ingress", &udp(client, node));
    let inside = format!("10.199.0.1:{}", source_port(&bytes));
    assert!(inside != client && source_port(&bytes) >= 1024, "{inside}");
    assert_eq!((verdict, bytes), (NEXT, udp(&inside, pod)));
    assert_eq!(
        run(&mut outside, "tcx_ingress", &udp(client, node)),
        (NEXT, udp(&inside, pod)),
        "it keeps it"
    );
    // Each answer comes from the address that was asked, to the port that asked.
    assert_eq!(run(&mut outside, "tcx_egress", &udp(pod, client)), (NEXT, udp(vip, client)));
    assert_eq!(run(&mut outside, "tcx_egress", &udp(pod, &inside)), (NEXT, udp(node, client)));
}

#[test]
fn source_ports_run_out_and_come_back() {
    let Some(mut outside) = Outside::new() else { return };
    outside
        .agent
        .sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.244.1.5@node-b"]));
    outside.agent.applier.maps().tracked().set_devices(&own(&["10.198.0.2"])).unwrap();
    let far = "10.244.1.5:8080";
    // A flow from each client port, as it leaves; the verdict and the packet.
    let leave = |outside: &mut Outside, port: u16| {
        let client = format!("10.199.0.1:{port}");
        let inside = run(outside, "tcx_ingress", &udp(&client, "10.196.77.1:80"));
        assert_eq!(inside, (NEXT, udp(&client, far)));
        run(outside, "tcx_egress", &inside.1)
    };
    let first = leave(&mut outside, 2000);
    let mut taken = std::collections::BTreeSet::from([source_port(&first.1)]);
    // Answered flows are not pushed out by new ones.
    let answered = |outside: &mut Outside, bytes: &[u8]| {
        let (_, back) = run(outside, "tcx_ingress", &udp(far, &format!("10.198.0.2:{}", source_port(bytes))));
        run(outside, "tcx_egress", &back);
    };
    answered(&mut outside, &first.1);
    let refused = (2001..50_000)
        .find(|port| {
            let (verdict, bytes) = leave(&mut outside, *port);
            assert!(verdict == DROP || taken.insert(source_port(&bytes)), "a port was given twice");
            if verdict != DROP {
                answered(&mut outside, &bytes);
            }
            verdict == DROP
        })
        .expect("the block has an end");
    // Ports are tried at random: the first refusal comes when few are left.
    assert!(taken.len() > 25_000 && taken.len() <= 33_511, "{}", taken.len());
    assert_eq!(outside.count(Exhausted), 1);
    // Who has a port goes on, there and back.
    assert_eq!(leave(&mut outside, 2000), first);
    let back = run(&mut outside, "tcx_ingress", &udp(far, &format!("10.198.0.2:{}", source_port(&first.1))));
    assert_eq!(back, (NEXT, udp(far, "10.199.0.1:2000")));
    // The others fall silent, and the one that was refused gets a port.
    outside.agent.applier.maps().tracked().collect(u64::MAX, |_, _| false).unwrap();
    let (verdict, bytes) = leave(&mut outside, refused);
    let source = format!("10.198.0.2:{}", source_port(&bytes));
    assert_eq!((verdict, bytes), (NEXT, udp(&source, far)));
    assert_eq!(outside.count(Exhausted), 1);
}

#[test]
fn the_port_of_a_connection_that_ended_is_given_again_when_none_is_free() {
    let Some(mut outside) = Outside::new() else { return };
    outside.agent.sync(
        vec![service("far", &["10.196.77.2"], tcp_udp(80), json!({}))],
        vec![slice("far", 8080, "TCP", &["10.244.1.5@node-b"])],
    );
    outside.agent.applier.maps().tracked().set_devices(&own(&["10.198.0.2"])).unwrap();
    let (vip, far) = ("10.196.77.2:80", "10.244.1.5:8080");
    const SYN: u8 = 2;
    const FIN: u8 = 0x11;
    // Calls from a port, is answered and acknowledges that; the port that the endpoint sees.
    let call = |outside: &mut Outside, port: u16| {
        let client = format!("10.199.0.1:{port}");
        let (_, inside) = run(outside, "tcx_ingress", &tcp(&client, vip, SYN));
        let (verdict, out) = run(outside, "tcx_egress", &inside);
        if verdict == DROP {
            return None;
        }
        let node = format!("10.198.0.2:{}", source_port(&out));
        let (_, back) = run(outside, "tcx_ingress", &tcp(far, &node, 0x12));
        let answer = run(outside, "tcx_egress", &back);
        assert_eq!(answer, (NEXT, tcp(vip, &client, 0x12)), "{client}");
        run(outside, "tcx_ingress", &tcp_after(&client, vip, 0x10, 2));
        Some(source_port(&out))
    };
    let first = call(&mut outside, 1000).unwrap();
    let mut taken = vec![first];
    let refused = (1001..60_000).find(|port| match call(&mut outside, *port) {
        Some(port) => {
            taken.push(port);
            false
        }
        None => true,
    });
    assert_eq!(outside.count(Exhausted), 1, "open connections keep their ports");
    // All but the first end, from both ends; of the second only the endpoint is done. They may still have something to say
    // for a moment.
    for (client, port) in (1000..).zip(&taken).skip(1) {
        run(&mut outside, "tcx_ingress", &tcp(far, &format!("10.198.0.2:{port}"), FIN));
        if client != 1001 {
            run(&mut outside, "tcx_egress", &tcp(&format!("10.199.0.1:{client}"), far, FIN));
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for port in 60_000..62_500 {
        if let Some(given) = call(&mut outside, port) {
            assert!(given != first && given != taken[1], "an open connection's");
        }
    }
    // Where the one it found is of a client that has not ended, the client has to ask again.
    assert!(outside.count(Exhausted) < 6, "{}", outside.count(Exhausted));
    assert!(call(&mut outside, refused.unwrap()).is_some());
    let back = run(&mut outside, "tcx_ingress", &tcp(far, &format!("10.198.0.2:{first}"), 0x10));
    assert_eq!(back, (NEXT, tcp(far, "10.199.0.1:1000", 0x10)));
}
