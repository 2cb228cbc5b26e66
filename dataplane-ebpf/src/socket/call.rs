//! The kernel's context, read and written in the widths the verifier accepts.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_skc_to_mptcp_sock},
    programs::SockAddrContext,
};
use xebec_abi::{Be16, Be32, Ip6, PROTO_MPTCP, PROTO_TCP, PROTO_UDP};

use crate::maps::state::MPTCP_KNOWN;

/// One hooked call.
pub struct Call<'a> {
    /// The kernel's context.
    pub ctx: &'a SockAddrContext,
}

impl<'a> Call<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a SockAddrContext) -> Self {
        Self { ctx }
    }

    /// The protocol of a service, if the socket speaks one.
    #[inline(always)]
    pub fn proto(&self) -> Option<u8> {
        let proto = self.raw_proto();
        if proto == PROTO_TCP as u32 || proto == PROTO_MPTCP {
            Some(PROTO_TCP)
        } else if proto == PROTO_UDP as u32 {
            Some(PROTO_UDP)
        } else {
            None
        }
    }

    /// Whether the socket is TCP's.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.raw_proto() == PROTO_TCP as u32
    }

    /// Whether the application has this socket: it has not those that are paths of a connection of multipath TCP.
    #[inline(always)]
    pub fn is_own(&self) -> bool {
        whole(self.ctx).is_null()
    }

    #[inline(always)]
    fn raw_proto(&self) -> u32 {
        // SAFETY: the context is the kernel's, valid for the program's run; a 4-byte read of a 4-byte field.
        unsafe { core::ptr::read_volatile(&raw const (*self.ctx.sock_addr).protocol) }
    }

    /// The port in the address.
    #[inline(always)]
    pub fn port(&self) -> Be16 {
        // SAFETY: as in `raw_proto`; the port is in the low half, in network order.
        Be16(unsafe { core::ptr::read_volatile(&raw const (*self.ctx.sock_addr).user_port) } as u16)
    }

    /// The IPv4 address.
    #[inline(always)]
    pub fn v4(&self) -> Be32 {
        // SAFETY: as in `raw_proto`.
        Be32(unsafe { core::ptr::read_volatile(&raw const (*self.ctx.sock_addr).user_ip4) })
    }

    /// The IPv6 address.
    #[inline(always)]
    pub fn v6(&self) -> Ip6 {
        // SAFETY: as in `raw_proto`.
        unsafe { words((&raw const (*self.ctx.sock_addr).user_ip6).cast()) }
    }

    /// The IPv4 address that the socket is bound to, zero if to none.
    #[inline(always)]
    pub fn bound4(&self) -> Be32 {
        // SAFETY: as in `raw_proto`; the socket is valid for the program's run.
        Be32(unsafe {
            core::ptr::read_volatile(&raw const (*(*self.ctx.sock_addr).__bindgen_anon_1.sk).src_ip4)
        })
    }

    /// The IPv6 address that the socket is bound to, zero if to none.
    #[inline(always)]
    pub fn bound6(&self) -> Ip6 {
        // SAFETY: as in `bound4`.
        unsafe { words((&raw const (*(*self.ctx.sock_addr).__bindgen_anon_1.sk).src_ip6).cast()) }
    }

    /// The IPv4 address that a datagram is to be sent from, zero if none is said: of sendmsg4.
    #[inline(always)]
    pub fn sent4(&self) -> Be32 {
        // SAFETY: as in `raw_proto`.
        Be32(unsafe { core::ptr::read_volatile(&raw const (*self.ctx.sock_addr).msg_src_ip4) })
    }

    /// The IPv6 address that a datagram is to be sent from, zero if none is said: of sendmsg6.
    #[inline(always)]
    pub fn sent6(&self) -> Ip6 {
        // SAFETY: as in `raw_proto`.
        unsafe { words((&raw const (*self.ctx.sock_addr).msg_src_ip6).cast()) }
    }

    /// Replaces address and port.
    #[inline(always)]
    pub fn set_v4(&self, addr: Be32, port: Be16) {
        // SAFETY: as in `raw_proto`; these fields are writable in every hook that calls this.
        unsafe { core::ptr::write_volatile(&raw mut (*self.ctx.sock_addr).user_ip4, addr.0) };
        self.set_port(port);
    }

    /// Replaces the IPv4 address in a mapped one, and the port.
    #[inline(always)]
    pub fn set_mapped(&self, addr: Be32, port: Be16) {
        self.set_word(3, addr.0);
        self.set_port(port);
    }

    /// Replaces address and port.
    #[inline(always)]
    pub fn set_v6(&self, addr: Ip6, port: Be16) {
        self.set_word(0, addr.0[0]);
        self.set_word(1, addr.0[1]);
        self.set_word(2, addr.0[2]);
        self.set_word(3, addr.0[3]);
        self.set_port(port);
    }

    #[inline(always)]
    fn set_word(&self, i: usize, word: u32) {
        // SAFETY: as in `set_v4`; `i` is a constant below 4.
        unsafe {
            core::ptr::write_volatile((&raw mut (*self.ctx.sock_addr).user_ip6).cast::<u32>().add(i), word)
        };
    }

    #[inline(always)]
    fn set_port(&self, port: Be16) {
        // SAFETY: as in `set_v4`.
        unsafe { core::ptr::write_volatile(&raw mut (*self.ctx.sock_addr).user_port, port.0 as u32) };
    }

    /// Cookie of the socket's network namespace.
    #[inline(always)]
    pub fn netns(&self) -> u64 {
        // SAFETY: a helper over the program's own context.
        unsafe { bpf_get_netns_cookie(self.ctx.as_ptr()) }
    }

    /// The socket's cookie.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: a helper over the program's own context.
        unsafe { bpf_get_socket_cookie(self.ctx.as_ptr()) }
    }
}

/// An IPv6 address of the kernel's, word by word, as wide loads are refused at some offsets.
///
/// # Safety
/// `first` is the address of four words in the context or in the socket that it points to.
#[inline(always)]
unsafe fn words(first: *const u32) -> Ip6 {
    // SAFETY: by this function's contract.
    let word = |i: usize| unsafe { core::ptr::read_volatile(first.add(i)) };
    Ip6([word(0), word(1), word(2), word(3)])
}

/// The connection's socket if this one is a path of multipath TCP's (RFC 8684), which the application never sees: else null.
#[inline(always)]
fn whole(ctx: &SockAddrContext) -> *mut c_void {
    // SAFETY: the context is the kernel's, valid for the program's run, as is the socket in it.
    unsafe {
        if MPTCP_KNOWN.load() == 0
            || core::ptr::read_volatile(&raw const (*ctx.sock_addr).protocol) != PROTO_TCP as u32
        {
            return core::ptr::null_mut();
        }
        bpf_skc_to_mptcp_sock((*ctx.sock_addr).__bindgen_anon_1.sk.cast()).cast()
    }
}

/// The socket that the application has, which a path of a connection is not.
#[inline(always)]
pub fn owner(ctx: &SockAddrContext) -> *mut c_void {
    let whole = whole(ctx);
    if !whole.is_null() {
        return whole;
    }
    // SAFETY: as in `whole`.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk.cast() }
}
