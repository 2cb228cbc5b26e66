//! Frames of one answered flow, from an outside client through a node port to a machine elsewhere on the same wire, as fast
//! as the node takes them. Enters: a node whose Services are in place. Leaves: frames a second.
//!
//! The kernel itself makes the frames at the wire's outer end (BPF_PROG_TEST_RUN with live frames): a program writes each and
//! sends it, which costs little and the same for all. In the driver of the node's end there is a program that lets them pass
//! into the stack, or the dataplane's own, or one that turns every frame round unseen, which is as fast as it gets. Back at the
//! outer end a program drops what arrives, and all of it must have arrived. One processor does all of this.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use xebec_rig::bpf::{self, Hook, Instruction, answer};
use xebec_rig::{enter, netns::pin};

use crate::rig::{NODE, OUTSIDE, Rig};
use crate::server;

/// The port of the node.
pub(crate) const PORT: u16 = 30_081;
/// Who serves it: a machine on the node's wire.
pub(crate) const FAR: &str = "10.199.0.50";
/// The client's port.
const CLIENT_PORT: u16 = 4_000;
/// Frames of one call: some milliseconds.
const CALL: u32 = 20_000;

/// A program of one verdict.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    Drop = 1,
    Pass = 2,
    Turn = 3,
}

/// Loads `r0 = verdict; exit`.
pub(crate) fn program(verdict: Verdict) -> Result<OwnedFd> {
    load(&answer(verdict as u8))
}

/// Loads a program that writes the frame's words over whatever it is given, and sends it by the device it is at: the kernel
/// uses the memory of frames again as they come back.
fn sender(frame: &[u8]) -> Result<OwnedFd> {
    let words = frame.chunks_exact(8);
    ensure!(words.remainder().is_empty() && frame.len() < 128, "{} bytes are no whole words", frame.len());
    // r2 = data; r3 = data_end; r4 = r2 + length; if r4 > r3 drop
    let mut text: Vec<Instruction> = vec![
        [0x61, 0x12, 0, 0, 0, 0, 0, 0],
        [0x61, 0x13, 4, 0, 0, 0, 0, 0],
        [0xbf, 0x24, 0, 0, 0, 0, 0, 0],
        [0x07, 0x04, 0, 0, frame.len() as u8, 0, 0, 0],
        [0xbd, 0x34, 2, 0, 0, 0, 0, 0],
    ];
    text.extend(answer(Verdict::Drop as u8));
    for (at, word) in words.enumerate() {
        // r5 = word; *(u64 *)(r2 + at) = r5
        text.push([0x18, 0x05, 0, 0, word[0], word[1], word[2], word[3]]);
        text.push([0, 0, 0, 0, word[4], word[5], word[6], word[7]]);
        text.push([0x7b, 0x52, at as u8 * 8, 0, 0, 0, 0, 0]);
    }
    text.extend(answer(Verdict::Turn as u8));
    load(&text)
}

fn load(instructions: &[Instruction]) -> Result<OwnedFd> {
    bpf::load(Hook::Xdp, instructions).context("load a program")
}

/// Puts a program into a device's driver; it leaves when the link is dropped.
fn attach(program: BorrowedFd<'_>, device: u32) -> Result<OwnedFd> {
    bpf::attach(program, device, Hook::Xdp).context("a program in the driver of a wire's end")
}

/// Lets `count` copies of a frame arrive at a device and a program run on each.
fn feed(program: BorrowedFd<'_>, frame: &[u8], device: u32, count: u32) -> io::Result<()> {
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, frame.len() as u32, 0, device, 0, 0];
    bpf::bpf(
        BPF_PROG_TEST_RUN,
        &[(16, frame.as_ptr() as u64), (48, context.as_ptr() as u64)],
        &[
            (0, program.as_raw_fd() as u32),
            (8, frame.len() as u32),
            (32, count),
            (40, size_of_val(&context) as u32),
            (64, BPF_F_TEST_XDP_LIVE_FRAMES),
        ],
    )
    .map(|_| ())
}

