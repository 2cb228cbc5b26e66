#![no_std]
//! Layouts shared by the eBPF programs and the agent.
//!
//! Enters: nothing. Leaves: plain-old-data types, one module per noun, that both sides read and write as raw
//! memory. Called by `dataplane-ebpf` (kernel side) and `agent/dataplane` (user side).
//!
//! Rules: addresses and ports are in network order and typed so ([`Be16`], [`Be32`], [`Ip6`]); ids are in host
//! order; there is no implicit padding; every size is asserted at compile time. A change of any layout here is a
//! change of [`LAYOUT_VERSION`].
//!
//! # Changing the layout of a map
//!
//! An agent takes over from one of the layout before while connections go on; what that takes:
//!
//! 1. Add one to [`LAYOUT_VERSION`], and to its list what changed.
//! 2. In `agent/dataplane/src/maps/shapes.rs` the map's line gets its new sizes, `.since` the new version. Maps that say nothing are
//!    shared by both generations of programs, which run beside each other for a moment: a change of what their values mean
//!    is a change of their layout, too. A word that was always zero before may get a meaning. A map that is new says nothing.
//! 3. In `agent/dataplane/src/upgrade/fill.rs` say how the new map is filled from the old one. That is done once, before links are
//!    swapped: what programs write into the old one until then is lost, which is fine for what only the agent writes. Where
//!    it cannot be, no function: the layout before is then like one that is not known (the new tables are filled from the API, and the links
//!    wait for that), and `upgrade::OLDEST` becomes the new version.
//! 4. Keep the last object of the layout before, and let `agent/dataplane/tests/upgrade` take over from it; its README says
//!    how the objects there were made.

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
///
/// 1: FE4 was a hash map of the kernel, [`service::FeKey4`] to a value as FE6 has it.
/// 2: FE4 is an array of [`frontend::Bucket`], with its salt in [`state::State::layout`]; there is PACKET_PODS.
pub const LAYOUT_VERSION: u32 = 2;

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
