//! Direct server return (see `xebec_abi::tunnel`). Enters: a packet from outside that is for an endpoint of another node; at
//! that node, the same packet out of the tunnel. Leaves: the first into the tunnel; the second to an endpoint of this node,
//! whose answers go to the client from here. Called by `ingress` and by main.rs.
//!
//! The node that the client asked remembers where it sent a flow, but a flow's answers never pass it: its entry stays among
//! those of unanswered flows, and may be pushed out by others. Then the endpoint is chosen again, by the same hash on every
//! node, and the endpoint's node knows the flow anyway.

use aya_ebpf::{
    bindings::bpf_tunnel_key,
    helpers::generated::{bpf_redirect, bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key},
    programs::TcContext,
};
use xebec_abi::{
    Be32, Ip6, PROTO_TCP,
    flow::{FLOW_TUNNELLED, Flow, PacketStat},
    tunnel::{MAC, SENDER, Tunnel, VNI},
};

use super::{
    Origin, SYN, Verdict,
    access::{Packet, difference},
    header::Header,
    ingress, oversize, tcp_flags,
};
use crate::maps::{
    flow::count,
    tunnel::{NODES, tunnel},
};

const BPF_F_TUNINFO_IPV6: u64 = 1;
const BPF_F_ZERO_CSUM_TX: u64 = 1 << 1;
/// Headers of IPv6 and TCP, without options.
const HEADERS6: u32 = 60;
/// Hops between nodes.
const HOPS: u8 = 64;
/// An option of TCP (RFC 9293): the end of the list, one byte of nothing, the largest segment.
const END: u8 = 0;
const NOTHING: u8 = 1;
const LARGEST_SEGMENT: u8 = 2;
/// Most options looked at; the kernels' own lists have six, and the largest segment first.
const OPTIONS: usize = 8;

/// Sends a packet of a client, as it is, to another node; dropped if there is no way.
///
/// One that is too long between the nodes the kernel cuts, where it may: not for nodes that are known by IPv6, and so the
/// client is told what would fit.
#[inline(always)]
pub fn send(p: &TcContext, h: &Header, node: Ip6) -> Verdict {
    let Some(tunnel) = tunnel() else { return misdirected() };
    let most = tunnel.mss6 as u32 + HEADERS6;
    if node.as_mapped().is_none() && oversize::len(p, h) > most {
        return oversize::refuse(p, h, most);
    }
    encapsulate(p, &tunnel, node)
}

/// Sends an error about a client's packet to another node.
#[inline(always)]
pub fn forward(p: &TcContext, node: Ip6) -> Verdict {
    match tunnel() {
        Some(tunnel) => encapsulate(p, &tunnel, node),
        None => misdirected(),
    }
}

/// Gives a packet its way through the tunnel.
#[inline(always)]
fn encapsulate(p: &TcContext, tunnel: &Tunnel, node: Ip6) -> Verdict {
    // SAFETY: a plain struct of integers.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
    key.tunnel_id = VNI;
    key.tunnel_ttl = HOPS;
    // Of IPv4 the packet's own checksum is enough; IPv6 asks for UDP's (RFC 8200).
    let flags = match node.as_mapped() {
        Some(Be32(addr)) => {
            key.__bindgen_anon_1.remote_ipv4 = u32::from_be(addr);
            key.__bindgen_anon_3.local_ipv4 = u32::from_be(tunnel.own4.0);
            BPF_F_ZERO_CSUM_TX
        }
        None => {
            key.__bindgen_anon_1.remote_ipv6 = node.0;
            key.__bindgen_anon_3.local_ipv6 = tunnel.own6.0;
            BPF_F_TUNINFO_IPV6
        }
    };
    let len = size_of::<bpf_tunnel_key>() as u32;
    // SAFETY: a helper over the program's own context and a struct on the stack of the stated length.
    if unsafe { bpf_skb_set_tunnel_key(p.skb.skb, &raw mut key, len, flags) } != 0 {
        return misdirected();
    }
    Packet::store(p, 0, &[MAC, SENDER]);
    count(PacketStat::Direct);
    // SAFETY: a helper without pointers.
    let _ = unsafe { bpf_redirect(tunnel.device, 0) };
    Verdict::Back
}

/// The node that a packet of the tunnel is from.
#[inline(always)]
fn sender(p: &TcContext) -> Option<Ip6> {
    // SAFETY: a plain struct of integers.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
    let len = size_of::<bpf_tunnel_key>() as u32;
    // SAFETY: a helper over the program's own context and a struct on the stack of the stated length; it fails for the
    // other family.
    unsafe {
        if bpf_skb_get_tunnel_key(p.skb.skb, &raw mut key, len, 0) == 0 {
            return Some(Ip6::mapped(Be32(key.__bindgen_anon_1.remote_ipv4.to_be())));
        }
        if bpf_skb_get_tunnel_key(p.skb.skb, &raw mut key, len, BPF_F_TUNINFO_IPV6) == 0 {
            return Some(Ip6(key.__bindgen_anon_1.remote_ipv6));
        }
    }
    None
}

/// A packet arrives by the tunnel. Nothing else than what another node is to send is let further.
#[inline(always)]
pub fn arrive(p: &TcContext, v6: bool) -> Verdict {
    if sender(p).is_some_and(|node| NODES.get_ptr(node).is_some()) {
        return ingress(p, v6, Origin::Tunnel);
    }
    misdirected()
}

/// A packet that has no business in the tunnel.
#[inline(always)]
pub fn misdirected() -> Verdict {
    count(PacketStat::Misdirected);
    Verdict::Drop
}

/// Lets the client's segments be no longer than the way from the node it asks to this one takes: the client learns that from
/// the answer to its first packet.
#[inline(always)]
pub fn clamp<P: Packet>(p: &P, h: &Header, flow: &Flow) {
    if flow.flags & FLOW_TUNNELLED != 0 && h.proto == PROTO_TCP && tcp_flags(p, h) & SYN != 0 {
        let _ = clamp_segments(p, h);
    }
}

#[inline(always)]
fn clamp_segments<P: Packet>(p: &P, h: &Header) -> Option<()> {
    let tunnel = tunnel()?;
    let most = if h.v6 { tunnel.mss6 } else { tunnel.mss4 };
    let end = (p.load::<[u8; 2]>(h.l4 + 12)?[0] >> 4) as usize * 4;
    p.reach(h.l4 + end);
    let (mut at, mut i) = (20, 0);
    while i < OPTIONS && at + 4 <= end {
        i += 1;
        // Four at once; the list is padded to that.
        let option: [u8; 4] = p.load(h.l4 + at)?;
        match option[0] {
            END => return None,
            NOTHING => at += 1,
            LARGEST_SEGMENT => {
                let old = [option[2], option[3]];
                if u16::from_be_bytes(old) <= most {
                    return None;
                }
                let new = most.to_be_bytes();
                p.store(h.l4 + at + 2, &new);
                // In the sum, bytes count by whether their place is even.
                let word = |b: [u8; 2]| {
                    [u32::from_ne_bytes(if at & 1 == 0 { [b[0], b[1], 0, 0] } else { [0, b[0], b[1], 0] })]
                };
                p.fix_l4_sum(h.sum(), difference(word(old), word(new)), false);
                return Some(());
            }
            _ if option[1] < 2 => return None,
            _ => at += (option[1] & 63) as usize,
        }
    }
    None
}
