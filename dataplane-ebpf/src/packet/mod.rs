//! Services from outside the node, packet by packet. Enters: a packet at a device, coming in or going out. Leaves: the
//! packet with other ends, and a [`Verdict`]. Called by main.rs, at the tcx hooks of the node's devices.
//!
//! Pods whose processes call no socket of this kernel (a guest's of its own, raw packets), or that are to see VIPs as they
//! are, are served so, too, at their devices ([`Origin::Pod`]).
//!
//! The destination is rewritten when a packet comes in and the source when it goes out (see `xebec_abi::flow`): what
//! lies between is the node's own IP stack, with its routes, TTL and path MTU.

mod access;
pub mod driver;
mod echo;
mod error;
mod frame;
mod header;
pub mod local;
mod oversize;
pub mod policy;
mod route;
mod select;
mod socket;
mod track;
pub mod tunnel;

use core::ptr::null;

use aya_ebpf::programs::TcContext;
use header::{ETHERNET, Header};
use select::{Chosen, Selection, is_own, select};
use track::Entry;
use xebec_abi::{
    Be16, Be32, Ip6, PROTO_ICMP, PROTO_ICMP6, PROTO_TCP,
    event::{Hook, Reason, Verdict as Told},
    flow::{
        BACKEND_REJECT, FLOW_CLOSING, FLOW_DIRECT, FLOW_SNAT, FLOW_TUNNELLED, Flow, FlowKey, HOOK_EGRESS,
        HOOK_INGRESS, PacketStat, REJECT_PORT, Role,
    },
};

use self::access::Packet;
use crate::{
    event,
    maps::{
        flow::{DEVICES, count},
        service::served,
    },
    socket::Family as _,
};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What becomes of the packet.
#[must_use]
#[derive(Clone, Copy)]
pub enum Verdict {
    /// On to the next program, then to the stack.
    Next,
    /// Dropped, and counted by its reason.
    Drop,
    /// To where a helper was told to redirect it: back by the device it is at, or into another pod.
    Back,
}

impl Verdict {
    /// As tcx's number: `TCX_NEXT`, `TCX_DROP` or `TCX_REDIRECT`.
    #[inline(always)]
    pub fn tcx(self) -> i32 {
        match self {
            Self::Next => -1,
            Self::Drop => 2,
            Self::Back => 7,
        }
    }
}

/// The family of an Ethernet frame to this host; `None` for other protocols and other hosts' frames.
#[inline(always)]
pub fn is_v6(ctx: &TcContext) -> Option<bool> {
    const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
    const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
    // SAFETY: the context is the kernel's, valid for the program's run.
    match unsafe { (*ctx.skb.skb).protocol } {
        ETH_P_IP => Some(false),
        ETH_P_IPV6 => Some(true),
        _ => None,
    }
}

/// TCP's flags, none for the rest.
#[inline(always)]
fn tcp_flags<P: Packet>(p: &P, h: &Header) -> u8 {
    if h.proto == PROTO_TCP && !h.later { p.load(h.l4 + 13).unwrap_or(0) } else { 0 }
}

/// Where a packet comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From outside.
    Outside,
    /// From another node, which the client asked.
    Tunnel,
    /// From a pod of this node that is served packet by packet, by its device: endpoints see its own address, wherever they are,
    /// and so do policies, which come next.
    Pod,
}

/// What is nobody's here: the node's own business, or out of the tunnel nobody's at all.
#[inline(always)]
fn other(origin: Origin) -> Verdict {
    if let Origin::Tunnel = origin { tunnel::misdirected() } else { Verdict::Next }
}

