//! Where the kernel would send a packet, asked without sending it there.

use aya_ebpf::{EbpfContext, bindings::bpf_fib_lookup, helpers::generated::bpf_fib_lookup as fib_lookup};
use xebec_abi::flow::FlowKey;

use super::{access::Packet, header::Header};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Where a packet goes next.
pub struct Way {
    pub device: u32,
    /// Destination and source, as in the frame.
    pub macs: [[u8; 6]; 2],
}

/// The packet's length, as its IP header has it.
#[inline(always)]
pub fn len<P: Packet>(p: &P, h: &Header) -> Option<u16> {
    let len = u16::from_be(p.load::<u16>(h.at + if h.v6 { 4 } else { 2 })?);
    Some(if h.v6 { len.wrapping_add(40) } else { len })
}

/// Asks the kernel's routes for a packet that is to have other ends; `None` if it does not fit (`len`; of a socket buffer the
/// kernel knows it, and 0 is given), or the next hop's address is not known yet.
#[inline(always)]
pub fn route<P: Packet + EbpfContext>(p: &P, h: &Header, to: &FlowKey, len: u16) -> Option<Way> {
    // SAFETY: a plain struct of integers.
    let mut ask: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    ask.l4_protocol = h.proto;
    ask.sport = to.sport.0;
    ask.dport = to.dport.0;
    ask.ifindex = p.device();
    ask.__bindgen_anon_1.tot_len = len;
    if h.v6 {
        ask.family = AF_INET6;
        ask.__bindgen_anon_3.ipv6_src = to.src.0;
        ask.__bindgen_anon_4.ipv6_dst = to.dst.0;
    } else {
        ask.family = AF_INET;
        ask.__bindgen_anon_3.ipv4_src = to.src.0[3];
        ask.__bindgen_anon_4.ipv4_dst = to.dst.0[3];
    }
    // SAFETY: a helper over the program's own context and a struct on the stack of the stated length.
    let answer = unsafe { fib_lookup(p.as_ptr(), &raw mut ask, size_of::<bpf_fib_lookup>() as i32, 0) };
    (answer == 0).then_some(Way { device: ask.ifindex, macs: [ask.dmac, ask.smac] })
}
