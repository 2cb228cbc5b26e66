//! Frames built from nothing, with whole checksums.

use std::net::{IpAddr, SocketAddr};

pub fn sum(parts: &[&[u8]]) -> u16 {
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
pub fn ip(src: IpAddr, dst: IpAddr, proto: u8, mut payload: Vec<u8>, at: Option<usize>) -> Vec<u8> {
    let (s, d) = (octets(src), octets(dst));
    if let Some(at) = at {
        let mut pseudo = [s.clone(), d.clone()].concat();
        pseudo.extend([0, proto]);
        pseudo.extend((payload.len() as u16).to_be_bytes());
        let value = match if proto == 1 { sum(&[&payload]) } else { sum(&[&pseudo, &payload]) } {
            // Zero is "no checksum" (RFC 768).
            0 if proto == 17 => u16::MAX,
            value => value,
        };
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

pub fn frame(ip: Vec<u8>) -> Vec<u8> {
    // To the device that test runs are on, from another.
    let mut frame = vec![0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9];
    frame.extend(if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend(ip);
    frame
}

pub fn udp_ip(src: &str, dst: &str, at: Option<usize>) -> Vec<u8> {
    let (s, d): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut p = [s.port().to_be_bytes(), d.port().to_be_bytes(), 13_u16.to_be_bytes(), [0, 0]].concat();
    p.extend(b"hello");
    ip(s.ip(), d.ip(), 17, p, at)
}

pub fn udp(src: &str, dst: &str) -> Vec<u8> {
    frame(udp_ip(src, dst, Some(6)))
}

/// With number 1, acknowledging nothing.
pub fn tcp(src: &str, dst: &str, flags: u8) -> Vec<u8> {
    tcp_after(src, dst, flags, 0)
}

/// As [`tcp`], acknowledging all up to a number.
pub fn tcp_after(src: &str, dst: &str, flags: u8, acknowledged: u8) -> Vec<u8> {
    let (s, d): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut p = [s.port().to_be_bytes(), d.port().to_be_bytes()].concat();
    p.extend([0, 0, 0, 1, 0, 0, 0, acknowledged, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    frame(ip(s.ip(), d.ip(), 6, p, Some(16)))
}

/// An echo request (`reply` unless) with some hops left.
pub fn echo(src: &str, dst: &str, reply: bool, hops: u8) -> Vec<u8> {
    let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let (proto, kind) = match (src.is_ipv4(), reply) {
        (true, false) => (1, 8),
        (true, true) => (1, 0),
        (false, false) => (58, 128),
        (false, true) => (58, 129),
    };
    let payload = [&[kind, 0, 0, 0, 0x12, 0x34, 0, 1], b"ping".as_slice()].concat();
    let mut packet = ip(src, dst, proto, payload, Some(2));
    if src.is_ipv4() {
        (packet[8], packet[10], packet[11]) = (hops, 0, 0);
        let value = sum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&value.to_be_bytes());
    } else {
        packet[7] = hops;
    }
    frame(packet)
}

/// A frame one hop further: with these link addresses, of whom it is for and who sends it.
pub fn forwarded(mut frame: Vec<u8>, to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    frame[..12].copy_from_slice(&[to, from].concat());
    if frame[14] >> 4 == 6 {
        frame[21] -= 1;
        return frame;
    }
    frame[22] -= 1;
    (frame[24], frame[25]) = (0, 0);
    let value = sum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&value.to_be_bytes());
    frame
}

/// A frame that goes back where it came from.
pub fn back(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..12].rotate_left(6);
    frame
}

/// Port unreachable, from and to, about a quoted packet.
pub fn unreachable(src: &str, dst: &str, quoted: &[u8]) -> Vec<u8> {
    let mut p = vec![3, 3, 0, 0, 0, 0, 0, 0];
    p.extend(&quoted[..28]);
    frame(ip(src.parse().unwrap(), dst.parse().unwrap(), 1, p, Some(2)))
}
