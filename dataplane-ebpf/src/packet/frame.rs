//! The packet in a device's driver, before there is a socket buffer: read and written in place, sums mended by hand.

use aya_ebpf::programs::XdpContext;

use xebec_abi::flow::FlowKey;

use super::access::{Packet, Sum, mended};

/// The place of a `T`; `None` beyond the end.
#[inline(always)]
fn place<T>(p: &XdpContext, at: usize) -> Option<*mut T> {
    let start = p.data() + at;
    if start + size_of::<T>() > p.data_end() { None } else { Some(start as *mut T) }
}

impl Packet for XdpContext {
    #[inline(always)]
    fn reach(&self, _len: usize) {}

    #[inline(always)]
    fn load<T: Copy>(&self, at: usize) -> Option<T> {
        // SAFETY: inside the packet, which the verifier checks as well.
        place::<T>(self, at).map(|p| unsafe { core::ptr::read_unaligned(p) })
    }

    #[inline(always)]
    fn store<T>(&self, at: usize, value: &T) {
        if let Some(p) = place::<T>(self, at) {
            // SAFETY: as above; the caller's types are plain old data.
            unsafe { core::ptr::copy_nonoverlapping(value, p, 1) };
        }
    }

    #[inline(always)]
    fn fix_ip_sum(&self, at: usize, diff: u32) {
        if let Some(sum) = self.load(at) {
            self.store(at, &mended(sum, diff));
        }
    }

    #[inline(always)]
    fn fix_l4_sum(&self, sum: Sum, diff: u32, _pseudo: bool) {
        match self.load::<u16>(sum.at) {
            // Of UDP zero says that there is none, and the sum that is zero is written the other way.
            Some(0) if sum.optional && !sum.v6 => {}
            Some(old) => match mended(old, diff) {
                0 if sum.optional => self.store(sum.at, &0xffff_u16),
                new => self.store(sum.at, &new),
            },
            None => {}
        }
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        self.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn begins_here(&self) -> bool {
        false
    }

    #[inline(always)]
    fn has_called(&self, _key: &FlowKey, _v6: bool) -> bool {
        false
    }

    #[inline(always)]
    fn enter(&self, _device: u32) -> bool {
        false
    }

    #[inline(always)]
    fn turn(&self, _leaving: bool) -> bool {
        false
    }
}
