//! The one peer of a TCP socket, in a table by the socket's cookie: claimed by `connect`, freed by the socket's end.
//!
//! A place that another socket has is left to it, and the caller keeps the peer in the socket's storage. So do connections of
//! multipath TCP: what connects is a path of theirs, whose end no program is told of.

use core::arch::asm;

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_get_socket_cookie, programs::SockContext};
use xebec_abi::{
    Be16, Be32, Ip6, PROTO_TCP,
    reverse::{PEERS, Peer},
};

use super::{
    Call,
    family::{Endpoint, Family},
};

const AF_INET: u32 = 2;

/// A place in the table.
#[inline(always)]
fn place<A: Family>(cookie: u64) -> Option<*mut Peer<A>> {
    A::peer(cookie as u32 & (PEERS - 1))
}

/// The socket's place, if it has it.
#[inline(always)]
fn owned<A: Family>(cookie: u64) -> Option<*mut Peer<A>> {
    // SAFETY: one aligned word of the map's memory.
    place::<A>(cookie).filter(|p| unsafe { core::ptr::read_volatile(&raw const (**p).owner) } == cookie)
}

/// Makes a free word `new`; what it was before.
#[inline(always)]
fn take(word: *mut u64, new: u64) -> u64 {
    let mut old = 0_u64;
    // SAFETY: an aligned word of the map's memory. The target's own atomics stop short of compare and exchange.
    unsafe {
        asm!(
            "r0 = cmpxchg_64(r1 + 0, r0, r2)",
            inout("r0") old,
            in("r1") word,
            in("r2") new,
            options(nostack),
        );
    }
    old
}

/// Notes the peer of a TCP socket; false if it has to be kept elsewhere.
#[inline(always)]
pub fn claim<A: Family>(call: &Call<'_>, vip: A, vport: Be16, to: &Endpoint<A>) -> bool {
    if !call.is_tcp() || !call.is_own() {
        return false;
    }
    let cookie = call.cookie();
    let Some(peer) = place::<A>(cookie) else { return false };
    // SAFETY: the map's memory, whose owner alone writes the rest.
    unsafe {
        let owner = &raw mut (*peer).owner;
        let had = core::ptr::read_volatile(owner);
        if had != cookie && (had != 0 || take(owner, cookie) != 0) {
            return false;
        }
        (*peer).vip = vip;
        (*peer).addr = to.addr;
        (*peer).vport = vport;
        (*peer).port = to.port;
    }
    true
}

/// The VIP behind an endpoint, for this socket.
#[inline(always)]
pub fn vip_of<A: Family>(call: &Call<'_>, addr: A, port: Be16) -> Option<(A, Be16)> {
    if !call.is_tcp() {
        return None;
    }
    // SAFETY: the socket's own place.
    let peer = unsafe { &*owned::<A>(call.cookie())? };
    (peer.addr.same(addr) && peer.port.0 == port.0).then_some((peer.vip, peer.vport))
}

/// The socket connects to something else.
#[inline(always)]
pub fn forget<A: Family>(call: &Call<'_>) {
    if call.is_tcp() {
        free::<A>(call.cookie());
    }
}

#[inline(always)]
fn free<A: Family>(cookie: u64) {
    if let Some(peer) = owned::<A>(cookie) {
        // SAFETY: one aligned word of the socket's own place.
        unsafe { core::ptr::write_volatile(&raw mut (*peer).owner, 0) };
    }
}

/// A socket ends.
#[inline(always)]
pub fn release(ctx: &SockContext) {
    // SAFETY: the context is the kernel's, valid for the program's run.
    if unsafe { core::ptr::read_volatile(&raw const (*ctx.sock).protocol) } != PROTO_TCP as u32 {
        return;
    }
    // SAFETY: a helper over the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    free::<Be32>(cookie);
    // SAFETY: as above.
    if unsafe { core::ptr::read_volatile(&raw const (*ctx.sock).family) } != AF_INET {
        free::<Ip6>(cookie);
    }
}
