//! Flows in the devices' drivers. The wires are veth pairs, whose far ends must be ready for frames from a driver (GRO) and
//! must themselves send whole checksums, as any real wire does.
#![expect(unsafe_code, reason = "ioctl")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use serde_json::json;
use xebec_abi::flow::PacketStat;

use super::net::Outside;
use super::{VIP, node_port, ports, slices};
use xebec_rig::ask::{ask_tcp, exchange, udp_socket};
use xebec_rig::objects::{Agent, service, slice};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, enter, within};

/// `struct ethtool_value` and the part of `struct ifreq` that names a device and points to it.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

#[repr(C)]
struct Request {
    name: [u8; 16],
    value: *mut Value,
    pad: [u8; 16],
}

/// Makes a device like one with a wire.
fn wired(netns: &NetNs, device: &str) {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    const SET_TX_CHECKSUM: u32 = 0x17;
    const SET_GRO: u32 = 0x2c;
    within(netns, || {
        for (command, data) in [(SET_TX_CHECKSUM, 0), (SET_GRO, 1)] {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            let mut value = Value { command, data };
            let mut request = Request { name: [0; 16], value: &raw mut value, pad: [0; 16] };
            request.name[..device.len()].copy_from_slice(device.as_bytes());
            // SAFETY: the kernel's structs for this request, alive for the call.
            let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
            assert_eq!(answer, 0, "{device} {command:#x}: {}", std::io::Error::last_os_error());
        }
    });
}

pub fn outside() -> Option<Outside> {
    let outside = Outside::with(|options| options.xdp = true)?;
    wired(&outside.rig.client_ns, "wire");
    wired(&outside.far, "eth0");
    Some(outside)
}

/// Services of both families whose endpoints are behind the other node.
pub fn serve_far(outside: &mut Outside) {
    outside.agent.sync(
        vec![
            service("a", &[VIP], ports(), node_port(json!({}))),
            service("six", &["fd96::77"], json!([{"name": "udp", "port": 80, "protocol": "UDP"}]), json!({})),
        ],
        [slices(&["10.244.1.5@node-b"]), vec![slice("six", 8080, "UDP", &["fd45::5@node-b"])]].concat(),
    );
}

/// Asks by one socket, many times.
fn datagrams(outside: &Outside, to: &str, len: usize, times: usize) -> Vec<String> {
    within(&outside.rig.client_ns, || {
        let socket = udp_socket(to).unwrap();
        (0..times).map(|_| exchange(&socket, len)).collect()
    })
}

