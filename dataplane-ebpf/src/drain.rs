//! Lists the connected UDP sockets whose endpoint has left, in whatever network namespace they are.
//!
//! Enters: each socket with storage in REV4 or REV6, shown by the kernel's iterator over the map. Leaves:
//! [`Stale`] records, read from the iterator's file. Called by the kernel when the agent reads that file.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::seq_file,
    helpers::generated::{bpf_get_socket_cookie, bpf_seq_write},
};
use xebec_abi::{
    Be32, Ip6,
    drain::Stale,
    reverse::{CONNECTED_UDP, Ring},
};

use crate::socket::{Family, unchanged};

/// The kernel's `struct bpf_iter_meta`, as far as it is read.
#[repr(C)]
pub struct Meta {
    seq: *mut seq_file,
}

/// The kernel's `struct bpf_iter__bpf_sk_storage_map`; socket and value are null at the end of the walk.
#[repr(C)]
pub struct Context {
    meta: *const Meta,
    map: *const c_void,
    socket: *mut c_void,
    value: *const c_void,
}

/// One socket of REV4.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub extern "C" fn drain4(ctx: *const Context) -> i32 {
    list::<Be32>(ctx)
}

/// One socket of REV6.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub extern "C" fn drain6(ctx: *const Context) -> i32 {
    list::<Ip6>(ctx)
}

/// Returns 0, go on, in every case: what did not fit the reader's buffer is shown again by the kernel itself.
#[inline(always)]
fn list<A: Family>(ctx: *const Context) -> i32 {
    // SAFETY: the context is the kernel's, valid for the program's run.
    let (meta, socket, ring) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*ctx).meta),
            core::ptr::read_volatile(&raw const (*ctx).socket),
            core::ptr::read_volatile(&raw const (*ctx).value).cast::<Ring<A>>(),
        )
    };
    if socket.is_null() || ring.is_null() {
        return 0;
    }
    // SAFETY: the value is a whole ring, as the iterator is attached to the map of its family.
    let (connected, first) = unsafe { ((*ring).connected, &raw const (*ring).entries) };
    // SAFETY: as above; the first of the ring's entries.
    let entry = unsafe { &*first.cast::<xebec_abi::reverse::Rev<A>>() };
    if connected != CONNECTED_UDP || entry.state == 0 || unchanged(entry.backend, entry.state) {
        return 0;
    }
    let stale = Stale {
        // SAFETY: the socket shown, which the kernel holds for the program's run.
        cookie: unsafe { bpf_get_socket_cookie(socket) },
        vip: entry.vip.wide(),
        addr: entry.addr.wide(),
        vport: entry.vport,
        port: entry.port,
        pad: 0,
    };
    // SAFETY: the iterator's own file and a record on the stack.
    unsafe { bpf_seq_write((*meta).seq, (&raw const stale).cast(), size_of::<Stale>() as u32) };
    0
}
