//! The packet, behind a trait: tcx reads and writes it through the socket buffer's helpers, another hook by its own.

use aya_ebpf::{
    helpers::generated::{bpf_l4_csum_replace, bpf_redirect, bpf_redirect_peer},
    programs::TcContext,
};
use xebec_abi::flow::FlowKey;

use super::socket;

const BPF_F_INGRESS: u64 = 1;
const TCX_REDIRECT: i64 = 7;
const BPF_F_PSEUDO_HDR: u64 = 1 << 4;
const BPF_F_MARK_MANGLED_0: u64 = 1 << 5;
/// Kernel 6.16: the packet's own sum needs care in IPv6. Older kernels refuse the flag.
const BPF_F_IPV6: u64 = 1 << 7;

/// What a checksum protects besides the bytes that changed.
#[derive(Clone, Copy)]
pub struct Sum {
    /// Where it is.
    pub at: usize,
    /// Zero means absent (UDP over IPv4).
    pub optional: bool,
    /// The packet is IPv6.
    pub v6: bool,
}

/// A packet at a hook.
pub trait Packet {
    /// Makes the first bytes readable, if there are so many.
    fn reach(&self, len: usize);
    /// Bytes at an offset within reach; `None` beyond it.
    fn load<T: Copy>(&self, at: usize) -> Option<T>;
    /// Replaces bytes; the caller sees to the checksums.
    fn store<T>(&self, at: usize, value: &T);
    /// Adds a difference to the IPv4 header's checksum.
    fn fix_ip_sum(&self, at: usize, diff: u32);
    /// Adds a difference to a transport's checksum; `pseudo` if the bytes that changed are its pseudo header's.
    fn fix_l4_sum(&self, sum: Sum, diff: u32, pseudo: bool);
    /// Index of the device.
    fn device(&self) -> u32;
    /// Whether it began in this network namespace: it came in by no device.
    fn begins_here(&self) -> bool;
    /// Sends it back by its device: in again if it was `leaving`, else out. False if the kernel cannot.
    fn turn(&self, leaving: bool) -> bool;
    /// Whether a socket of the node is connected to its sender.
    fn has_called(&self, key: &FlowKey, v6: bool) -> bool;
    /// Puts it into the pod behind a device. False if this hook cannot.
    fn enter(&self, device: u32) -> bool;
}

impl Packet for TcContext {
    #[inline(always)]
    fn reach(&self, len: usize) {
        if self.data() + len > self.data_end() {
            // A part further back is made one with the first; a packet that is shorter stays as it is.
            let _ = self.skb.pull_data(len as u32);
        }
    }

    #[inline(always)]
    fn load<T: Copy>(&self, at: usize) -> Option<T> {
        let start = self.data() + at;
        // To the verifier a check for one byte, which the compiler writes as "the end lies beyond", proves nothing.
        let need = if size_of::<T>() == 1 { 2 } else { size_of::<T>() };
        if start + need <= self.data_end() {
            // SAFETY: inside the packet's first part, which the verifier checks as well.
            return Some(unsafe { core::ptr::read_unaligned(start as *const T) });
        }
        None
    }

    #[inline(always)]
    fn store<T>(&self, at: usize, value: &T) {
        // Offsets were read from before; an unwritable packet goes on with its old addresses and is nobody's.
        let _ = self.skb.store(at, value, 0);
    }

    #[inline(always)]
    fn fix_ip_sum(&self, at: usize, diff: u32) {
        let _ = self.skb.l3_csum_replace(at, 0, diff as u64, 0);
    }

    #[inline(always)]
    fn fix_l4_sum(&self, sum: Sum, diff: u32, pseudo: bool) {
        let mut flags = 0;
        if pseudo {
            flags |= BPF_F_PSEUDO_HDR;
        }
        if sum.optional {
            flags |= BPF_F_MARK_MANGLED_0;
        }
        let replace = |flags| {
            // SAFETY: a helper over the program's own context.
            unsafe { bpf_l4_csum_replace(self.skb.skb, sum.at as u32, 0, diff as u64, flags) }
        };
        if !sum.v6 || replace(flags | BPF_F_IPV6) != 0 {
            replace(flags);
        }
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        // SAFETY: the context is the kernel's, valid for the program's run.
        unsafe { (*self.skb.skb).ifindex }
    }

    #[inline(always)]
    fn begins_here(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.skb.skb).ingress_ifindex == 0 }
    }

    #[inline(always)]
    fn turn(&self, leaving: bool) -> bool {
        // SAFETY: a helper without pointers.
        unsafe { bpf_redirect(self.device(), if leaving { BPF_F_INGRESS } else { 0 }) == TCX_REDIRECT }
    }

    #[inline(always)]
    fn has_called(&self, key: &FlowKey, v6: bool) -> bool {
        socket::has_called(self, key, v6)
    }

    #[inline(always)]
    fn enter(&self, device: u32) -> bool {
        // SAFETY: a helper without pointers; it tells what to do with the packet after the program.
        unsafe { bpf_redirect_peer(device, 0) == TCX_REDIRECT }
    }
}

/// The difference between two texts of N words in one's complement (RFC 1624).
#[inline(always)]
pub fn difference<const N: usize>(old: [u32; N], new: [u32; N]) -> u32 {
    let mut total = 0_u64;
    let mut i = 0;
    while i < N {
        total += !old[i] as u64 + new[i] as u64;
        i += 1;
    }
    total = (total & 0xffff_ffff) + (total >> 32);
    (total + (total >> 32)) as u32
}

/// Both differences.
#[inline(always)]
pub fn together(a: u32, b: u32) -> u32 {
    let total = a as u64 + b as u64;
    (total + (total >> 32)) as u32
}

/// A sum after a difference, both as they stand in packets.
#[inline(always)]
pub fn mended(sum: u16, diff: u32) -> u16 {
    let mut total = (!sum) as u32 + (diff & 0xffff) + (diff >> 16);
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    !(total as u16)
}