#[test]
fn an_answered_flow_to_another_node_stays_in_the_drivers() {
    let Some(mut outside) = outside() else { return };
    serve_far(&mut outside);
    for (to, answer) in [("10.199.0.2:30080", "FAR 10.198.0.2 10"), ("[fd96::77]:80", "FAR fd98::2 10")] {
        let before = (outside.count(PacketStat::Driver), outside.count(PacketStat::Translated));
        assert_eq!(datagrams(&outside, to, 10, 20), vec![answer; 20]);
        let after = (outside.count(PacketStat::Driver), outside.count(PacketStat::Translated));
        // All but the first there and back, which the stack's hooks translate at either end of the node.
        assert_eq!((after.0 - before.0, after.1 - before.1), (38, 4), "{to}");
    }
    // Fragments are the stack's; their flow is the same.
    assert!(
        datagrams(&outside, "10.199.0.2:30080", 4000, 2).iter().all(|said| said == "FAR 10.198.0.2 4000")
    );
    let before = outside.count(PacketStat::Driver);
    assert_eq!(ask_tcp(&outside.rig.client_ns, "10.199.0.2:30080"), "FAR 10.198.0.2");
    assert!(outside.count(PacketStat::Driver) > before);
    // A pod on the node itself is behind its stack.
    for slice in slices(&["10.244.0.5@node-a"]) {
        outside.agent.set_slice(slice);
    }
    let before = outside.count(PacketStat::Driver);
    assert_eq!(datagrams(&outside, "10.199.0.2:30080", 10, 5), vec!["POD 10.199.0.1 10"; 5]);
    assert_eq!(outside.count(PacketStat::Driver), before);
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

/// A veth takes what its peer's driver turned round only while it has a program itself; this one lets everything pass.
fn receptive(outside: &Outside) -> aya::Ebpf {
    let mut ebpf = aya::Ebpf::load_file(outside.rig.options.bpf_object.as_ref().unwrap()).unwrap();
    within(&outside.rig.client_ns, || {
        let program: &mut aya::programs::Xdp = ebpf.program_mut("xdp_ingress").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.attach("wire", aya::programs::XdpMode::Driver).unwrap();
    });
    ebpf
}

#[test]
fn a_flow_that_leaves_by_the_device_it_came_by_is_turned_round_there() {
    let Some(mut outside) = outside() else { return };
    let _program = receptive(&outside);
    let _server = Server::seeing_udp(&outside.rig.client_ns, "10.199.0.1:8080", "SELF");
    outside
        .agent
        .sync(vec![service("a", &[VIP], ports(), node_port(json!({})))], slices(&["10.199.0.1@node-b"]));
    assert_eq!(datagrams(&outside, "10.199.0.2:30080", 10, 10), vec!["SELF 10.199.0.2 10"; 10]);
    assert_eq!(outside.count(PacketStat::Driver), 18);
    assert_eq!(outside.kernel_checksum_errors(), 0);
}

#[test]
fn datagrams_of_a_flow_whose_endpoint_left_are_decided_anew() {
    let Some(mut outside) = outside() else { return };
    let sync = |outside: &mut Outside, endpoint: &str| {
        let a = service("a", &[VIP], ports(), node_port(json!({})));
        outside.agent.sync(vec![a], slices(&[endpoint]));
    };
    sync(&mut outside, "10.244.1.5@node-b");
    let path = outside.rig.client_ns.path();
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let (say, said) = std::sync::mpsc::channel();
    let client = std::thread::spawn(move || {
        enter(&path);
        let socket = udp_socket("10.199.0.2:30080").unwrap();
        for () in asked {
            say.send(exchange(&socket, 10)).unwrap();
        }
    });
    let once = || {
        ask.send(()).unwrap();
        said.recv().unwrap()
    };
    assert_eq!([once(), once()], ["FAR 10.198.0.2 10"; 2]);
    sync(&mut outside, "10.244.0.5@node-a");
    assert_eq!([once(), once()], ["POD 10.199.0.1 10"; 2]);
    drop(ask);
    client.join().unwrap();
}

#[test]
fn a_long_transfer_arrives_whole_with_and_without_the_program() {
    let Some(mut outside) = outside() else { return };
    let a = service(
        "a",
        &[VIP],
        json!([{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080}]),
        node_port(json!({})),
    );
    outside.agent.sync(vec![a], vec![slice("a", 9090, "TCP", &["10.244.1.5@node-b"])]);
    let path = outside.far.path();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        enter(&path);
        let listener = TcpListener::bind("0.0.0.0:9090").unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    is_ready.recv().unwrap();
    let text: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (path, sent) = (outside.rig.client_ns.path(), text.clone());
    let client = std::thread::spawn(move || {
        enter(&path);
        let mut stream = TcpStream::connect("10.199.0.2:30080").unwrap();
        for part in sent.chunks(1_000_000) {
            stream.write_all(part).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back
    });
    // Meanwhile another agent comes that wants nothing of drivers, and one that does.
    for xdp in [false, true] {
        outside.rig.options.xdp = xdp;
        outside.agent = Agent::new(&outside.rig.options);
        outside.refresh();
        let drivers =
            std::fs::read_dir(outside.rig.pin_dir().join(format!("v{}/links", xebec_abi::LAYOUT_VERSION)));
        let drivers = drivers
            .unwrap()
            .filter(|pin| pin.as_ref().unwrap().file_name().to_string_lossy().starts_with("xdp_"));
        assert_eq!(drivers.count(), if xdp { 2 } else { 0 });
    }
    assert!(client.join().unwrap() == text, "what came back is not what was sent");
    server.join().unwrap();
    assert!(outside.count(PacketStat::Driver) > 100, "{}", outside.count(PacketStat::Driver));
    assert_eq!(outside.kernel_checksum_errors(), 0);
}
