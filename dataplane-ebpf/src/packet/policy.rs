//! NetworkPolicy. Enters: a packet to or from a pod that policies select, at the node's end of its device. Leaves: on its
//! way, or dropped. Called by main.rs.
//!
//! Addresses are the pods' own: a Service was translated in the socket call, before there was a packet.
//!
//! What passes without a rule: whatever the node itself sends its pods (probes), a pod's packets to itself, neighbour and
//! multicast-listener discovery, and both directions of a flow that was allowed once, with the ICMP errors about it. A
//! flow is kept with the generation of policies that allowed it: after any change its next packet is judged anew, in the
//! direction the flow was begun, and a flow that is allowed no more ends there.
//!
//! A TCP packet of no known flow that opens none may be of a connection older than the policy, begun by either end: it
//! passes where a connection in either direction would be allowed. It can open nothing.

use aya_ebpf::maps::lpm_trie;
use xebec_abi::{
    Be16, PROTO_ICMP, PROTO_ICMP6, PROTO_SCTP, PROTO_TCP, PROTO_UDP,
    event::{Reason, Verdict as Told},
    policy::{
        ANYONE, CLASS_BITS, ClassKey, EGRESS, INGRESS, PodPolicy, PolicyFlow, PolicyFlowKey, RULE_BITS,
        RuleKey,
    },
};

use super::{
    ACK, SYN, Verdict,
    access::Packet,
    error::is_error,
    header::{ETHERNET, Header, split},
    tcp_flags,
    track::now,
};
use crate::{
    event,
    maps::policy::{POLICY_CLASSES, POLICY_FLOWS, POLICY_PODS, POLICY_RULES, count, generation},
    socket::Family as _,
};

/// Silence after which a flow without connections is over, as the kernel's own tracking has it for answered datagrams.
const QUIET: u64 = 120_000_000_000;
/// Fragments at these programs' hooks, which may be two of one packet: `hook` in their key.
const HOOK: u8 = 2;

/// What a packet is to its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It opens one, if there is any: a SYN, an echo request.
    Opens,
    /// It may be of any, and open one.
    Either,
    /// It is of one that was opened before.
    Follows,
}

/// A packet goes in a direction, seen from the pod.
#[inline(always)]
pub fn judge<P: Packet>(p: &P, v6: bool, direction: u8) -> Verdict {
    // SAFETY: eight bytes that user space replaces whole.
    let Some(pod) = (unsafe { POLICY_PODS.get(p.device()) }).copied() else { return Verdict::Next };
    let generation = generation();
    let mut key = PolicyFlowKey { device: p.device(), ..PolicyFlowKey::default() };
    let Some(h) = Header::read(p, ETHERNET, v6) else { return drop(direction, &key, Reason::Unreadable) };
    if h.src.same(h.dst) {
        return Verdict::Next;
    }
    key.proto = h.proto;
    ends(&mut key, &h, direction);
    let mut part = Part::Either;
    if h.proto == PROTO_TCP || h.proto == PROTO_UDP || h.proto == PROTO_SCTP {
        // Of a fragment whose first never came the port is unknown: it passes where all ports may.
        ports(&mut key, h.ports(p, HOOK + direction).unwrap_or(0), direction);
        if h.proto == PROTO_TCP && !h.later {
            part = if tcp_flags(p, &h) & (SYN | ACK) == SYN { Part::Opens } else { Part::Follows };
        }
    } else if (h.proto == PROTO_ICMP || h.proto == PROTO_ICMP6) && !h.later {
        let kind = p.load::<u8>(h.l4).unwrap_or(0);
        if v6 && is_discovery(kind) {
            return Verdict::Next;
        }
        if is_error(v6, kind) {
            if let Some(about) = quoted(p, &h, direction)
                && let Some(flow) = POLICY_FLOWS.get_ptr_mut(about)
            {
                return follow(flow, &about, &pod, generation, direction);
            }
        } else if is_echo(v6, kind) {
            key.pod_port = Be16(p.load::<u16>(h.l4 + 4).unwrap_or(0));
            part = if kind == ECHO_REQUEST4 || kind == ECHO_REQUEST6 { Part::Opens } else { Part::Follows };
        }
    }
    if let Some(flow) = POLICY_FLOWS.get_ptr_mut(key) {
        // SAFETY: the element's memory; a racing packet changes single words only.
        let (began, last) = unsafe { ((*flow).direction, (*flow).last) };
        let over = h.proto != PROTO_TCP && now().saturating_sub(last) > QUIET;
        // Who was called does not thereby get to call back from the same port.
        if !over && (part != Part::Opens || began == direction) {
            return follow(flow, &key, &pod, generation, direction);
        }
    }
    let own = direction == INGRESS && p.begins_here();
    let mut began = direction;
    if !own && !allowed(&pod, &key, began) {
        began = INGRESS + EGRESS - direction;
        if part != Part::Follows || h.proto != PROTO_TCP || !allowed(&pod, &key, began) {
            return drop(direction, &key, Reason::Policy);
        }
    }
    let flow =
        PolicyFlow { last: now(), generation, direction: began, own: u8::from(own), ..PolicyFlow::default() };
    let _ = POLICY_FLOWS.insert(key, flow, 0);
    count(2 * began as u32);
    let reason = match (own, began == direction) {
        (true, _) => Reason::FromNode,
        (false, true) => Reason::None,
        (false, false) => Reason::Older,
    };
    event::policy(Told::Allowed, reason, &key, direction == INGRESS);
    Verdict::Next
}

