//! Both programs on single packets (BPF_PROG_TEST_RUN): what goes in, the verdict, what was counted.

use std::collections::BTreeMap;

use aya::programs::{TestRun, TestRunOptions};
use serde_json::json;
use xebec_abi::policy::PolicyStat::{self, EgressAllowed, EgressDropped, IngressAllowed, IngressDropped};
use xebec_dataplane::policy::Policies;
use xebec_policy::compile;

use super::net::{A, B, Cluster, of_a, policy, world};
use crate::packet::frame::{echo, frame, ip, tcp, udp, udp_ip, unreachable};

const PASS: u32 = u32::MAX;
const DROP: u32 = 2;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Runs a program on a packet that came in by a device, or (0) began on the node.
fn run(policies: &mut Policies, program: &str, came_by: u32, packet: &[u8]) -> u32 {
    // Of `struct __sk_buff`, in words: ingress_ifindex is the tenth, ifindex the eleventh.
    let mut context = [0_u32; 11];
    (context[9], context[10]) = (came_by, 1);
    let context: Vec<u8> = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut out = vec![0; packet.len() + 64];
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let result = policies.program(program).unwrap().test_run(options);
    let result = result.unwrap_or_else(|error| panic!("{}", xebec_program::chain(&error)));
    assert_eq!(&out[..packet.len()], packet, "a packet is never changed");
    result.return_value
}

