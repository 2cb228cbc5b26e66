#![no_std]
#![no_main]
//! An experiment, no part of the dataplane: bytes between two sockets of one node go from one to the other's queue, past TCP
//! and IP (sock_ops, sk_msg). `xebec-netbench bypass` measures it; its module says what came out.
//!
//! Enters: connections as they are established, in two network namespaces; messages of their sockets. Leaves: the sockets
//! in a map by their ends; the messages at the socket whose ends are the other way round.

use aya_ebpf::{
    EbpfContext as _, Global,
    helpers::generated::bpf_get_netns_cookie,
    macros::{map, sk_msg, sock_ops},
    maps::SockHash,
    programs::{SkMsgContext, SockOpsContext},
};

const AF_INET: u32 = 2;
const ACTIVE_ESTABLISHED: u32 = 4;
const PASSIVE_ESTABLISHED: u32 = 5;
const BPF_NOEXIST: u64 = 1;
const BPF_F_INGRESS: u64 = 1;
const SK_PASS: u32 = 1;

/// A connection as one of its sockets sees it; ports in host order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ends {
    local: u32,
    remote: u32,
    local_port: u32,
    remote_port: u32,
}

#[map]
static SOCKETS: SockHash<Ends> = SockHash::with_max_entries(65_536, 0);
/// Cookies of the two namespaces, set at load.
#[unsafe(no_mangle)]
static CLIENT: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static SERVER: Global<u64> = Global::new(0);

/// A connection is established.
#[sock_ops]
pub fn established(ctx: SockOpsContext) -> u32 {
    if (ctx.op() != ACTIVE_ESTABLISHED && ctx.op() != PASSIVE_ESTABLISHED) || ctx.family() != AF_INET {
        return 0;
    }
    // SAFETY: a helper over the program's own context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    if netns != CLIENT.load() && netns != SERVER.load() {
        return 0;
    }
    let mut ends = Ends {
        local: ctx.local_ip4(),
        remote: ctx.remote_ip4(),
        local_port: ctx.local_port(),
        remote_port: u32::from_be(ctx.remote_port()),
    };
    // SAFETY: the context is the kernel's, valid for the program's run. A full map leaves the connection as it is.
    let _ = SOCKETS.update(&mut ends, unsafe { &mut *ctx.ops }, BPF_NOEXIST);
    0
}

/// A socket of the map sends.
#[sk_msg]
pub fn message(ctx: SkMsgContext) -> u32 {
    // SAFETY: the context is the kernel's, valid for the program's run.
    let mut other = unsafe {
        let msg = &*ctx.msg;
        Ends {
            local: msg.remote_ip4,
            remote: msg.local_ip4,
            local_port: u32::from_be(msg.remote_port),
            remote_port: msg.local_port,
        }
    };
    // A peer that is not there gets the bytes by the network.
    let _ = SOCKETS.redirect_msg(&ctx, &mut other, BPF_F_INGRESS);
    SK_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
