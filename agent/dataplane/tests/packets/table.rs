//! Both programs of such a pod on single packets (BPF_PROG_TEST_RUN): what goes in, the verdict, what comes out, what was counted.

use std::collections::HashMap;

use xebec_abi::flow::PacketStat::{Echoes, Established, Flows, Rejected, Translated, Unallocated};
use xebec_dataplane::maps::tracked::DeviceAddresses;
use xebec_rig::cluster::Cluster;

use super::{agent, guest, serve};
use crate::packet::frame::{back, echo, tcp, udp};
use crate::packet::table::{BACK, DROP, NEXT, check, row};

#[test]
fn the_table() {
    let Some(cluster) = Cluster::new(1, 0, 1500) else { return };
    let node = &cluster.nodes[0];
    let guest = guest(node);
    let mut agent = agent(node);
    serve(&mut agent, node, &guest);
    agent.set_cidrs(&[&["10.196.0.0/16", "fd96::/64"]]);
    // Test runs are on this device, which is to be the pod's.
    let own = ["10.199.0.101", "fd99::101"].map(|address| address.parse().unwrap());
    let device = DeviceAddresses { name: "lo".to_owned(), addresses: own.into() };
    agent.applier.maps().tracked().set_devices(&HashMap::from([(1, device)])).unwrap();
    let same = |packet: Vec<u8>| (packet.clone(), packet);
    let (s, a) = ("pod_services", "pod_answers");
    // Another port of its own than one that the node has refused already.
    let other = "10.244.1.1:5001";
    let (pod, pod6) = ("10.244.1.1:5000", "[fd44:1::1]:5000");
    let (near, far, this, none) = ("10.196.77.1:80", "10.196.77.2:80", "10.196.77.3:80", "10.196.77.4:80");
    let (b, c) = ("10.244.1.2:8080", "10.244.2.1:8080");
    let (near6, b6) = ("[fd96::1]:80", "[fd44:1::2]:8080");
    let node_reject = "10.199.0.101:61000";
    check(
        &mut agent,
        [
            row("to no Service", s, same(udp(pod, "10.244.1.2:53")), NEXT, &[]),
            row("not IP", s, same([vec![0; 12], vec![8, 6], vec![0; 28]].concat()), NEXT, &[]),
            row("a datagram", s, (udp(pod, near), udp(pod, b)), NEXT, &[Flows, Translated]),
            row("the next one", s, (udp(pod, near), udp(pod, b)), NEXT, &[Translated]),
            row("its answer", a, (udp(b, pod), udp(near, pod)), NEXT, &[Established, Translated]),
            row("another's datagram", a, same(udp("10.244.1.2:9", pod)), NEXT, &[]),
            row("IPv6", s, (udp(pod6, near6), udp(pod6, b6)), NEXT, &[Flows, Translated]),
            row("its answer, IPv6", a, (udp(b6, pod6), udp(near6, pod6)), NEXT, &[Established, Translated]),
            // Its own address, wherever the endpoint is.
            row("to another node", s, (tcp(pod, far, 2), tcp(pod, c, 2)), NEXT, &[Flows, Translated]),
            row(
                "its answer, there",
                a,
                (tcp(c, pod, 18), tcp(far, pod, 18)),
                NEXT,
                &[Established, Translated],
            ),
            row("no endpoints", s, (udp(pod, none), udp(pod, node_reject)), NEXT, &[Rejected, Translated]),
            row("the refusal", a, (udp(node_reject, pod), udp(none, pod)), NEXT, &[Translated]),
            row(
                "no such port",
                s,
                (udp(other, "10.196.77.1:81"), udp(other, node_reject)),
                NEXT,
                &[Rejected, Translated],
            ),
            row("no such address", s, same(udp(pod, "10.196.88.8:80")), DROP, &[Unallocated]),
            row(
                "a ping",
                s,
                (
                    echo("10.244.1.1", "10.196.77.1", false, 63),
                    back(echo("10.196.77.1", "10.244.1.1", true, 64)),
                ),
                BACK,
                &[Echoes],
            ),
        ],
    );
    // Itself it is to see as the node: out, it has a source of the node's.
    check(
        &mut agent,
        [row("to itself", s, (udp(pod, this), udp(pod, "10.244.1.1:8080")), NEXT, &[Flows, Translated])],
    );
}
