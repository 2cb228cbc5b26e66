#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
//! Service VIPs, translated once, in the socket call; and for traffic from outside, packet by packet (see `packet`).
//!
//! Enters: the address a process in the cgroup passes to `connect` or `sendmsg`, or is about to get from `recvmsg`
//! or `getpeername`. Leaves: the endpoint's address in its place, or the VIP back in the endpoint's place, or
//! ECONNREFUSED for a service without endpoints. Called by the kernel, at the cgroup hooks of each name.
//!
//! Every v6 program also handles `::ffff:a.b.c.d`: with the v4 programs alone a v4-mapped TCP connection stays
//! untranslated, and a UDP reply shows the endpoint.
//!
//! Which connected UDP sockets are to be released is listed by iterators (see `drain`).
//!
//! NetworkPolicy is enforced at the devices of the pods it selects (see `packet::policy`), and nowhere else.

mod diag;
mod drain;
mod event;
mod maps;
mod packet;
mod socket;
mod verdict;

use aya_ebpf::{
    macros::{cgroup_sock, cgroup_sock_addr, classifier, xdp},
    programs::{SockAddrContext, SockContext, TcContext, XdpContext},
};
use socket::{Call, connect, peername, receive, send};
use xebec_abi::policy::{EGRESS, INGRESS};

/// The layout version, read from the file by the loader.
#[used]
#[unsafe(no_mangle)]
static XEBEC_ABI: [u8; 16] = xebec_abi::MARKER;

/// `connect` on an AF_INET socket.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    let call = Call::new(&ctx);
    connect(&call, call.v4(), || call.bound4()).apply_v4(&call).code()
}

/// `connect` on an AF_INET6 socket.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    let call = Call::new(&ctx);
    let addr = call.v6();
    match addr.as_mapped() {
        Some(ip4) => connect(&call, ip4, || call.bound4()).apply_mapped(&call).code(),
        None => connect(&call, addr, || call.bound6()).apply_v6(&call).code(),
    }
}

/// `sendto`/`sendmsg` with an address, UDP on AF_INET (and v4-mapped destinations of AF_INET6 sockets).
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    let call = Call::new(&ctx);
    send(&call, call.v4(), || call.sent4()).apply_v4(&call).code()
}

/// `sendto`/`sendmsg` with an address, UDP on AF_INET6.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    let call = Call::new(&ctx);
    let addr = call.v6();
    match addr.as_mapped() {
        Some(ip4) => send(&call, ip4, || call.bound4()).apply_mapped(&call).code(),
        None => send(&call, addr, || call.sent6()).apply_v6(&call).code(),
    }
}

/// The source address of a received datagram, AF_INET.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    let call = Call::new(&ctx);
    receive(&call, call.v4()).apply_v4(&call).always()
}

/// The source address of a received datagram, AF_INET6.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    let call = Call::new(&ctx);
    let addr = call.v6();
    match addr.as_mapped() {
        Some(ip4) => receive(&call, ip4).apply_mapped(&call).always(),
        None => receive(&call, addr).apply_v6(&call).always(),
    }
}

/// The peer's address, AF_INET.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    let call = Call::new(&ctx);
    peername(&call, call.v4()).apply_v4(&call).always()
}

/// The peer's address, AF_INET6.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    let call = Call::new(&ctx);
    let addr = call.v6();
    match addr.as_mapped() {
        Some(ip4) => peername(&call, ip4).apply_mapped(&call).always(),
        None => peername(&call, addr).apply_v6(&call).always(),
    }
}

/// A socket ends.
#[cgroup_sock(sock_release)]
pub fn sock_release(ctx: SockContext) -> i32 {
    socket::release(&ctx);
    1
}

/// A frame arrives in a device's driver.
#[xdp]
pub fn xdp_ingress(ctx: XdpContext) -> u32 {
    packet::driver::pass(&ctx)
}

/// A packet comes in from a device that outside traffic passes.
#[classifier]
pub fn tcx_ingress(ctx: TcContext) -> i32 {
    const PACKET_HOST: u32 = 0;
    // SAFETY: the context is the kernel's, valid for the program's run.
    if unsafe { (*ctx.skb.skb).pkt_type } != PACKET_HOST {
        return packet::Verdict::Next.tcx();
    }
    packet::is_v6(&ctx)
        .map_or(packet::Verdict::Next, |v6| packet::ingress(&ctx, v6, packet::Origin::Outside))
        .tcx()
}

/// A packet goes out to such a device.
#[classifier]
pub fn tcx_egress(ctx: TcContext) -> i32 {
    packet::is_v6(&ctx).map_or(packet::Verdict::Next, |v6| packet::egress(&ctx, v6)).tcx()
}

/// A packet arrives from another node, which sent it on as it is.
#[classifier]
pub fn tunnel_ingress(ctx: TcContext) -> i32 {
    let stop = packet::Verdict::Drop;
    packet::is_v6(&ctx).map_or(stop, |v6| packet::tunnel::arrive(&ctx, v6)).tcx()
}

/// A packet comes from a pod of the node's own network.
#[classifier]
pub fn pod_path(ctx: TcContext) -> i32 {
    packet::is_v6(&ctx).map_or(packet::Verdict::Next, |v6| packet::local::forward(&ctx, v6)).tcx()
}

/// A packet comes from a pod that is served packet by packet.
#[classifier]
pub fn pod_services(ctx: TcContext) -> i32 {
    let pass = packet::Verdict::Next;
    packet::is_v6(&ctx).map_or(pass, |v6| packet::ingress(&ctx, v6, packet::Origin::Pod)).tcx()
}

/// A packet goes to such a pod.
#[classifier]
pub fn pod_answers(ctx: TcContext) -> i32 {
    packet::is_v6(&ctx).map_or(packet::Verdict::Next, |v6| packet::egress(&ctx, v6)).tcx()
}

/// A packet goes to a pod that policies select, out by the node's end of its device.
#[classifier]
pub fn policy_ingress(ctx: TcContext) -> i32 {
    let pass = packet::Verdict::Next;
    packet::is_v6(&ctx).map_or(pass, |v6| packet::policy::judge(&ctx, v6, INGRESS)).tcx()
}

/// A packet comes from a pod that policies select.
#[classifier]
pub fn policy_egress(ctx: TcContext) -> i32 {
    let pass = packet::Verdict::Next;
    packet::is_v6(&ctx).map_or(pass, |v6| packet::policy::judge(&ctx, v6, EGRESS)).tcx()
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
