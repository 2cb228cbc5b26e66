//! What happened to a flow, for whoever watches: written by the programs into EVENTS, and only while WATCH says that
//! somebody reads.
//!
//! The watch is a lease: [`Watch::until`] is a time that the watcher moves on. A watcher that was killed moves nothing on,
//! and the first program that finds the time passed sets it to zero, which is all that a program ever looks at when nobody
//! watches.

use crate::net::{Be16, Ip6};

/// Bytes of the ring buffer: some 2,300 events.
pub const EVENTS_BYTES: u32 = 256 * 1024;
/// The time in which at most [`Watch::most`] events are written: 2 to this power nanoseconds (134 ms).
pub const WINDOW_BITS: u32 = 27;
/// Bytes of a process's name, with a zero at the end.
pub const COMM: usize = 16;

/// Who watches, and for what; the one entry of WATCH.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Monotonic nanoseconds until which somebody reads; zero if nobody does.
    pub until: u64,
    /// Who: process id in the low half, a number of its own in the high half.
    pub owner: u64,
    /// Bit [`Verdict`]: only these are wanted.
    pub wanted: u32,
    /// One of so many events is written; the others are counted as [`EventStat::Unsampled`].
    pub sample: u32,
    /// The most events in a window; what is more is counted as [`EventStat::Limited`].
    pub most: u64,
}

/// How many events this window has had; the one entry of WATCH_GATE. Apart from [`Watch`], which all CPUs read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// The window's number: monotonic nanoseconds shifted by [`WINDOW_BITS`].
    pub window: u64,
    /// Events written in it.
    pub used: u64,
}

/// Counters of events since the maps were made, per CPU; the discriminant is the index into EVENT_COUNTS.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStat {
    /// Written.
    Written = 0,
    /// Lost, as the ring buffer was full.
    Full = 1,
    /// Left out, as there were too many in the window.
    Limited = 2,
    /// Left out by [`Watch::sample`].
    Unsampled = 3,
}

/// Number of [`EventStat`]s.
pub const EVENT_STATS: u32 = 4;

/// What became of a flow.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A new flow was given an endpoint.
    Translated = 0,
    /// It was refused, as a closed port does.
    Refused = 1,
    /// A packet was dropped.
    Dropped = 2,
    /// A policy allowed a new flow.
    Allowed = 3,
    /// The endpoint of a flow from outside gave its first answer.
    Answered = 4,
    /// A socket was shown the VIP in an endpoint's place: with each datagram it receives.
    Reversed = 5,
    /// A new flow was sent on, as it is, to the node of its endpoint.
    Direct = 6,
}

/// Why.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing special.
    None = 0,
    /// The service has no endpoint.
    NoEndpoints = 1,
    /// It has none on this node, and its traffic policy is Local.
    NoLocalEndpoints = 2,
    /// The VIP has no such port.
    NoSuchPort = 3,
    /// The client is in none of loadBalancerSourceRanges.
    SourceRanges = 4,
    /// No port was free, or a map was full.
    Exhausted = 5,
    /// The device has no address of the family to refuse by.
    NoAddress = 6,
    /// The pod's policies isolate it in this direction, and no rule allows the flow.
    Policy = 7,
    /// The node itself began the flow: no policy is asked.
    FromNode = 8,
    /// Of a connection older than the pod's policies, which would allow it.
    Older = 9,
    /// The packet's header is cut off.
    Unreadable = 10,
    /// No Service has the address, which is from where ClusterIPs are.
    Unallocated = 11,
    /// The service has loadBalancerSourceRanges, and what the socket would send from is not known.
    UnknownSource = 12,
}

/// Where it was seen.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `connect` of a socket.
    Connect = 0,
    /// A datagram sent by a socket that is not connected.
    Send = 1,
    /// A datagram received by a socket.
    Receive = 2,
    /// A packet that came in by a device of the node.
    Ingress = 3,
    /// A packet that went out by one.
    Egress = 4,
    /// A packet to a pod that policies select.
    ToPod = 5,
    /// A packet from such a pod.
    FromPod = 6,
}

/// One event; IPv4 addresses in mapped form, zero where unknown.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Monotonic nanoseconds.
    pub time: u64,
    /// Cookie of the socket's network namespace; zero for packets.
    pub netns: u64,
    /// Who sent it.
    pub src: Ip6,
    /// What it was sent to.
    pub dst: Ip6,
    /// The endpoint.
    pub to: Ip6,
    /// Service index, or [`crate::flow::NO_SERVICE`].
    pub index: u32,
    /// Interface index of the packet's device.
    pub device: u32,
    /// The socket's process; zero where the kernel does not tell.
    pub pid: u32,
    /// The process's name.
    pub comm: [u8; COMM],
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// The endpoint's port.
    pub tport: Be16,
    /// IP protocol.
    pub proto: u8,
    /// [`Hook`].
    pub hook: u8,
    /// [`Verdict`].
    pub verdict: u8,
    /// [`Reason`].
    pub reason: u8,
    /// Zero.
    pub pad: [u8; 2],
}

const _: () = {
    assert!(size_of::<Event>() == 104 && size_of::<Watch>() == 32 && size_of::<Gate>() == 16);
    assert!(EVENTS_BYTES.is_power_of_two() && EVENTS_BYTES.is_multiple_of(4096));
};
