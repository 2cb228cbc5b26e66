//! Answered flows between outside clients and endpoints on other nodes, in the device's driver (XDP). Enters: a frame as it
//! arrives. Leaves: the same by a device of the node, its destination and source both replaced; or, untouched, on to the
//! node's stack. Called by main.rs.
//!
//! Only what needs no decision is done here: the flow has been answered, its packet opens and closes nothing, is whole, and
//! the kernel's routes and neighbours say where it goes. All else is done at the tcx hooks, with the same tables: this
//! program can be absent, come and go at any time.

use aya_ebpf::{bindings::xdp_action, helpers::generated::bpf_redirect, programs::XdpContext};
use xebec_abi::{
    PROTO_TCP,
    flow::{BACKEND_REJECT, FlowKey, HOOK_INGRESS, PacketStat, Role},
};

use super::{
    FIN, RST, SYN,
    access::Packet,
    header::{ETHERNET, Header},
    route::{self, route},
    tcp_flags,
    track::Entry,
};
use crate::maps::flow::{FLOWS, WIRES, count};

const ETH_P_IP: u16 = 0x0800_u16.to_be();
const ETH_P_IPV6: u16 = 0x86dd_u16.to_be();

/// A frame arrives.
#[inline(always)]
pub fn pass(p: &XdpContext) -> u32 {
    forward(p).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn forward(p: &XdpContext) -> Option<u32> {
    let v6 = ours(p)?;
    let h = Header::read(p, ETHERNET, v6)?;
    if h.later || h.more || h.l4 != ETHERNET + if v6 { 40 } else { 20 } {
        return None;
    }
    let hops = h.hops(p).filter(|hops| *hops > 1)?;
    let key = h.key(p, HOOK_INGRESS)?;
    if tcp_flags(p, &h) & (SYN | FIN | RST) != 0 {
        return None;
    }
    let entry = Entry { flow: FLOWS.get_ptr_mut(key)?, probation: false };
    let to = target(&entry, h.proto)?;
    let way = route(p, &h, &to, route::len(p, &h)?)?;
    let back = way.device == p.device();
    if !back && WIRES.get_ptr(way.device).is_none() {
        return None;
    }
    entry.touch(false);
    h.rewrite(p, &key, &to, Some(hops - 1));
    p.store(0, &way.macs);
    count(PacketStat::Driver);
    if back {
        return Some(xdp_action::XDP_TX);
    }
    // SAFETY: a helper without pointers.
    Some(unsafe { bpf_redirect(way.device, 0) } as u32)
}

/// Whether an IP frame to this device's own address is IPv6's; `None` for all other frames.
#[inline(always)]
fn ours(p: &XdpContext) -> Option<bool> {
    // SAFETY: eight bytes that user space replaces whole.
    let own = unsafe { WIRES.get(p.device()) }?;
    let to = p.load::<[u8; 6]>(0)?;
    let mut i = 0;
    while i < 6 {
        if to[i] != own[i] {
            return None;
        }
        i += 1;
    }
    match p.load::<u16>(12)? {
        ETH_P_IP => Some(false),
        ETH_P_IPV6 => Some(true),
        _ => None,
    }
}

/// What a packet of the flow becomes, between the outside and another node; `None` if that is still to be decided.
#[inline(always)]
fn target(entry: &Entry, proto: u8) -> Option<FlowKey> {
    let flow = entry.get();
    match entry.role() {
        Role::Forward if flow.is_snat() && flow.id != BACKEND_REJECT => {
            if proto != PROTO_TCP && !entry.is_current() {
                return None;
            }
            if flow.nport.0 == 0 {
                learn(entry)?;
            }
            Some(entry.get().target(Role::Out))
        }
        Role::Return => Some(flow.target(Role::Reply)),
        _ => None,
    }
}

/// Takes the translated source, which was chosen when the first packet went out, into the entry of arriving packets.
#[inline(always)]
fn learn(entry: &Entry) -> Option<()> {
    let key = entry.get().key(Role::Out);
    // SAFETY: the element's memory; a flow's source is written once, before it is answered.
    let out = unsafe { FLOWS.get(key) }?;
    if out.nport.0 == 0 {
        return None;
    }
    // SAFETY: the element's memory; whoever else writes these words writes the same.
    unsafe {
        (*entry.flow).node = out.node;
        core::ptr::write_volatile(&raw mut (*entry.flow).nport, out.nport);
    }
    Some(())
}