/// A packet comes in.
#[inline(always)]
pub fn ingress(p: &TcContext, v6: bool, origin: Origin) -> Verdict {
    let tunnelled = matches!(origin, Origin::Tunnel);
    let Some(h) = Header::read(p, ETHERNET, v6) else { return other(origin) };
    if h.proto == PROTO_ICMP || h.proto == PROTO_ICMP6 {
        if tunnelled {
            return match error::translate(p, &h, HOOK_INGRESS) {
                Some(verdict) => verdict,
                None => tunnel::misdirected(),
            };
        }
        return icmp(p, &h, HOOK_INGRESS);
    }
    let Some(key) = h.key(p, HOOK_INGRESS) else { return other(origin) };
    let flags = tcp_flags(p, &h);
    let node = 'direct: {
        if let Some(entry) = track::find(&key) {
            if matches!(entry.role(), Role::Return) {
                entry.touch(flags & (FIN | RST) != 0);
                let to = entry.get().target(Role::Return);
                if entry.probation && flags & (SYN | RST) == 0 {
                    track::promote_found(&key, &entry);
                }
                return translated(p, &h, &key, &to);
            }
            // What this node once sent on to others and now gets from one of them is a flow of its own here.
            let direct = entry.get().is_direct();
            if keep(&entry, &h, flags) && !(tunnelled && direct) {
                entry.touch(flags & (FIN | RST) != 0);
                if direct {
                    break 'direct entry.get().node;
                }
                let to = entry.get().target(Role::Forward);
                if entry.probation
                    && !(flags & (SYN | RST | ACK) == ACK && track::confirm(&key, &entry, h.number(p, 8)))
                {
                    track::mend(&entry);
                }
                return forwarded(p, &h, (&key, &to), origin);
            }
            // A new connection from an old one's port is nothing of the kind.
            if h.proto != PROTO_TCP && entry.get().id != BACKEND_REJECT {
                count(PacketStat::Reselected);
            }
            track::end(&entry);
        }
        // Its number may be a node port's all the same: only then is there a socket to look for.
        if !tunnelled && flags & (SYN | ACK) != SYN && is_own(&key, v6) && p.has_called(&key, v6) {
            return Verdict::Next;
        }
        let selection = if v6 { select::<Ip6>(&key, tunnelled) } else { select::<Be32>(&key, tunnelled) };
        let (index, chosen) = match selection {
            Selection::None => return other(origin),
            Selection::Drop(index, reason) => {
                event::packet((Told::Dropped, reason, Hook::Ingress), p.device(), &key, index, null());
                return Verdict::Drop;
            }
            Selection::To(index, chosen) => {
                count(PacketStat::Flows);
                served(index);
                (index, chosen)
            }
            Selection::Refuse(index) => {
                count(PacketStat::Rejected);
                let Some(chosen) = refusal(p.device(), v6) else {
                    let told = (Told::Dropped, Reason::NoAddress, Hook::Ingress);
                    event::packet(told, p.device(), &key, index, null());
                    return Verdict::Drop;
                };
                (index, chosen)
            }
        };
        match track::begin(draft(&key, index, &chosen, origin)) {
            Some(flow) => {
                // SAFETY: this CPU's draft, just filled.
                let begun = unsafe { &*flow };
                let direct = !tunnelled && begun.is_direct();
                let verdict = if direct { Told::Direct } else { Told::Translated };
                event::packet((verdict, Reason::None, Hook::Ingress), p.device(), &key, index, flow);
                if direct {
                    break 'direct begun.node;
                }
                let to = begun.target(Role::Forward);
                return forwarded(p, &h, (&key, &to), origin);
            }
            None => {
                let told = (Told::Dropped, Reason::Exhausted, Hook::Ingress);
                event::packet(told, p.device(), &key, index, null());
                return Verdict::Drop;
            }
        };
    };
    tunnel::send(p, &h, node)
}

/// An echo request to a VIP, else perhaps an error about a flow.
#[inline(always)]
fn icmp(p: &TcContext, h: &Header, hook: u8) -> Verdict {
    match echo::answer(p, h, hook) {
        Some(verdict) => verdict,
        None => error::translate(p, h, hook).unwrap_or(Verdict::Next),
    }
}

/// Whether a flow goes on as it is. A connection stays with its endpoint to its end, even when that is leaving the
/// service; datagrams, and a new connection from the same port, do not.
#[inline(always)]
fn keep(entry: &Entry, h: &Header, flags: u8) -> bool {
    if h.proto != PROTO_TCP {
        return entry.is_current();
    }
    if flags & (SYN | ACK) == SYN {
        return entry.is_current() && entry.get().flags & FLOW_CLOSING == 0;
    }
    entry.get().id != BACKEND_REJECT
}

/// The node itself, at a port where nobody listens: its kernel answers as a closed port does, and the answer goes back
/// as any other.
#[inline(always)]
fn refusal(device: u32, v6: bool) -> Option<Chosen> {
    // SAFETY: the map's memory; user space replaces the element whole.
    let addr = DEVICES.get_ptr(device).map(|d| unsafe { if v6 { (*d).v6 } else { (*d).v4 } })?;
    if addr.same(Ip6([0; 4])) {
        return None;
    }
    Some(Chosen {
        addr,
        port: Be16::new(REJECT_PORT),
        id: BACKEND_REJECT,
        state: 0,
        local: true,
        node: Ip6([0; 4]),
    })
}

