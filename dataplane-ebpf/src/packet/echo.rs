//! Ping of a VIP. No interface has the address, so no kernel would answer: the request is made the reply where it passes
//! one of the node's devices, coming in from a client outside or going out from a pod or the node itself.

use xebec_abi::{
    Be16, Be32, Ip6, PROTO_ICMP6,
    flow::{FlowKey, HOOK_EGRESS, PacketStat},
};

use super::{
    Verdict,
    access::{Packet, Sum, difference},
    header::Header,
    select::is_vip,
};
use crate::{maps::flow::count, socket::Family as _};

/// Type of an echo request and its reply (RFC 792, RFC 4443).
const ECHO4: (u8, u8) = (8, 0);
/// As [`ECHO4`].
const ECHO6: (u8, u8) = (128, 129);
/// TTL and hop limit of a packet that begins here.
const HOPS: u8 = 64;

/// Turns an echo request to a VIP into its reply; `None` for every other packet. Fragments are left alone: their
/// checksum lies in the first, their end in the last.
#[inline(always)]
pub fn answer<P: Packet>(p: &P, h: &Header, hook: u8) -> Option<Verdict> {
    if h.later || h.more || (h.proto == PROTO_ICMP6) != h.v6 {
        return None;
    }
    let (request, reply) = if h.v6 { ECHO6 } else { ECHO4 };
    let old = p.load::<[u8; 2]>(h.l4)?;
    if old[0] != request {
        return None;
    }
    let vip = if h.v6 { is_vip::<Ip6>(h.dst) } else { is_vip(Be32::narrow(h.dst)) };
    if !vip {
        return None;
    }
    let macs = p.load::<[[u8; 6]; 2]>(0)?;
    p.store(0, &[macs[1], macs[0]]);
    let word = |text: [u8; 2]| [u16::from_ne_bytes(text) as u32];
    let new = [reply, old[1]];
    p.store(h.l4, &new);
    p.fix_l4_sum(Sum { at: h.l4 + 2, optional: false, v6: h.v6 }, difference(word(old), word(new)), false);
    // To swap two addresses changes no sum over both.
    let ends =
        FlowKey { src: h.src, dst: h.dst, sport: Be16(0), dport: Be16(0), proto: h.proto, hook, pad: 0 };
    h.rewrite_addresses(p, &ends, &ends.reversed());
    h.renew(p, HOPS);
    if !p.turn(hook == HOOK_EGRESS) {
        return Some(Verdict::Drop);
    }
    count(PacketStat::Echoes);
    Some(Verdict::Back)
}
