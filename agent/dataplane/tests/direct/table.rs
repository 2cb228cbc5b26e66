//! The programs of direct server return on single packets (BPF_PROG_TEST_RUN).

use serde_json::json;
use xebec_abi::flow::PacketStat::{Direct, Flows, Misdirected, NoLocal, Oversize};
use xebec_abi::tunnel::{MAC, SENDER};
use xebec_rig::cluster::Cluster;

use super::{Between, agents, count, objects};
use crate::packet::frame::{back, echo, frame, ip, sum, tcp, udp};
use crate::packet::table::{BACK, DROP, NEXT, check, row, run_at};

const VIP: &str = "10.196.88.8";
const VIP6: &str = "fd96::88";

/// A packet as it goes into the tunnel: nothing but its Ethernet addresses is another.
fn sent_on(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&MAC);
    frame[6..12].copy_from_slice(&SENDER);
    frame
}

/// A datagram of so many bytes, its IP header included, which may not be cut.
fn long(src: &str, dst: &str, len: usize) -> Vec<u8> {
    let (src, dst): (std::net::IpAddr, std::net::IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let header = if src.is_ipv4() { 20 } else { 40 };
    let mut payload = vec![0x10, 0, 0, 80];
    payload.extend(((len - header) as u16).to_be_bytes());
    payload.resize(len - header, 7);
    payload[6..8].fill(0);
    let mut packet = ip(src, dst, 17, payload, Some(6));
    if src.is_ipv4() {
        (packet[6], packet[10], packet[11]) = (0x40, 0, 0);
        let value = sum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&value.to_be_bytes());
    }
    frame(packet)
}

#[test]
fn the_table() {
    let Some(cluster) = Cluster::new(2, 0, 1500) else { return };
    let objects = objects(json!({}), &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]);
    let mut agents = agents(&cluster, Between::V4, &objects);
    let same = |p: Vec<u8>| (p.clone(), p);
    let on = |p: Vec<u8>| (p.clone(), sent_on(p));
    let (c, c6) = ("192.0.2.1:4000", "[2001:db8::1]:4000");
    let (vip, vip6) = (format!("{VIP}:80"), format!("[{VIP6}]:80"));
    let (i, t) = ("tcx_ingress", "tunnel_ingress");
    let error = |quoted: &[u8]| {
        let mut p = vec![3, 4, 0, 0, 0, 0, 4, 0];
        p.extend(&quoted[14..42]);
        frame(ip("192.0.2.9".parse().unwrap(), VIP.parse().unwrap(), 1, p, Some(2)))
    };
    let rows = [
        row("a SYN", i, on(tcp(c, &vip, 2)), BACK, &[Flows, Direct]),
        row("its third packet", i, on(tcp(c, &vip, 0x10)), BACK, &[Direct]),
        row("a datagram", i, on(udp(c, &vip)), BACK, &[Flows, Direct]),
        row("IPv6", i, on(udp(c6, &vip6)), BACK, &[Flows, Direct]),
        row("a node port", i, on(udp(c, "10.199.0.101:30080")), BACK, &[Flows, Direct]),
        row(
            "one of a connection that is not known here",
            i,
            on(tcp("192.0.2.1:4001", &vip, 0x10)),
            BACK,
            &[Flows, Direct],
        ),
        row("as long as IPv4 lets be cut", i, on(long("192.0.2.1", VIP, 1500)), BACK, &[Flows, Direct]),
        row("an error about an answer", i, on(error(&udp(&vip, c))), BACK, &[Direct]),
        row("an error about another's", i, same(error(&udp(&vip, "192.0.2.1:4999"))), NEXT, &[]),
        row("another port of the node", i, same(udp(c, "10.199.0.101:30081")), NEXT, &[]),
        // What comes by no tunnel has no sender.
        row("not from a node", t, same(udp(c, &vip)), DROP, &[Misdirected]),
        row("not from a node, IPv6", t, same(udp(c6, &vip6)), DROP, &[Misdirected]),
        row("an error not from a node", t, same(error(&udp(&vip, c))), DROP, &[Misdirected]),
    ];
    check(&mut agents[0], rows);
    // A ping is the asked node's to answer.
    let ping = run_at(&mut agents[0], i, &echo("192.0.2.1", VIP, false, 9));
    assert_eq!(ping, (BACK, back(echo(VIP, "192.0.2.1", true, 64))));
    assert_eq!(count(&mut agents[0], NoLocal), 0);
}

#[test]
fn an_error_about_a_long_packet_is_whole() {
    let Some(cluster) = Cluster::new(2, 0, 1500) else { return };
    let objects = objects(json!({}), &["10.244.2.1@node-2"], &["fd44:2::1@node-2"]);
    let mut agents = agents(&cluster, Between::V6, &objects);
    for (client, vip) in [("192.0.2.1", VIP), ("2001:db8::1", VIP6)] {
        let v6 = vip.contains(':');
        let fits = long(client, vip, 1430);
        assert_eq!(run_at(&mut agents[0], "tcx_ingress", &fits), (BACK, sent_on(fits)), "{vip}");
        let packet = long(client, vip, 1431);
        let (verdict, out) = run_at(&mut agents[0], "tcx_ingress", &packet);
        assert_eq!((verdict, &out[..6], &out[6..12]), (BACK, &packet[6..12], &packet[..6]), "{vip}");
        // From the virtual IP to the client, with the packet's beginning, which was 64 bytes.
        let (header, icmp) = if v6 { (40, 54) } else { (20, 34) };
        assert_eq!(out.len(), icmp + 8 + 64);
        assert_eq!(out[icmp + 8..], packet[14..14 + 64], "{vip}");
        assert_eq!(out[icmp..icmp + 2], if v6 { [2, 0] } else { [3, 4] });
        assert_eq!(out[icmp + 4..icmp + 8], 1430_u32.to_be_bytes());
        let addresses = |p: &[u8]| if v6 { p[22..54].to_vec() } else { p[26..34].to_vec() };
        let mut ends = addresses(&packet);
        ends.rotate_left(if v6 { 16 } else { 4 });
        assert_eq!(addresses(&out), ends, "{vip}");
        // Whole sums, over what they are of, are nothing.
        if v6 {
            assert_eq!(out[18..22], [0, 72, 58, 64]);
            let pseudo = [&ends[..], &[0, 0, 0, 72, 0, 0, 0, 58]].concat();
            assert_eq!(sum(&[&pseudo, &out[icmp..]]), 0);
        } else {
            assert_eq!(out[14..26], [&[0x45, 0, 0, 92, 0, 0, 0x40, 0, 64, 1][..], &out[24..26]].concat());
            assert_eq!((sum(&[&out[14..14 + header]]), sum(&[&out[icmp..]])), (0, 0));
        }
    }
    // One that may be cut would be cut by no one.
    let mut packet = long("192.0.2.1", VIP, 1431);
    (packet[20], packet[24], packet[25]) = (0, 0, 0);
    let value = sum(&[&packet[14..34]]);
    packet[24..26].copy_from_slice(&value.to_be_bytes());
    assert_eq!(run_at(&mut agents[0], "tcx_ingress", &packet), (DROP, packet.clone()));
    assert_eq!(count(&mut agents[0], Oversize), 3);
}
