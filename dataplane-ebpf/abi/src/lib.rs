#![no_std]
//! Layouts shared by the eBPF programs and the agent.
//!
//! Enters: nothing. Leaves: plain-old-data types, one module per noun, that both sides read and write as raw
//! memory. Called by `dataplane-ebpf` (kernel side) and `agent/dataplane` (user side).
//!
//! Rules: addresses and ports are in network order and typed so ([`Be16`], [`Be32`], [`Ip6`]); ids are in host
//! order; there is no implicit padding; every size is asserted at compile time. A change of any layout here is a
//! change of [`LAYOUT_VERSION`].

pub mod affinity;
pub mod backend;
pub mod drain;
pub mod event;
pub mod flow;
pub mod frontend;
pub mod net;
pub mod pod;
pub mod policy;
pub mod reverse;
pub mod service;
pub mod state;
pub mod tunnel;

pub use affinity::{AffinityKey, AffinityValue};
pub use net::{Be16, Be32, Ip6, PROTO_ICMP, PROTO_ICMP6, PROTO_MPTCP, PROTO_SCTP, PROTO_TCP, PROTO_UDP};

/// Version of every layout in this crate; pins live under `v<LAYOUT_VERSION>` and the object carries it.
pub const LAYOUT_VERSION: u32 = 1;

/// What the object's marker starts with; four decimal digits of [`LAYOUT_VERSION`] and a `;` follow.
pub const MARKER_PREFIX: [u8; 11] = *b"XEBEC-ABI=v";

/// The marker a program object carries in its read-only data, checked by the loader before anything is loaded.
pub const MARKER: [u8; 16] = marker();

const fn marker() -> [u8; 16] {
    let mut out = [b';'; 16];
    let mut i = 0;
    while i < MARKER_PREFIX.len() {
        out[i] = MARKER_PREFIX[i];
        i += 1;
    }
    let mut rest = LAYOUT_VERSION;
    let mut digit = 4;
    while digit > 0 {
        digit -= 1;
        out[MARKER_PREFIX.len() + digit] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out
}
