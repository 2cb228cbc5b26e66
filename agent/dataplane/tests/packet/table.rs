//! The packet programs on single packets (BPF_PROG_TEST_RUN): what goes in, the verdict, what comes out, what was
//! counted. Every expected packet is built from nothing, with whole checksums: the programs' differences must agree.

use std::net::{IpAddr, SocketAddr};

use aya::programs::{TestRun, TestRunOptions};
use serde_json::json;
use xebec_abi::flow::PacketStat::{
    self, Denied, Errors, Established, Exhausted, Flows, Rejected, Translated,
};

use super::net::Outside;
use super::{VIP, node_port, ports, slices};
use crate::rig::objects::{service, slice, tcp_udp};

const NEXT: u32 = u32::MAX;
const DROP: u32 = 2;

fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let word = |c: &[u8]| u64::from(c[0]) << 8 | u64::from(*c.get(1).unwrap_or(&0));
    let mut total: u64 = bytes.chunks(2).map(word).sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// An IP packet; `at` is where in the payload its checksum goes, which covers the pseudo header unless it is ICMPv4's.
fn ip(src: IpAddr, dst: IpAddr, proto: u8, mut payload: Vec<u8>, at: Option<usize>) -> Vec<u8> {
    let (s, d) = (octets(src), octets(dst));
    if let Some(at) = at {
        let mut pseudo = [s.clone(), d.clone()].concat();
        pseudo.extend([0, proto]);
        pseudo.extend((payload.len() as u16).to_be_bytes());
        let value = if proto == 1 { sum(&[&payload]) } else { sum(&[&pseudo, &payload]) };
        payload[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    let mut header = if src.is_ipv4() {
        let mut h = vec![0x45, 0];
        h.extend((20 + payload.len() as u16).to_be_bytes());
        h.extend([0x12, 0x34, 0, 0, 63, proto, 0, 0]);
        h
    } else {
        let mut h = vec![0x60, 0, 0, 0];
        h.extend((payload.len() as u16).to_be_bytes());
        h.extend([proto, 63]);
        h
    };
    header.extend(s);
    header.extend(d);
    if src.is_ipv4() {
        let value = sum(&[&header]);
        header[10..12].copy_from_slice(&value.to_be_bytes());
    }
    header.extend(payload);
    header
}

fn frame(ip: Vec<u8>) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend(if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend(ip);
    frame
}

fn udp_ip(src: &str, dst: &str, at: Option<usize>) -> Vec<u8> {
    let (s, d): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut p = [s.port().to_be_bytes(), d.port().to_be_bytes(), 13_u16.to_be_bytes(), [0, 0]].concat();
    p.extend(b"hello");
    ip(s.ip(), d.ip(), 17, p, at)
}

fn udp(src: &str, dst: &str) -> Vec<u8> {
    frame(udp_ip(src, dst, Some(6)))
}

fn tcp(src: &str, dst: &str, flags: u8) -> Vec<u8> {
    let (s, d): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut p = [s.port().to_be_bytes(), d.port().to_be_bytes()].concat();
    p.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    frame(ip(s.ip(), d.ip(), 6, p, Some(16)))
}

/// Port unreachable, from and to, about a quoted packet.
fn unreachable(src: &str, dst: &str, quoted: &[u8]) -> Vec<u8> {
    let mut p = vec![3, 3, 0, 0, 0, 0, 0, 0];
    p.extend(&quoted[..28]);
    frame(ip(src.parse().unwrap(), dst.parse().unwrap(), 1, p, Some(2)))
}

/// The quoted transport checksum stays as its sender got it: nobody can check it.
fn quoting(mut quoted: Vec<u8>, received: &[u8]) -> Vec<u8> {
    quoted[26..28].copy_from_slice(&received[26..28]);
    quoted
}

struct Row {
    name: &'static str,
    program: &'static str,
    packet: Vec<u8>,
    verdict: u32,
    out: Vec<u8>,
    counts: &'static [PacketStat],
}

fn row(
    name: &'static str,
    program: &'static str,
    (packet, out): (Vec<u8>, Vec<u8>),
    verdict: u32,
    counts: &'static [PacketStat],
) -> Row {
    Row { name, program, packet, verdict, out, counts }
}

fn run(outside: &mut Outside, program: &str, packet: &[u8]) -> (u32, Vec<u8>) {
    let mut out = vec![0; packet.len() + 64];
    let options = TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), ..TestRunOptions::new() };
    let result = outside.agent.devices.program(program).unwrap().test_run(options);
    let result = result.unwrap_or_else(|e| panic!("{} bytes: {}", packet.len(), xebec_dataplane::chain(&e)));
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

#[test]
fn the_table() {
    let Some(mut outside) = Outside::new() else { return };
    let mut guarded = service(
        "guarded",
        &["10.96.77.3"],
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
            service("far", &["10.96.77.2"], tcp_udp(80), json!({})),
            service("empty", &["10.96.77.4"], tcp_udp(80), json!({})),
            guarded,
        ],
        all,
    );
    let (c, pod, vip) = ("10.99.0.1:5000", "10.244.0.5:8080", "10.96.77.1:80");
    let same = |p: Vec<u8>| (p.clone(), p);
    let (i, e) = ("tcx_ingress", "tcx_egress");
    let bare = |dst| frame(udp_ip("10.99.0.1:5001", dst, None));
    let received = udp_ip(c, pod, Some(6));
    let rows = [
        row("no service", i, same(udp(c, "10.99.0.2:53")), NEXT, &[]),
        row("cut off before its ports end", i, same(udp(c, vip)[..36].to_vec()), NEXT, &[]),
        row("another protocol", i, same([vec![0; 12], vec![8, 6], vec![0; 28]].concat()), NEXT, &[]),
        row("a datagram", i, (udp(c, vip), udp(c, pod)), NEXT, &[Flows, Translated]),
        row("the next one", i, (udp(c, vip), udp(c, pod)), NEXT, &[Translated]),
        row("its answer", e, (udp(pod, c), udp(vip, c)), NEXT, &[Established, Translated]),
        row("the next answer", e, (udp(pod, c), udp(vip, c)), NEXT, &[Translated]),
        row("an answer to nobody", e, same(udp(pod, "10.99.0.1:5009")), NEXT, &[]),
        row("no checksum", i, (bare(vip), bare(pod)), NEXT, &[Flows, Translated]),
        row("a node port", i, (tcp(c, "10.99.0.2:30080", 2), tcp(c, pod, 2)), NEXT, &[Flows, Translated]),
        row(
            "an error out",
            e,
            (
                unreachable("10.244.0.5", "10.99.0.1", &received),
                unreachable("10.96.77.1", "10.99.0.1", &quoting(udp_ip(c, vip, Some(6)), &received)),
            ),
            NEXT,
            &[Errors],
        ),
        row("a stranger at a guarded address", i, same(udp(c, "198.51.100.8:80")), DROP, &[Denied]),
        row(
            "no endpoints",
            i,
            (udp(c, "10.96.77.4:80"), udp(c, "127.0.0.1:61000")),
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
            "IPv6's answer",
            e,
            (udp("[fd44::5]:8080", "[fd99::1]:5000"), udp("[fd96::77]:80", "[fd99::1]:5000")),
            NEXT,
            &[Established, Translated],
        ),
        row(
            "to elsewhere",
            i,
            (udp(c, "10.96.77.2:80"), udp(c, "10.244.1.5:8080")),
            NEXT,
            &[Flows, Translated],
        ),
    ];
    // Test runs are on the loopback device.
    let own = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let device = xebec_dataplane::maps::tracked::DeviceAddresses { name: "lo".to_owned(), addresses };
        std::collections::HashMap::from([(1, device)])
    };
    outside.agent.applier.maps().tracked().set_devices(&own(&["127.0.0.1"])).unwrap();
    for Row { name, program, packet, verdict, out, counts } in rows {
        let before = outside.agent.applier.maps().tracked().counters().unwrap();
        let (found, bytes) = run(&mut outside, program, &packet);
        assert_eq!((found, &bytes), (verdict, &out), "{name}");
        let after = outside.agent.applier.maps().tracked().counters().unwrap();
        for (at, (before, after)) in before.iter().zip(after).enumerate() {
            let wanted = u64::from(counts.iter().any(|c| *c as usize == at));
            assert_eq!(after - before, wanted, "{name}: counter {at}");
        }
    }
    // Out to an endpoint elsewhere: the device's address, and a port of the block that the answer comes back to.
    let packet = udp(c, "10.244.1.5:8080");
    outside.agent.applier.maps().tracked().set_devices(&own(&[])).unwrap();
    assert_eq!(run(&mut outside, e, &packet), (DROP, packet.clone()), "a device without an address");
    assert_eq!(outside.count(Exhausted), 1);
    outside.agent.applier.maps().tracked().set_devices(&own(&["10.98.0.2"])).unwrap();
    let (verdict, bytes) = run(&mut outside, e, &packet);
    let port = u16::from_be_bytes([bytes[34], bytes[35]]);
    assert!(port > 61000, "{port}");
    let node = format!("10.98.0.2:{port}");
    assert_eq!((verdict, bytes), (NEXT, udp(&node, "10.244.1.5:8080")));
    let back = run(&mut outside, i, &udp("10.244.1.5:8080", &node));
    assert_eq!(back, (NEXT, udp("10.244.1.5:8080", c)));
    assert_eq!(run(&mut outside, e, &back.1), (NEXT, udp("10.96.77.2:80", c)));
    // Quiet for long enough, everything is collected, answered or not.
    let tracked = outside.agent.applier.maps().tracked();
    assert!(!tracked.established().unwrap().is_empty());
    let (removed, restored) = tracked.collect(u64::MAX).unwrap();
    assert!(
        removed >= 10 && restored == 0 && tracked.established().unwrap().is_empty(),
        "{removed} {restored}"
    );
}
