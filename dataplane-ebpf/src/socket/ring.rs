//! What the socket was told: written when it is given an endpoint, read when it asks who answers.
//!
//! Two threads that use one socket at the same moment may tear an entry; it then matches nothing, the reply shows
//! its endpoint once, and the next datagram writes the entry again.

use xebec_abi::{
    Be16, PROTO_UDP,
    reverse::{CONNECTED, CONNECTED_UDP, OverflowKey, OverflowValue, RING, Rev, Ring},
    state::Stat,
};

use super::{
    Call,
    family::{Endpoint, Family},
    unchanged,
};
use crate::maps::{reverse::OVERFLOW, state::count};

/// A pointer to entry `i`, which is below [`RING`].
#[inline(always)]
fn entry<A>(ring: *mut Ring<A>, i: usize) -> *mut Rev<A> {
    // SAFETY: inside the array, as `i < RING`; the verifier checks the same.
    unsafe { (&raw mut (*ring).entries).cast::<Rev<A>>().add(i & (RING - 1)) }
}

#[inline(always)]
fn rev<A: Family>(vip: A, vport: Be16, to: &Endpoint<A>) -> Rev<A> {
    Rev { vip, addr: to.addr, vport, port: to.port, backend: to.backend, state: to.state }
}

/// A connected socket has one peer: earlier translations are void.
#[inline(always)]
pub fn restart<A: Family>(call: &Call<'_>, proto: u8, vip: A, vport: Be16, to: &Endpoint<A>) {
    let ring = A::ring(call.ctx, true);
    if ring.is_null() {
        return;
    }
    // SAFETY: the kernel's storage for this socket, valid for the program's run.
    unsafe {
        let mut i = 1;
        while i < RING {
            (*entry(ring, i)).state = 0;
            i += 1;
        }
        *entry(ring, 0) = rev(vip, vport, to);
        (*ring).head = 1;
        (*ring).connected = if proto == PROTO_UDP { CONNECTED_UDP } else { CONNECTED };
    }
}

/// Adds a translation; one of the same VIP or the same endpoint is replaced.
#[inline(always)]
pub fn remember<A: Family>(call: &Call<'_>, vip: A, vport: Be16, to: &Endpoint<A>) {
    let ring = A::ring(call.ctx, true);
    if ring.is_null() {
        return;
    }
    let new = rev(vip, vport, to);
    // SAFETY: as in `restart`.
    unsafe {
        let mut i = 0;
        while i < RING {
            let e = entry(ring, i);
            if (*e).state != 0 && (*e).addr.same(to.addr) && (*e).port.0 == to.port.0 {
                *e = new;
                return;
            }
            i += 1;
        }
        let head = (*ring).head;
        let e = entry(ring, head as usize & (RING - 1));
        if (*e).state != 0 {
            overflow(call, &*e);
        }
        *e = new;
        (*ring).head = head + 1;
    }
}

#[inline(always)]
fn overflow<A: Family>(call: &Call<'_>, old: &Rev<A>) {
    let key = OverflowKey { cookie: call.cookie(), addr: old.addr.wide(), port: old.port, pad: [0; 3] };
    let value = OverflowValue { vip: old.vip.wide(), vport: old.vport, pad: [0; 3] };
    // An error means that the reply shows its endpoint; there is nobody to tell but the counter.
    let _ = OVERFLOW.insert(key, value, 0);
    count(Stat::Overflow);
}

/// The endpoint this socket last used for the VIP, while it is in the service.
#[inline(always)]
pub fn sticky<A: Family>(call: &Call<'_>, vip: A, vport: Be16) -> Option<(A, Be16)> {
    let ring = A::ring(call.ctx, false);
    if ring.is_null() {
        return None;
    }
    let mut i = 0;
    while i < RING {
        // SAFETY: as in `restart`.
        let e = unsafe { *entry(ring, i) };
        if e.state != 0 && e.vip.same(vip) && e.vport.0 == vport.0 && unchanged(e.backend, e.state) {
            return Some((e.addr, e.port));
        }
        i += 1;
    }
    None
}

/// The VIP behind an endpoint, for this socket.
#[inline(always)]
pub fn vip_of<A: Family>(call: &Call<'_>, addr: A, port: Be16) -> Option<(A, Be16)> {
    let ring = A::ring(call.ctx, false);
    if ring.is_null() {
        return None;
    }
    let mut i = 0;
    while i < RING {
        // SAFETY: as in `restart`.
        let e = unsafe { *entry(ring, i) };
        if e.state != 0 && e.addr.same(addr) && e.port.0 == port.0 {
            return Some((e.vip, e.vport));
        }
        i += 1;
    }
    // SAFETY: as in `restart`.
    if unsafe { (*ring).head } <= RING as u32 {
        return None;
    }
    let key = OverflowKey { cookie: call.cookie(), addr: addr.wide(), port, pad: [0; 3] };
    // SAFETY: the key holds this socket's cookie, so a reused element shows another socket's VIP at worst once.
    let value = unsafe { OVERFLOW.get(key) }?;
    Some((A::narrow(value.vip), value.vport))
}

/// The application talks to this address itself: replies from it are no VIP's any more.
///
/// A connected v4-mapped UDP socket passes the v4 sendmsg hook on every `send`, with the endpoint it is connected to:
/// what `connect` remembered is therefore only forgotten by another connect (`connecting`).
#[inline(always)]
pub fn forget<A: Family>(call: &Call<'_>, addr: A, port: Be16, connecting: bool) {
    let ring = A::ring(call.ctx, false);
    if ring.is_null() {
        return;
    }
    // SAFETY: as in `restart`.
    let keep_first = unsafe { (*ring).connected } != 0 && !connecting;
    let mut i = 0;
    while i < RING {
        let e = entry(ring, i);
        // SAFETY: as in `restart`.
        unsafe {
            if (*e).state != 0 && (*e).addr.same(addr) && (*e).port.0 == port.0 && !(i == 0 && keep_first) {
                (*e).state = 0;
            }
        }
        i += 1;
    }
    if connecting {
        // SAFETY: as in `restart`.
        unsafe { (*ring).connected = 0 };
    }
}
