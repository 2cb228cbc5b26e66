//! ICMP errors about a flow: rewritten within and without, so that whoever gets one knows the flow it names.

use aya_ebpf::programs::TcContext;
use xebec_abi::{
    PROTO_TCP, PROTO_UDP,
    flow::{FlowKey, PacketStat, Role},
};

use super::{
    Verdict,
    access::{Packet, Sum},
    header::{Header, split},
    track, tunnel,
};
use crate::{maps::flow::count, socket::Family as _};

/// ICMP's redirect (RFC 792): of a flow it would name addresses its receiver never used.
const REDIRECT: u8 = 5;

/// Whether a type of ICMP is an error, which quotes the packet it is about.
#[inline(always)]
pub fn is_error(v6: bool, kind: u8) -> bool {
    if v6 { kind >= 1 && kind <= 4 } else { kind == 3 || kind == REDIRECT || kind == 11 || kind == 12 }
}

/// Translates an error, or sends it on to where its flow is; `None` for whatever is no error about one of our flows.
///
/// The packet an error quotes went the other way, so its ends reversed are the flow's key at this hook. The quoted
/// transport checksum is left as it is: the quote is cut off, and nobody can check it.
#[inline(always)]
pub fn translate(p: &TcContext, h: &Header, hook: u8) -> Option<Verdict> {
    if h.later || h.more {
        return None;
    }
    let kind: u8 = Packet::load(p, h.l4)?;
    if !is_error(h.v6, kind) {
        return None;
    }
    let inner = Header::read(p, h.l4 + 8, h.v6)?;
    if inner.later || (inner.proto != PROTO_TCP && inner.proto != PROTO_UDP) {
        return None;
    }
    let ports: u32 = Packet::load(p, inner.l4)?;
    let (sport, dport) = split(ports);
    let quoted = FlowKey { src: inner.src, dst: inner.dst, sport, dport, proto: inner.proto, hook, pad: 0 };
    let key = quoted.reversed();
    let entry = track::find(&key)?;
    if !h.v6 && kind == REDIRECT {
        return Some(Verdict::Drop);
    }
    if entry.get().is_direct() {
        return Some(tunnel::forward(p, entry.get().node));
    }
    let role = entry.role();
    if matches!(role, Role::Out) && entry.get().nport.0 == 0 {
        return None;
    }
    let to = entry.get().target(role);
    count(PacketStat::Errors);
    let sum = Sum { at: h.l4 + 2, optional: false, v6: h.v6 };
    let addresses = inner.rewrite_addresses(p, &quoted, &to.reversed());
    let ports = inner.rewrite_ports(p, &quoted, &to.reversed());
    if ports != 0 {
        p.fix_l4_sum(sum, ports, false);
    }
    // The sender is the endpoint, or a router on the way, which keeps its name.
    let from = FlowKey { src: h.src, dst: h.dst, ..key };
    let ends = FlowKey {
        src: if h.src.same(key.src) { to.src } else { h.src },
        dst: if h.dst.same(key.dst) { to.dst } else { h.dst },
        ..key
    };
    let outer = h.rewrite_addresses(p, &from, &ends);
    if h.v6 {
        // In IPv4 the quoted header's own checksum made up for its addresses, and ICMP has no pseudo header.
        p.fix_l4_sum(sum, addresses, false);
        p.fix_l4_sum(sum, outer, true);
    }
    Some(Verdict::Next)
}