/// A datagram of the flow.
fn frame(to: [u8; 6], from: [u8; 6]) -> Result<Vec<u8>> {
    let (src, dst): (std::net::Ipv4Addr, std::net::Ipv4Addr) = (OUTSIDE.parse()?, NODE.parse()?);
    // 64 bytes in all.
    let payload = [0_u8; 22];
    let udp_len = 8 + payload.len() as u16;
    let sum = |parts: &[&[u8]]| {
        let bytes = parts.concat();
        let mut total: u32 = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    };
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_len).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(src.octets());
    ip.extend(dst.octets());
    let header = sum(&[&ip]);
    ip[10..12].copy_from_slice(&header.to_be_bytes());
    let mut udp = [CLIENT_PORT.to_be_bytes(), PORT.to_be_bytes(), udp_len.to_be_bytes(), [0, 0]].concat();
    udp.extend(payload);
    let pseudo = [&src.octets()[..], &dst.octets(), &[0, 17], &udp_len.to_be_bytes()].concat();
    let whole = sum(&[&pseudo, &udp]);
    udp[6..8].copy_from_slice(&whole.to_be_bytes());
    Ok([&to[..], &from, &[8, 0], &ip, &udp].concat())
}

/// Has the flow answered, so that all of the node's tables know it. Sockets leave their checksums to the wire: no program may
/// be in its drivers yet.
pub(crate) fn answered(rig: &Rig) -> Result<()> {
    let path = rig.outside.path();
    std::thread::scope(|scope| {
        let work = scope.spawn(move || -> Result<()> {
            enter(&path);
            let serving = UdpSocket::bind((FAR, server::PORT)).context("the far machine's socket")?;
            let calling = UdpSocket::bind((OUTSIDE, CLIENT_PORT)).context("the client's socket")?;
            for socket in [&serving, &calling] {
                socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            }
            let mut buffer = [0; 64];
            for _ in 0..3 {
                calling.send_to(b"?", (NODE, PORT))?;
                let (len, from) = serving.recv_from(&mut buffer).context("the question did not arrive")?;
                ensure!(from.ip().to_string() == NODE, "the far machine sees {from} and not the node");
                serving.send_to(&buffer[..len], from)?;
                calling.recv_from(&mut buffer).context("the answer did not arrive")?;
            }
            Ok(())
        });
        work.join().unwrap_or_else(|_| anyhow::bail!("the client ended"))
    })
}

/// Frames that the other end of the wire has received.
fn received(rig: &Rig) -> Result<u64> {
    let name = &rig.outside.name;
    let line = ["netns", "exec", name, "cat", "/sys/class/net/eth0/statistics/rx_packets"];
    let output = std::process::Command::new("ip").args(line).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

/// Makes the far machine be there.
pub(crate) fn prepare(rig: &Rig) {
    rig.outside.ip(&format!("addr replace {FAR}/24 dev eth0"));
}

/// What the node's wire runs in its driver.
pub(crate) enum Driver {
    /// Its own program, which is there.
    Own,
    /// One of a single verdict.
    Always(Verdict),
}

/// Measures a flow that was [`answered`] less than two minutes ago, or measured.
pub(crate) fn measure(rig: &Rig, driver: &Driver, seconds: f64) -> Result<Value> {
    let ((wire, node_mac), (end, outside_mac)) = (rig.node.device("wire"), rig.outside.device("eth0"));
    let (node, outside) = (rig.node.path(), rig.outside.path());
    let frame = frame(node_mac, outside_mac)?;
    std::thread::scope(|scope| {
        let work = scope.spawn(move || -> Result<Value> {
            enter(&node);
            let _own = match driver {
                Driver::Own => None,
                Driver::Always(verdict) => Some(attach(program(*verdict)?.as_fd(), wire)?),
            };
            enter(&outside);
            let _sink = attach(program(Verdict::Drop)?.as_fd(), end)?;
            let sender = sender(&frame)?;
            pin(0);
            feed(sender.as_fd(), &frame, end, CALL).context("the first frames")?;
            let (before, start) = (received(rig)?, Instant::now());
            let (mut fed, mut took) = (0_u64, Duration::ZERO);
            while start.elapsed().as_secs_f64() < seconds {
                let call = Instant::now();
                feed(sender.as_fd(), &frame, end, CALL)?;
                took += call.elapsed();
                fed += u64::from(CALL);
            }
            let arrived = received(rig)? - before;
            ensure!(arrived * 100 >= fed * 95, "of {fed} frames {arrived} arrived");
            Ok(json!({"operations": fed, "arrived": arrived, "per_second": fed as f64 / took.as_secs_f64()}))
        });
        work.join().unwrap_or_else(|_| anyhow::bail!("the feeder ended"))
    })
}
