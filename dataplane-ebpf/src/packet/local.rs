//! Pods of this node, past its IP stack. Enters: a packet as it leaves a pod, at the node's end of its device; or one from
//! outside that was translated to a pod of this node. Leaves: the packet inside the other pod, or out by the node's device; or
//! on its usual way. Called by main.rs and by `ingress`.
//!
//! The kernel would route such a packet: through its IP stack, its hooks and a second queue. Here it is what it would be
//! there (one hop less, the next one's hardware addresses) and goes straight in (`bpf_redirect_peer`, kernel 5.10) or out.
//!
//! A large packet is given a head of its own first, as forwarding gives it (`skb_cow` in `ip_forward`): it shares its head with
//! the sender's queue of unacknowledged packets, and the receiver's kernel puts only unshared ones together in its queue
//! (`skb_try_coalesce`). Without that, bytes on one connection were slower, 0.7 of what the stack moves; with it they are as
//! many or up to a tenth fewer, by the machine's mood (`xebec-netbench paths`). A plain redirect to the pod's device, with its
//! second queue, changes nothing.
//!
//! Left to the kernel: what is not from the pod's own address; all that policies look at, in both directions, so that the
//! kernel's own tracking sees whole connections or none; fragments; what has no hop left, for the kernel to say so; what the
//! pod itself sends outside, for the kernel to hide its address; SCTP and the errors about it, whose Services the kernel's
//! tracking translates, both ways.

use aya_ebpf::{
    helpers::generated::{bpf_redirect, bpf_skb_change_head},
    programs::TcContext,
};
use xebec_abi::{
    Ip6, PROTO_ICMP, PROTO_ICMP6, PROTO_SCTP,
    flow::{HOOK_EGRESS, PacketStat, Role},
    pod::LocalPod,
};

use super::{
    FIN, RST, Verdict,
    access::Packet,
    error::is_error,
    header::{ETHERNET, Header},
    replied,
    route::route,
    tcp_flags, track, tunnel,
};
use crate::maps::{
    flow::{DEVICES, count},
    pod::LOCAL_PODS,
    policy::POLICY_PODS,
};

/// The pod of this node at an address, if no policy selects it.
#[inline(always)]
pub fn own(addr: Ip6) -> Option<LocalPod> {
    // SAFETY: written before the pod has its link, removed after it has none.
    let pod = *unsafe { LOCAL_PODS.get(addr) }?;
    POLICY_PODS.get_ptr(pod.device).is_none().then_some(pod)
}

/// Puts a packet into a pod; false, and nothing changed, if it has no hop left for that.
#[inline(always)]
fn enter(p: &TcContext, h: &Header, pod: &LocalPod) -> bool {
    let Some(hops) = h.hops(p).filter(|hops| *hops > 1) else { return false };
    h.renew(p, hops - 1);
    put(p, pod)
}

/// As [`enter`], of a packet that has spent a hop.
#[inline(always)]
pub fn put<P: Packet>(p: &P, pod: &LocalPod) -> bool {
    p.store(0, &[pod.mac, pod.node_mac]);
    p.enter(pod.device)
}

/// A packet leaves a pod.
#[inline(always)]
pub fn forward(p: &TcContext, v6: bool) -> Verdict {
    let Some(h) = Header::read(p, ETHERNET, v6) else { return Verdict::Next };
    if h.proto == PROTO_SCTP || is_error_about_sctp(p, &h) {
        return Verdict::Next;
    }
    match own(h.src) {
        Some(from) if from.device == p.device() => {}
        _ => return Verdict::Next,
    }
    match own(h.dst) {
        Some(pod) if pod.device != p.device() => {
            unshare(p);
            if enter(p, &h, &pod) { Verdict::Back } else { Verdict::Next }
        }
        Some(_) => Verdict::Next,
        // Another pod of this node that policies select has no flow from outside under its address.
        None => answer(p, &h).unwrap_or(Verdict::Next),
    }
}

/// From this length on a packet is given a head of its own. Below, in questions and answers, nothing waits to be put together.
const WORTH_A_HEAD: u32 = 256;

/// Gives a packet that carries much a head of its own.
#[inline(always)]
fn unshare(p: &TcContext) {
    // SAFETY: a field of the program's own context.
    if unsafe { (*p.skb.skb).len } >= WORTH_A_HEAD {
        // Nothing is put before it: the helper's `skb_cow` is what is wanted. Without memory the packet goes as it is.
        // SAFETY: a helper over the program's own context; no pointer into the packet is kept over it.
        unsafe { bpf_skb_change_head(p.skb.skb, 0, 0) };
    }
}

/// Whether a packet is an ICMP error that quotes one of SCTP.
#[inline(always)]
fn is_error_about_sctp(p: &TcContext, h: &Header) -> bool {
    if h.proto != PROTO_ICMP && h.proto != PROTO_ICMP6 {
        return false;
    }
    match Packet::load::<u8>(p, h.l4) {
        Some(kind) if is_error(h.v6, kind) => {}
        _ => return false,
    }
    let proto = h.l4 + 8 + if h.v6 { 6 } else { 9 };
    p.reach(proto + 2);
    Packet::load::<u8>(p, proto) == Some(PROTO_SCTP)
}

/// An answer to outside, of a flow to this pod: translated here, and out by the device that the routes name.
#[inline(always)]
fn answer(p: &TcContext, h: &Header) -> Option<Verdict> {
    if h.later || h.more {
        return None;
    }
    let key = h.key(p, HOOK_EGRESS)?;
    let entry = track::find(&key)?;
    if !matches!(entry.role(), Role::Reply) {
        return None;
    }
    let hops = h.hops(p).filter(|hops| *hops > 1)?;
    let way = route(p, h, &entry.get().target(Role::Reply), 0)?;
    DEVICES.get_ptr(way.device)?;
    // To a pod that is served packet by packet: its policies see the endpoint's address, in the stack's way.
    if POLICY_PODS.get_ptr(way.device).is_some() {
        return None;
    }
    entry.touch(tcp_flags(p, h) & (FIN | RST) != 0);
    let to = replied(p, h, &entry, &key, way.device);
    h.rewrite(p, &key, &to, Some(hops - 1));
    tunnel::clamp(p, h, entry.get());
    count(PacketStat::Translated);
    Packet::store(p, 0, &way.macs);
    // SAFETY: a helper without pointers.
    let _ = unsafe { bpf_redirect(way.device, 0) };
    Some(Verdict::Back)
}