#[inline(always)]
fn draft(key: &FlowKey, index: u32, chosen: &Chosen, origin: Origin) -> Flow {
    let pod = matches!(origin, Origin::Pod);
    // An endpoint elsewhere answers to where the packet came from, which is here if that is a pod of this node; and a client
    // that is its own endpoint would answer itself. Else both must see the node.
    let hidden = !(chosen.local || pod) || chosen.addr.same(key.src);
    let node = if pod { Ip6([0; 4]) } else { chosen.node };
    let flags = match node.same(Ip6([0; 4])) {
        false => FLOW_DIRECT,
        true if hidden => FLOW_SNAT,
        true => 0,
    };
    Flow {
        last: 0,
        state: chosen.state,
        client: key.src,
        vip: key.dst,
        backend: chosen.addr,
        node,
        cport: key.sport,
        vport: key.dport,
        bport: chosen.port,
        port: key.sport,
        nport: Be16(0),
        proto: key.proto,
        flags: if matches!(origin, Origin::Tunnel) { flags | FLOW_TUNNELLED } else { flags },
        id: chosen.id,
        index,
        role: 0,
    }
}

/// A packet goes out.
#[inline(always)]
pub fn egress(p: &TcContext, v6: bool) -> Verdict {
    let Some(h) = Header::read(p, ETHERNET, v6) else { return Verdict::Next };
    if h.proto == PROTO_ICMP || h.proto == PROTO_ICMP6 {
        return icmp(p, &h, HOOK_EGRESS);
    }
    let Some(key) = h.key(p, HOOK_EGRESS) else { return Verdict::Next };
    let Some(entry) = track::find(&key) else { return Verdict::Next };
    let role = entry.role();
    entry.touch(tcp_flags(p, &h) & (FIN | RST) != 0);
    if matches!(role, Role::Out) {
        if entry.get().nport.0 == 0 && !track::allocate(&entry, p.device(), v6) {
            count(PacketStat::Exhausted);
            let told = (Told::Dropped, Reason::Exhausted, Hook::Egress);
            event::packet(told, p.device(), &key, entry.get().index, null());
            return Verdict::Drop;
        }
        let to = entry.get().target(Role::Out);
        return translated(p, &h, &key, &to);
    }
    let to = replied(p, &h, &entry, &key, p.device());
    let verdict = translated(p, &h, &key, &to);
    tunnel::clamp(p, &h, entry.get());
    verdict
}

/// A flow is answered, by a packet that leaves by a device: what the answer becomes.
///
/// Off probation, where a flood of first packets pushes out only its like, are datagrams, and connections whose endpoint says
/// more than its first answer, which it sends to whomever the question seems to be from: it has heard the client confirm it,
/// or refuses. Of those where it has nothing to say, see [`track::confirm`].
#[inline(always)]
fn replied<P: Packet>(p: &P, h: &Header, entry: &Entry, key: &FlowKey, device: u32) -> FlowKey {
    let to = entry.get().target(Role::Reply);
    if entry.probation && entry.get().id != BACKEND_REJECT {
        let flags = tcp_flags(p, h);
        let forward = entry.get().key(Role::Forward);
        if entry.proof() == 0 {
            count(PacketStat::Established);
            let told = (Told::Answered, Reason::None, Hook::Egress);
            event::packet(told, device, &forward, entry.get().index, entry.flow);
        }
        if flags & SYN != 0 {
            entry.wait_for(h.number(p, 4).wrapping_add(1));
        } else if flags & RST == 0 {
            let out = entry.get().key(Role::Out);
            let snat = entry.get().is_snat();
            track::promote(&forward);
            if snat {
                track::promote(&out);
            }
            track::promote_found(key, entry);
        }
    }
    to
}

/// Translates what is for an endpoint. What a pod sends goes on to its policies, then to the stack.
#[inline(always)]
fn forwarded(p: &TcContext, h: &Header, (from, to): (&FlowKey, &FlowKey), origin: Origin) -> Verdict {
    if let Origin::Pod = origin { translated(p, h, from, to) } else { arrived(p, h, from, to) }
}

/// Translates what came in, and puts it straight into the pod it is for if that is this node's own.
#[inline(always)]
fn arrived<P: Packet>(p: &P, h: &Header, from: &FlowKey, to: &FlowKey) -> Verdict {
    let whole = !h.later && !h.more;
    let pod = if whole { local::own(to.dst) } else { None };
    let (Some(pod), Some(hops)) = (pod, h.hops(p).filter(|hops| *hops > 1)) else {
        return translated(p, h, from, to);
    };
    h.rewrite(p, from, to, Some(hops - 1));
    count(PacketStat::Translated);
    if local::put(p, &pod) { Verdict::Back } else { Verdict::Next }
}

#[inline(always)]
fn translated<P: Packet>(p: &P, h: &Header, from: &FlowKey, to: &FlowKey) -> Verdict {
    h.rewrite(p, from, to, None);
    count(PacketStat::Translated);
    Verdict::Next
}
