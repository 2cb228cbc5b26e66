//! Whether a packet is an answer to a socket of the node itself, which happens to use a node port's number.

use aya_ebpf::{
    bindings::{
        bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
    programs::TcContext,
};
use xebec_abi::{PROTO_TCP, flow::FlowKey};

/// `BPF_F_CURRENT_NETNS`: the device's own network namespace.
const HERE: u64 = -1_i32 as i64 as u64;
/// States of a socket: connected (UDP's too), and one that only waits for calls.
const ESTABLISHED: u32 = 1;
const LISTEN: u32 = 10;

/// Whether a socket of the node is connected to the packet's sender.
#[inline(always)]
pub fn has_called(p: &TcContext, key: &FlowKey, v6: bool) -> bool {
    let ends = if v6 {
        let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: key.src.0,
            daddr: key.dst.0,
            sport: key.sport.0,
            dport: key.dport.0,
        };
        bpf_sock_tuple__bindgen_ty_1 { ipv6 }
    } else {
        let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: key.src.0[3],
            daddr: key.dst.0[3],
            sport: key.sport.0,
            dport: key.dport.0,
        };
        bpf_sock_tuple__bindgen_ty_1 { ipv4 }
    };
    let mut tuple = bpf_sock_tuple { __bindgen_anon_1: ends };
    let len = if v6 {
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
    } else {
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
    } as u32;
    let tcp = key.proto == PROTO_TCP;
    let (context, ends) = (p.skb.skb.cast(), &raw mut tuple);
    // SAFETY: helpers over the program's own context and a tuple on the stack of the stated length.
    let socket: *mut bpf_sock = unsafe {
        if tcp {
            bpf_skc_lookup_tcp(context, ends, len, HERE, 0)
        } else {
            bpf_sk_lookup_udp(context, ends, len, HERE, 0)
        }
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: a socket that the kernel holds for us until it is released.
    let state = unsafe { core::ptr::read_volatile(&raw const (*socket).state) };
    // SAFETY: as above; the last use.
    let _ = unsafe { bpf_sk_release(socket.cast()) };
    if tcp { state != LISTEN } else { state == ESTABLISHED }
}
