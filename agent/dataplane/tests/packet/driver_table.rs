//! The program of devices' drivers on single frames (BPF_PROG_TEST_RUN): what goes in, the verdict, what comes out.

use aya::programs::{TestRun, TestRunOptions};
use xebec_abi::flow::PacketStat;
use xebec_rig::ask::{exchange, udp_socket};
use xebec_rig::objects::slice;
use xebec_rig::within;

use super::driver::{outside, serve_far};
use super::frame::{forwarded, tcp, udp};
use super::net::Outside;

const PASS: u32 = 2;
const REDIRECT: u32 = 4;

/// Runs the program on a frame that arrives at a device: its verdict, and what became of the frame.
fn run(outside: &mut Outside, device: u32, frame: &[u8]) -> (u32, Vec<u8>) {
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, frame.len() as u32, 0, device, 0, 0];
    let context: Vec<u8> = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let result = outside.agent.devices.driver_program().unwrap().test_run(options);
    let result = result.unwrap_or_else(|error| panic!("{}", xebec_program::chain(&error)));
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

/// A socket outside that has asked `to` and was answered: its port, and the translated source that its flow has now.
fn answered(outside: &mut Outside, to: &str) -> (u16, u16) {
    let port = within(&outside.rig.client_ns, || {
        let socket = udp_socket(to).unwrap();
        for _ in 0..2 {
            assert!(exchange(&socket, 10).starts_with("FAR"));
        }
        socket.local_addr().unwrap().port()
    });
    let flows = outside.agent.applier.maps().tracked().established().unwrap();
    let source = flows.values().find(|flow| flow.cport.host() == port && flow.nport.0 != 0).unwrap().nport;
    (port, source.host())
}

#[test]
fn the_table() {
    let Some(mut outside) = outside() else { return };
    serve_far(&mut outside);
    let (client, source) = answered(&mut outside, "10.199.0.2:30080");
    let (client6, source6) = answered(&mut outside, "[fd96::77]:80");
    let (node, outer) = (&outside.rig.server_ns, &outside.rig.client_ns);
    let ((wire, wire_mac), (back, back_mac)) = (node.device("wire"), node.device("back"));
    let (client_mac, far_mac) = (outer.device("wire").1, outside.far.device("eth0").1);
    // Frames as they arrive: from the machine outside, and from the other node.
    let here = |mut frame: Vec<u8>| {
        frame[..12].copy_from_slice(&[wire_mac, client_mac].concat());
        frame
    };
    let there = |mut frame: Vec<u8>| {
        frame[..12].copy_from_slice(&[back_mac, far_mac].concat());
        frame
    };
    let out = |frame: Vec<u8>| forwarded(frame, far_mac, back_mac);
    let home = |frame: Vec<u8>| forwarded(frame, client_mac, wire_mac);
    let (c, c6) = (format!("10.199.0.1:{client}"), format!("[fd99::1]:{client6}"));
    let (n, n6) = (format!("10.198.0.2:{source}"), format!("[fd98::2]:{source6}"));
    let (port, vip6) = ("10.199.0.2:30080", "[fd96::77]:80");
    let (far, far6) = ("10.244.1.5:8080", "[fd45::5]:8080");
    let same = |frame: Vec<u8>| (frame.clone(), frame);
    let last_hop = |frame: Vec<u8>| (0..62).fold(frame, |frame, _| forwarded(frame, wire_mac, client_mac));
    let part = |mut frame: Vec<u8>| {
        frame[20] = 0x20;
        frame
    };
    let rows = [
        ("a datagram of the flow", wire, (here(udp(&c, port)), out(udp(&n, far))), REDIRECT),
        ("its answer", back, (there(udp(far, &n)), home(udp(port, &c))), REDIRECT),
        ("IPv6", wire, (here(udp(&c6, vip6)), out(udp(&n6, far6))), REDIRECT),
        ("its answer, IPv6", back, (there(udp(far6, &n6)), home(udp(vip6, &c6))), REDIRECT),
        ("for another machine", wire, same(udp(&c, port)), PASS),
        ("not IP", wire, same(here([vec![0; 12], vec![8, 6], vec![0; 28]].concat())), PASS),
        ("cut off", wire, same(here(udp(&c, port)[..36].to_vec())), PASS),
        ("a fragment", wire, same(part(here(udp(&c, port)))), PASS),
        ("no hop left: the kernel says so", wire, same(here(last_hop(udp(&c, port)))), PASS),
        ("no hop left, IPv6", wire, same(here(last_hop(udp(&c6, vip6)))), PASS),
        ("of no flow", wire, same(here(udp("10.199.0.1:9", port))), PASS),
        ("a connection begins", wire, same(here(tcp(&c, port, 2))), PASS),
        ("another port of the endpoint", back, same(there(udp("10.244.1.5:8081", &n))), PASS),
    ];
    for (name, device, (frame, wanted), verdict) in rows {
        let before = outside.count(PacketStat::Driver);
        assert_eq!(run(&mut outside, device, &frame), (verdict, wanted), "{name}");
        let counted = outside.count(PacketStat::Driver) - before;
        assert_eq!(counted, u64::from(verdict == REDIRECT), "{name}: as counted");
    }
    // Its endpoint has left: the next datagram is the stack's to decide.
    outside.agent.set_slice(slice("a", 8080, "UDP", &[]));
    let frame = here(udp(&c, port));
    assert_eq!(run(&mut outside, wire, &frame), (PASS, frame), "the endpoint left");
}
