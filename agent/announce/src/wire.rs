//! ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861) as frames. PURE: frames in, frames out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A link address.
pub type Mac = [u8; 6];

/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

const EVERYBODY: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Ethernet's header.
const ETHERNET: usize = 14;
/// Ethernet's and IPv6's.
const HEADERS: usize = 54;

/// Somebody asks who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The address asked for.
    pub target: IpAddr,
    /// Who asks; unspecified in a probe for duplicates.
    from: IpAddr,
    /// Where the answer goes.
    mac: Mac,
}

fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

fn number(frame: &[u8], at: usize) -> Option<u16> {
    array(frame, at).map(u16::from_be_bytes)
}

/// Reads a frame; `None` if it is no (valid) question.
pub fn question(frame: &[u8]) -> Option<Question> {
    match number(frame, 12)? {
        ARP => arp_question(frame),
        IPV6 => solicitation(frame),
        _ => None,
    }
}

fn arp_question(frame: &[u8]) -> Option<Question> {
    // Ethernet, IPv4, their lengths, a request.
    if array(frame, ETHERNET)? != [0, 1, 8, 0, 6, 4, 0, 1] {
        return None;
    }
    let from = Ipv4Addr::from(array::<4>(frame, 28)?);
    let target = Ipv4Addr::from(array::<4>(frame, 38)?);
    // An announcement asks nothing.
    (from != target).then_some(Question { target: target.into(), from: from.into(), mac: array(frame, 22)? })
}

/// RFC 4861, 7.1.1.
fn solicitation(frame: &[u8]) -> Option<Question> {
    let (next, hops) = (*frame.get(20)?, *frame.get(21)?);
    let length = usize::from(number(frame, 18)?);
    let message = frame.get(HEADERS..HEADERS + length)?;
    if next != ICMPV6 || hops != 255 || length < 24 || message[..2] != [SOLICITATION, 0] {
        return None;
    }
    let (from, to) = (Ipv6Addr::from(array::<16>(frame, 22)?), Ipv6Addr::from(array::<16>(frame, 38)?));
    let target = Ipv6Addr::from(array::<16>(message, 8)?);
    let probe = from.is_unspecified();
    if checksum(from, to, message) != 0 || target.is_multicast() || (probe && to != solicited(target)) {
        return None;
    }
    let (mut options, mut source) = (&message[24..], None);
    while let [kind, words, ..] = options {
        let size = usize::from(*words) * 8;
        if size == 0 || size > options.len() {
            return None;
        }
        if (*kind, *words) == (1, 1) {
            source = array(options, 2);
        }
        options = &options[size..];
    }
    let mac = source.or_else(|| array(frame, 6))?;
    Some(Question { target: target.into(), from: from.into(), mac })
}

/// The group in which questions for an address are asked.
pub fn solicited(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The answer: the address is at `own`.
pub fn answer(question: &Question, own: Mac) -> Vec<u8> {
    match (question.target, question.from) {
        (IpAddr::V4(target), IpAddr::V4(from)) => {
            arp(REPLY, question.mac, (own, target), (question.mac, from))
        }
        // A probe has no address to answer to: everybody is told, and nobody asked (RFC 4861, 7.2.4).
        (IpAddr::V6(target), IpAddr::V6(from)) if from.is_unspecified() => advertisement(target, own, None),
        (IpAddr::V6(target), IpAddr::V6(from)) => advertisement(target, own, Some((question.mac, from))),
        _ => Vec::new(),
    }
}

/// What tells everybody that an address is at `own` now: an ARP announcement as request and as reply (some listen to one
/// of them only), or an unsolicited advertisement.
pub fn announcement(address: IpAddr, own: Mac) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(four) => vec![
            arp(REQUEST, EVERYBODY, (own, four), ([0; 6], four)),
            arp(REPLY, EVERYBODY, (own, four), (EVERYBODY, four)),
        ],
        IpAddr::V6(six) => vec![advertisement(six, own, None)],
    }
}

fn arp(operation: u16, to: Mac, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend(to);
    frame.extend(sender.0);
    frame.extend(ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        frame.extend(mac);
        frame.extend(address.octets());
    }
    // The least that Ethernet carries.
    frame.resize(60, 0);
    frame
}

