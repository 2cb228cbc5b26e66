//! Packets that are too long for where they would have to go, and may not be cut. Enters: such a packet. Leaves: the error
//! that a router would send its sender (RFC 1191, RFC 8201), back by the device it came from.

use aya_ebpf::{
    helpers::generated::{bpf_csum_diff, bpf_skb_adjust_room, bpf_skb_change_tail},
    programs::TcContext,
};
use xebec_abi::{Be32, Ip6, PROTO_ICMP, PROTO_ICMP6, flow::PacketStat};

use super::{
    Verdict,
    access::Packet,
    header::{ETHERNET, Header},
};
use crate::maps::flow::count;

/// Of the packet, this much is quoted: its IP and transport header, by which its sender knows it.
const QUOTED: usize = 64;
/// An ICMP header.
const ICMP: usize = 8;
const BPF_ADJ_ROOM_MAC: u32 = 1;
/// TTL and hop limit of a packet that begins here.
const HOPS: u8 = 64;
/// "Do not cut", in an IPv4 header's sixth byte.
const UNCUT: u8 = 0x40;

#[repr(C)]
struct V4 {
    version_length_tos: [u8; 2],
    len: [u8; 2],
    id_fragment: [u8; 4],
    ttl: u8,
    proto: u8,
    sum: [u8; 2],
    src: Be32,
    dst: Be32,
    kind: [u8; 2],
    icmp_sum: [u8; 2],
    mtu: [u8; 4],
}

#[repr(C)]
struct V6 {
    first: [u8; 4],
    len: [u8; 2],
    next: u8,
    hops: u8,
    src: Ip6,
    dst: Ip6,
    kind: [u8; 2],
    icmp_sum: [u8; 2],
    mtu: [u8; 4],
}

/// The longest IP packet that this one is on a wire: of many that the kernel took together, one.
#[inline(always)]
pub fn len(p: &TcContext, h: &Header) -> u32 {
    // SAFETY: the context is the kernel's, valid for the program's run.
    let (len, segment) = unsafe { ((*p.skb.skb).len, (*p.skb.skb).gso_size) };
    // A segment of TCP has its header beside it.
    if segment == 0 { len.wrapping_sub(ETHERNET as u32) } else { segment + (h.l4 - ETHERNET) as u32 + 20 }
}

/// Tells the sender that a packet of at most `most` bytes fits; one that might be cut, or whose sender would learn nothing, is
/// dropped.
#[inline(always)]
pub fn refuse(p: &TcContext, h: &Header, most: u32) -> Verdict {
    count(PacketStat::Oversize);
    // SAFETY: the context is the kernel's, valid for the program's run.
    let many = unsafe { (*p.skb.skb).gso_size } != 0;
    if many || h.later || h.more || !told(p, h, most).unwrap_or(false) {
        return Verdict::Drop;
    }
    if p.turn(false) { Verdict::Back } else { Verdict::Drop }
}

#[inline(always)]
fn told(p: &TcContext, h: &Header, most: u32) -> Option<bool> {
    if !h.v6 && Packet::load::<[u8; 2]>(p, h.at + 6)?[0] & UNCUT == 0 {
        return None;
    }
    let macs: [[u8; 6]; 2] = Packet::load(p, 0)?;
    let header = if h.v6 { size_of::<V6>() } else { size_of::<V4>() };
    let skb = p.skb.skb;
    // SAFETY: helpers over the program's own context.
    unsafe {
        if bpf_skb_change_tail(skb, (ETHERNET + QUOTED) as u32, 0) != 0
            || bpf_skb_adjust_room(skb, header as i32, BPF_ADJ_ROOM_MAC, 0) != 0
        {
            return None;
        }
    }
    Packet::store(p, 0, &[macs[1], macs[0]]);
    if h.v6 {
        let new = V6 {
            first: [0x60, 0, 0, 0],
            len: ((ICMP + QUOTED) as u16).to_be_bytes(),
            next: PROTO_ICMP6,
            hops: HOPS,
            src: h.dst,
            dst: h.src,
            kind: [2, 0],
            icmp_sum: [0; 2],
            mtu: most.to_be_bytes(),
        };
        Packet::store(p, ETHERNET, &new);
        let mut pseudo = [h.dst.0, h.src.0];
        let tail = [((ICMP + QUOTED) as u32).to_be(), (PROTO_ICMP6 as u32).to_be()];
        let sum = add(&mut pseudo, 0);
        let sum = add(&mut { tail }, sum);
        finish(p, ETHERNET + 40, sum)?;
    } else {
        let mut new = V4 {
            version_length_tos: [0x45, 0],
            len: ((20 + ICMP + QUOTED) as u16).to_be_bytes(),
            id_fragment: [0, 0, UNCUT, 0],
            ttl: HOPS,
            proto: PROTO_ICMP,
            sum: [0; 2],
            src: Be32(h.dst.0[3]),
            dst: Be32(h.src.0[3]),
            kind: [3, 4],
            icmp_sum: [0; 2],
            mtu: most.to_be_bytes(),
        };
        // SAFETY: the header's first 20 bytes, on the stack.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, (&raw mut new).cast(), 20, 0) };
        new.sum = fold(sum as u32).to_ne_bytes();
        Packet::store(p, ETHERNET, &new);
        finish(p, ETHERNET + 20, 0)?;
    }
    Some(true)
}

/// The sum of a value on the stack and one of before.
#[inline(always)]
fn add<T>(value: &mut T, seed: u32) -> u32 {
    let from = core::ptr::from_mut(value).cast();
    // SAFETY: as long as stated.
    unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, from, size_of::<T>() as u32, seed) as u32 }
}

/// Fills in the sum of an ICMP packet that begins at an offset and ends with the quote.
#[inline(always)]
fn finish(p: &TcContext, at: usize, seed: u32) -> Option<()> {
    let start = p.data() + at;
    if start + ICMP + QUOTED > p.data_end() {
        return None;
    }
    // SAFETY: inside the packet's first part, as was just seen and the verifier checks as well.
    let sum =
        unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, start as *mut u32, (ICMP + QUOTED) as u32, seed) };
    Packet::store(p, at + 2, &fold(sum as u32));
    Some(())
}

/// A sum as it stands in a header.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
