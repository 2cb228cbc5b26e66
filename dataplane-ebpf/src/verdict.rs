//! What a program decided, turned into the kernel's numbers here and nowhere else.

use aya_ebpf::helpers::bpf_set_retval;
use xebec_abi::{Be16, Be32, Ip6};

use crate::socket::Call;

const EPERM: i32 = 1;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

/// The decision about one address.
#[must_use]
pub enum Outcome<A> {
    /// Leave it.
    Pass,
    /// Replace it.
    Rewrite(A, Be16),
    /// Fail the call with ECONNREFUSED: nobody answers at the port.
    Refuse,
    /// Fail the call with EHOSTUNREACH: nobody has the address.
    Unreachable,
    /// Fail the call with EPERM, as where the node's packet filter drops what a socket sends (connect(2)).
    Deny,
}

/// What the kernel is told.
#[must_use]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// Fail the call with this errno.
    Fail(i32),
}

impl Verdict {
    /// For connect and sendmsg: 1 goes on, 0 fails with the errno set before.
    #[inline(always)]
    pub fn code(self) -> i32 {
        match self {
            Self::Proceed => 1,
            Self::Fail(errno) => {
                // SAFETY: a helper without pointers, allowed in the connect and sendmsg hooks, the only callers.
                let _ = unsafe { bpf_set_retval(-errno) };
                0
            }
        }
    }

    /// For recvmsg and getpeername, where the verifier accepts 1 only.
    #[inline(always)]
    pub fn always(self) -> i32 {
        1
    }
}

impl Outcome<Be32> {
    /// Writes an AF_INET address.
    #[inline(always)]
    pub fn apply_v4(self, call: &Call<'_>) -> Verdict {
        match self {
            Self::Pass => Verdict::Proceed,
            Self::Rewrite(addr, port) => {
                call.set_v4(addr, port);
                Verdict::Proceed
            }
            Self::Refuse => Verdict::Fail(ECONNREFUSED),
            Self::Unreachable => Verdict::Fail(EHOSTUNREACH),
            Self::Deny => Verdict::Fail(EPERM),
        }
    }

    /// Writes the last word of a v4-mapped address.
    #[inline(always)]
    pub fn apply_mapped(self, call: &Call<'_>) -> Verdict {
        match self {
            Self::Pass => Verdict::Proceed,
            Self::Rewrite(addr, port) => {
                call.set_mapped(addr, port);
                Verdict::Proceed
            }
            Self::Refuse => Verdict::Fail(ECONNREFUSED),
            Self::Unreachable => Verdict::Fail(EHOSTUNREACH),
            Self::Deny => Verdict::Fail(EPERM),
        }
    }
}

impl Outcome<Ip6> {
    /// Writes an AF_INET6 address.
    #[inline(always)]
    pub fn apply_v6(self, call: &Call<'_>) -> Verdict {
        match self {
            Self::Pass => Verdict::Proceed,
            Self::Rewrite(addr, port) => {
                call.set_v6(addr, port);
                Verdict::Proceed
            }
            Self::Refuse => Verdict::Fail(ECONNREFUSED),
            Self::Unreachable => Verdict::Fail(EHOSTUNREACH),
            Self::Deny => Verdict::Fail(EPERM),
        }
    }
}