#[test]
fn the_table() {
    let Some(mut cluster) = Cluster::new() else { return };
    // The device that test runs are on is pod a's.
    let devices = BTreeMap::from([(("x".to_owned(), "a".to_owned()), 1)]);
    let peer = json!([{"podSelector": {"matchLabels": {"app": "b"}}}]);
    let both = |ports: serde_json::Value, to: serde_json::Value| {
        let spec = json!({
            "podSelector": of_a(), "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peer, "ports": ports}], "egress": to,
        });
        compile(&world(&[policy("p", spec)]), |_| true)
    };
    let ports = || json!([{"port": 80, "endPort": 95}, {"port": 53, "protocol": "UDP"}, {"port": 9, "protocol": "SCTP"}]);
    let to = json!([{"to": [{"ipBlock": {"cidr": "10.199.0.0/16", "except": ["10.199.3.0/24"]}}]}]);
    cluster.policies.apply(&both(ports(), to.clone()), &devices).unwrap();
    let (i, e) = ("policy_ingress", "policy_egress");
    let (b, a) = (|port: u16| format!("{B}:{port}"), |port: u16| format!("{A}:{port}"));
    let far = |last: u8, port: u16| format!("10.199.{last}.7:{port}");
    let sctp = |from: &str, to: &str, port: u16| {
        let mut payload = [999_u16.to_be_bytes(), port.to_be_bytes()].concat();
        payload.extend([0; 16]);
        frame(ip(from.parse().unwrap(), to.parse().unwrap(), 132, payload, None))
    };
    let fragment = |later: bool, id: u8| {
        let mut packet = udp_ip(&b(5000), &a(53), None);
        (packet[5], packet[6], packet[7]) = (id, if later { 0 } else { 0x20 }, u8::from(later) * 2);
        frame(packet)
    };
    let ingress: &[PolicyStat] = &[IngressAllowed];
    let no_ingress: &[PolicyStat] = &[IngressDropped];
    let egress: &[PolicyStat] = &[EgressAllowed];
    let no_egress: &[PolicyStat] = &[EgressDropped];
    let known: &[PolicyStat] = &[];
    let rows = [
        ("first port of the range", i, 5, tcp(&b(5000), &a(80), SYN), PASS, ingress),
        ("of a flow that is known", i, 5, tcp(&b(5000), &a(80), ACK), PASS, known),
        ("its answer", e, 5, tcp(&a(80), &b(5000), SYN | ACK), PASS, known),
        ("a call back from its port", e, 5, tcp(&a(80), &b(5000), SYN), DROP, no_egress),
        ("last port of the range", i, 5, tcp(&b(5000), &a(95), SYN), PASS, ingress),
        ("below the range", i, 5, tcp(&b(5000), &a(79), SYN), DROP, no_ingress),
        ("above the range", i, 5, tcp(&b(5000), &a(96), SYN), DROP, no_ingress),
        ("another protocol's port", i, 5, udp(&b(5000), &a(80)), DROP, no_ingress),
        ("UDP", i, 5, udp(&b(5001), &a(53)), PASS, ingress),
        ("UDP's answer", e, 5, udp(&a(53), &b(5001)), PASS, known),
        ("UDP of its own", e, 5, udp(&a(54), &b(5001)), DROP, no_egress),
        ("SCTP", i, 5, sctp(B, A, 9), PASS, ingress),
        ("another port of SCTP", i, 5, sctp(B, A, 10), DROP, no_ingress),
        ("another client", i, 5, tcp("10.199.0.1:5000", &a(80), SYN), DROP, no_ingress),
        ("the node, to any port", i, 0, tcp("10.199.0.2:5000", &a(12), SYN), PASS, ingress),
        ("the answer to the node", e, 5, tcp(&a(12), "10.199.0.2:5000", SYN | ACK), PASS, known),
        ("a ping by ports", i, 5, echo(B, A, false, 64), DROP, no_ingress),
        ("the node's ping", i, 0, echo("10.199.0.2", A, false, 64), PASS, ingress),
        ("the reply to it", e, 5, echo(A, "10.199.0.2", true, 64), PASS, known),
        ("itself", i, 5, tcp(&a(5000), &a(12), SYN), PASS, known),
        ("out to the block", e, 5, tcp(&a(5000), &far(0, 443), SYN), PASS, egress),
        ("out to its hole", e, 5, tcp(&a(5000), &far(3, 443), SYN), DROP, no_egress),
        ("a ping out to the block", e, 5, echo(A, "10.199.0.7", false, 64), PASS, egress),
        ("its reply", i, 5, echo("10.199.0.7", A, true, 64), PASS, known),
        ("a ping with the same number", i, 5, echo("10.199.0.7", A, false, 64), DROP, no_ingress),
        ("a reply that nobody asked for", i, 5, echo("10.199.0.8", A, true, 64), DROP, no_ingress),
        ("older than the policy, either way", i, 5, tcp(&far(0, 22), &a(40_000), ACK), PASS, egress),
        ("older, allowed in no direction", i, 5, tcp(&far(3, 22), &a(40_000), ACK), DROP, no_ingress),
        (
            "an error about the pod's datagram",
            i,
            5,
            unreachable("10.199.0.7", A, &udp_ip(&a(54), &far(0, 99), Some(6))),
            DROP,
            no_ingress,
        ),
        ("the datagram", e, 5, udp(&a(54), &far(0, 99)), PASS, egress),
        (
            "and now the error, of a router on the way",
            i,
            5,
            unreachable("192.0.2.1", A, &udp_ip(&a(54), &far(0, 99), Some(6))),
            PASS,
            known,
        ),
        (
            "the pod's error about a datagram to it",
            e,
            5,
            unreachable(A, B, &udp_ip(&b(5001), &a(53), Some(6))),
            PASS,
            known,
        ),
        ("a later fragment alone", i, 5, fragment(true, 1), DROP, no_ingress),
        ("the first", i, 5, fragment(false, 2), PASS, ingress),
        ("and the later", i, 5, fragment(true, 2), PASS, known),
        ("IPv6, which no rule names", i, 5, udp("[fd99::1]:1", "[fd44::5]:53"), DROP, no_ingress),
        ("IPv6 of the pod that one names", i, 5, udp("[fd44::6]:1", "[fd44::5]:53"), PASS, ingress),
        ("no IP", i, 5, [vec![0; 12], vec![8, 6], vec![0; 46]].concat(), PASS, known),
    ];
    for (name, program, came_by, packet, verdict, counts) in rows {
        let before = cluster.policies.counters().unwrap();
        assert_eq!(run(&mut cluster.policies, program, came_by, &packet), verdict, "{name}");
        let after = cluster.policies.counters().unwrap();
        for (at, (before, after)) in before.iter().zip(after).enumerate() {
            let wanted = u64::from(counts.iter().any(|count| *count as usize == at));
            assert_eq!(after - before, wanted, "{name}: counter {at}");
        }
    }
    // After a change the next packet of a flow is judged in the direction it was begun, whichever way it goes.
    cluster.policies.apply(&both(json!([{"port": 80}]), to), &devices).unwrap();
    for (name, program, packet, verdict) in [
        ("still allowed, the answer first", e, tcp(&a(80), &b(5000), ACK), PASS),
        ("no more allowed, the answer first", e, udp(&a(53), &b(5001)), DROP),
        ("no more allowed, the request", i, udp(&b(5001), &a(53)), DROP),
        ("the node's", e, tcp(&a(12), "10.199.0.2:5000", ACK), PASS),
        ("out", i, echo("10.199.0.7", A, true, 64), PASS),
    ] {
        assert_eq!(run(&mut cluster.policies, program, 5, &packet), verdict, "{name}");
    }
    // Without a policy nothing is judged.
    cluster.policies.apply(&compile(&world(&[]), |_| true), &devices).unwrap();
    assert_eq!(run(&mut cluster.policies, i, 5, &tcp(&far(3, 1), &a(1), SYN)), PASS);
}