/// A packet of a flow that was allowed.
#[inline(always)]
fn follow(
    flow: *mut PolicyFlow,
    key: &PolicyFlowKey,
    pod: &PodPolicy,
    generation: u64,
    direction: u8,
) -> Verdict {
    // SAFETY: the element's memory, valid for the program's run; a racing packet writes the same.
    unsafe {
        if (*flow).generation != generation {
            let began = (*flow).direction & 1;
            if (*flow).own == 0 && !allowed(pod, key, began) {
                let _ = POLICY_FLOWS.remove(key);
                return drop(direction, key, Reason::Policy);
            }
            core::ptr::write_volatile(&raw mut (*flow).generation, generation);
            count(2 * began as u32);
        }
        core::ptr::write_volatile(&raw mut (*flow).last, now());
    }
    Verdict::Next
}

#[inline(always)]
fn drop(direction: u8, key: &PolicyFlowKey, reason: Reason) -> Verdict {
    count(2 * direction as u32 + 1);
    event::policy(Told::Dropped, reason, key, direction == INGRESS);
    Verdict::Drop
}

/// Whether a flow begun in a direction is allowed: two look-ups at most beside that of the class.
#[inline(always)]
fn allowed(pod: &PodPolicy, key: &PolicyFlowKey, began: u8) -> bool {
    if !pod.is_isolated(began) {
        return true;
    }
    let port = if began == INGRESS { key.pod_port } else { key.other_port };
    let rule = |class: u32| {
        let data = RuleKey {
            set: pod.set.to_be_bytes(),
            class: class.to_be_bytes(),
            direction: began,
            proto: key.proto,
            port: if key.proto == PROTO_ICMP || key.proto == PROTO_ICMP6 {
                [0; 2]
            } else {
                port.0.to_ne_bytes()
            },
        };
        POLICY_RULES.get(lpm_trie::Key::new(RULE_BITS, data)).is_some()
    };
    if rule(ANYONE) {
        return true;
    }
    match POLICY_CLASSES.get(lpm_trie::Key::new(CLASS_BITS, ClassKey::new(&key.other))) {
        Some(class) => rule(*class),
        None => false,
    }
}

#[inline(always)]
fn ends(key: &mut PolicyFlowKey, h: &Header, direction: u8) {
    (key.pod, key.other) = if direction == INGRESS { (h.dst, h.src) } else { (h.src, h.dst) };
}

#[inline(always)]
fn ports(key: &mut PolicyFlowKey, both: u32, direction: u8) {
    let (source, destination) = split(both);
    (key.pod_port, key.other_port) =
        if direction == INGRESS { (destination, source) } else { (source, destination) };
}

const ECHO_REQUEST4: u8 = 8;
const ECHO_REQUEST6: u8 = 128;

#[inline(always)]
fn is_echo(v6: bool, kind: u8) -> bool {
    if v6 { kind == ECHO_REQUEST6 || kind == 129 } else { kind == ECHO_REQUEST4 || kind == 0 }
}

/// Without these a link does not work (RFC 4861, RFC 2710, RFC 3810): solicitations, advertisements, listener reports.
#[inline(always)]
fn is_discovery(kind: u8) -> bool {
    (kind >= 130 && kind <= 136) || kind == 143
}

/// The flow that an ICMP error is about: the packet it quotes went the other way.
#[inline(always)]
fn quoted<P: Packet>(p: &P, h: &Header, direction: u8) -> Option<PolicyFlowKey> {
    let inner = Header::read(p, h.l4 + 8, h.v6)?;
    if inner.later {
        return None;
    }
    let back = INGRESS + EGRESS - direction;
    let mut key = PolicyFlowKey { device: p.device(), proto: inner.proto, ..PolicyFlowKey::default() };
    ends(&mut key, &inner, back);
    if inner.proto == PROTO_TCP || inner.proto == PROTO_UDP || inner.proto == PROTO_SCTP {
        ports(&mut key, p.load(inner.l4)?, back);
    } else if inner.proto == PROTO_ICMP || inner.proto == PROTO_ICMP6 {
        key.pod_port = Be16(p.load::<u16>(inner.l4 + 4)?);
    }
    Some(key)
}
