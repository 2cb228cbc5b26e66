//! From one pod of the node to another. Enters: a packet as it leaves a pod, at the node's end of its device. Leaves: the
//! packet inside the other pod, or on its usual way. Called by main.rs.
//!
//! The kernel would route such a packet: through its IP stack, its hooks and a second queue. Here it is what it would be
//! there (one hop less, the other's hardware addresses) and goes straight in (`bpf_redirect_peer`, kernel 5.10).
//!
//! Left to the kernel: what is not from the pod's own address, all that policies look at (both directions of it, so that
//! the kernel's own tracking sees whole connections or none), and what has no hop left, for the kernel to say so.

use aya_ebpf::{helpers::generated::bpf_redirect_peer, programs::TcContext};
use xebec_abi::pod::LocalPod;

use super::{
    Verdict,
    access::Packet,
    header::{ETHERNET, Header},
};
use crate::maps::{pod::LOCAL_PODS, policy::POLICY_PODS};

#[inline(always)]
fn is_selected(device: u32) -> bool {
    POLICY_PODS.get_ptr(device).is_some()
}

/// The pod to put the packet into, if it may be.
#[inline(always)]
fn peer(p: &TcContext, h: &Header) -> Option<LocalPod> {
    // SAFETY: written before the pod has its link, removed after it has none.
    let to = *unsafe { LOCAL_PODS.get(h.dst) }?;
    // SAFETY: as above.
    let from = unsafe { LOCAL_PODS.get(h.src) }?;
    let own = p.device();
    (from.device == own && to.device != own && !is_selected(own) && !is_selected(to.device)).then_some(to)
}

/// A packet leaves a pod.
#[inline(always)]
pub fn forward(p: &TcContext, v6: bool) -> Verdict {
    let Some(h) = Header::read(p, ETHERNET, v6) else { return Verdict::Next };
    let Some(to) = peer(p, &h) else { return Verdict::Next };
    let Some(hops) = h.hops(p).filter(|hops| *hops > 1) else { return Verdict::Next };
    h.renew(p, hops - 1);
    Packet::store(p, 0, &[to.mac, to.node_mac]);
    // SAFETY: a helper without pointers; it tells what to do with the packet after this program.
    let _ = unsafe { bpf_redirect_peer(to.device, 0) };
    Verdict::Back
}