/// A neighbour advertisement that overrides what is known; to one who asked, or unsolicited to all.
fn advertisement(target: Ipv6Addr, own: Mac, asked: Option<(Mac, Ipv6Addr)>) -> Vec<u8> {
    const SOLICITED: u8 = 0x40;
    const OVERRIDE: u8 = 0x20;
    let (mac, to) = asked.unwrap_or(([0x33, 0x33, 0, 0, 0, 1], ALL_NODES));
    let flags = OVERRIDE | if asked.is_some() { SOLICITED } else { 0 };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1]);
    message.extend(own);
    let sum = checksum(target, to, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = Vec::with_capacity(HEADERS + message.len());
    frame.extend(mac);
    frame.extend(own);
    frame.extend(IPV6.to_be_bytes());
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
    frame.extend(target.octets());
    frame.extend(to.octets());
    frame.extend(message);
    frame
}

/// ICMPv6's checksum with its pseudo header (RFC 4443, 2.3); zero over a message that has the right one.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let pair = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let (from, to) = (from.octets(), to.octets());
    let words = from.chunks(2).chain(to.chunks(2)).chain(message.chunks(2));
    let mut sum = words.map(pair).sum::<u32>() + message.len() as u32 + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const THEIRS: Mac = [2, 0, 0, 0, 0, 9];

    #[test]
    fn an_arp_request_is_answered() {
        let (vip, client) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 99));
        let asked = question(&arp(REQUEST, EVERYBODY, (THEIRS, client), ([0; 6], vip))).unwrap();
        assert_eq!(asked.target, vip);
        let frame = answer(&asked, OWN);
        assert_eq!(frame[..14], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 6]);
        assert_eq!(frame[20..42], [0, 2, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 2, 0, 0, 0, 0, 9, 192, 0, 2, 99]);
        let probe = arp(REQUEST, EVERYBODY, (THEIRS, Ipv4Addr::UNSPECIFIED), ([0; 6], vip));
        assert!(question(&probe).is_some(), "a probe is answered, so that nobody takes the address");
        for frame in announcement(vip.into(), THEIRS) {
            assert_eq!(question(&frame), None, "another node's announcement is no question");
        }
    }

    /// A solicitation, as a kernel sends it.
    fn ask(from: Ipv6Addr, target: Ipv6Addr, option: bool) -> Vec<u8> {
        let to = solicited(target);
        let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        message.extend(target.octets());
        if option {
            message.extend([1, 1]);
            message.extend(THEIRS);
        }
        let sum = checksum(from, to, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut frame = vec![0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 8, 0x86, 0xdd];
        frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
        frame.extend(from.octets());
        frame.extend(to.octets());
        frame.extend(message);
        frame
    }

    #[test]
    fn a_solicitation_is_answered() {
        let (vip, client): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1:2:3".parse().unwrap(), "fe80::9".parse().unwrap());
        assert_eq!(solicited(vip), "ff02::1:ff02:3".parse::<Ipv6Addr>().unwrap());
        let good = ask(client, vip, true);
        let asked = question(&good).unwrap();
        assert_eq!((asked.target, asked.mac), (vip.into(), THEIRS));
        let frame = answer(&asked, OWN);
        assert_eq!(
            (&frame[..6], frame[21], frame[HEADERS], frame[58]),
            (&THEIRS[..], 255, ADVERTISEMENT, 0x60)
        );
        assert_eq!(checksum(vip, client, &frame[HEADERS..]), 0);
        assert_eq!(question(&ask(client, vip, false)).unwrap().mac, [2, 0, 0, 0, 0, 8], "the frame's sender");
        // A probe: everybody hears the answer.
        let frame = answer(&question(&ask(Ipv6Addr::UNSPECIFIED, vip, false)).unwrap(), OWN);
        assert_eq!((&frame[..6], frame[58]), (&[0x33, 0x33, 0, 0, 0, 1][..], 0x20));
        for (at, value, why) in [
            (21, 64, "was routed"),
            (56, 0xee, "checksum"),
            (54, 133, "another message"),
            (79, 0, "no option's length"),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(question(&bad), None, "{why}");
        }
        for cut in 0..good.len() {
            assert_eq!(question(&good[..cut]), None, "{cut} bytes");
        }
    }
}
