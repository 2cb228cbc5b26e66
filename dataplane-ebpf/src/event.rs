//! Events for whoever watches. Enters: a verdict and what it is about. Leaves: a record in EVENTS, or a count of one that
//! was left out.
//!
//! Costs nothing when nobody watches, as nearly as can be: one word that stays in every CPU's cache is compared to zero,
//! once a flow. Programs of two kinds, one of which has no such code at all, would save that word, but leave the costly
//! kind in place when a watcher is killed, and every agent that starts would have to know of the watcher.

use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_ringbuf_submit,
};
use xebec_abi::{
    Be16, Ip6,
    event::{COMM, Event, EventStat, Hook, Reason, Verdict, WINDOW_BITS, Watch},
    flow::{BACKEND_REJECT, Flow, FlowKey, NO_SERVICE},
    policy::PolicyFlowKey,
    service::{FeValue, KIND_CLUSTER_IP, META_INTERNAL_LOCAL},
};

use crate::{
    maps::{
        event::{EVENTS, PROCESS_KNOWN, WATCH, WATCH_GATE, add_one, count},
        service::META,
    },
    socket::{Call, Family},
};

/// The watch, if there is one.
#[inline(always)]
fn watch() -> Option<*mut Watch> {
    let watch = WATCH.get_ptr_mut(0)?;
    // SAFETY: the map's own memory; user space replaces the word by one aligned store.
    if unsafe { core::ptr::read_volatile(&raw const (*watch).until) } == 0 { None } else { Some(watch) }
}

/// A record to be filled and submitted, if this verdict is watched for and there is room.
#[inline(always)]
fn open(watch: *mut Watch, verdict: u32) -> Option<*mut Event> {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the map's own memory, by aligned words.
    let (until, wanted, sample, most) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*watch).until),
            core::ptr::read_volatile(&raw const (*watch).wanted),
            core::ptr::read_volatile(&raw const (*watch).sample),
            core::ptr::read_volatile(&raw const (*watch).most),
        )
    };
    if until < now {
        // The watcher is gone. One that came in this moment is back with its next renewal.
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*watch).until, 0) };
        return None;
    }
    if wanted >> (verdict & 31) & 1 == 0 {
        return None;
    }
    // SAFETY: a helper without arguments.
    if sample > 1 && unsafe { bpf_get_prandom_u32() } % sample != 0 {
        count(EventStat::Unsampled);
        return None;
    }
    if !admit(now, most) {
        count(EventStat::Limited);
        return None;
    }
    let Some(mut record) = EVENTS.reserve::<Event>(0) else {
        count(EventStat::Full);
        return None;
    };
    count(EventStat::Written);
    let event = record.as_mut_ptr();
    // SAFETY: reserved memory of an Event, of which the callers of this function write the rest.
    unsafe { (*event).time = now };
    Some(event)
}

/// Makes a record say nothing but its time: every word, as the ring buffer has what was in it before.
///
/// # Safety
/// `event` is a record of [`open`].
#[inline(always)]
unsafe fn nothing(event: *mut Event) {
    let words = event.cast::<u64>();
    let mut i = 1;
    while i < size_of::<Event>() / 8 {
        // SAFETY: inside the record, whose words are aligned; volatile, lest it become a call of a loop over bytes.
        unsafe { core::ptr::write_volatile(words.add(i), 0) };
        i += 1;
    }
}

/// Whether this window has room for one more. Nobody writes to what all CPUs read once it has none.
#[inline(always)]
fn admit(now: u64, most: u64) -> bool {
    let Some(gate) = WATCH_GATE.get_ptr_mut(0) else { return false };
    let window = now >> WINDOW_BITS;
    // SAFETY: the map's own memory, by aligned words; programs that begin a window at the same moment let a few more in.
    unsafe {
        if core::ptr::read_volatile(&raw const (*gate).window) != window {
            core::ptr::write_volatile(&raw mut (*gate).window, window);
            core::ptr::write_volatile(&raw mut (*gate).used, 0);
        }
        if core::ptr::read_volatile(&raw const (*gate).used) >= most {
            return false;
        }
        add_one(&raw mut (*gate).used);
    }
    true
}

#[inline(always)]
fn submit(event: *mut Event) {
    // SAFETY: a record of `open`, filled, and submitted once. A reader that waits is woken by the kernel.
    unsafe { bpf_ringbuf_submit(event.cast(), 0) };
}

/// A call of a socket: what it asked for, and the endpoint it got in its place.
#[inline(always)]
pub fn socket<A: Family>(
    call: &Call<'_>,
    what: (Hook, u8),
    vip: (A, Be16),
    service: Option<FeValue>,
    to: Option<(A, Be16)>,
) {
    let Some(watch) = watch() else { return };
    let verdict = match (to, service) {
        (Some(_), Some(_)) => (Verdict::Translated, Reason::None),
        (Some(_), None) => (Verdict::Reversed, Reason::None),
        (None, service) => (Verdict::Refused, missing(service)),
    };
    tell_socket(watch, call, what, verdict, vip, service, to);
}

/// A call of a socket that fails, to a service if there is one.
#[inline(always)]
pub fn refused<A: Family>(
    call: &Call<'_>,
    what: (Hook, u8),
    vip: (A, Be16),
    service: Option<FeValue>,
    reason: Reason,
) {
    if let Some(watch) = watch() {
        tell_socket(watch, call, what, (Verdict::Refused, reason), vip, service, None);
    }
}

/// Writes a socket's event. In line, as the programs' own log is a function of theirs already, and aya-obj 0.3 links the
/// call of the one to the other when there are two.
#[inline(always)]
fn tell_socket<A: Family>(
    watch: *mut Watch,
    call: &Call<'_>,
    (hook, proto): (Hook, u8),
    (verdict, reason): (Verdict, Reason),
    (vip, port): (A, Be16),
    service: Option<FeValue>,
    to: Option<(A, Be16)>,
) {
    let Some(event) = open(watch, verdict as u32) else { return };
    let (to, tport) = match to {
        Some((to, port)) => (to.wide(), port),
        None => (Ip6([0; 4]), Be16(0)),
    };
    // SAFETY: a record of `open`.
    unsafe {
        nothing(event);
        (*event).netns = call.netns();
        (*event).dst = vip.wide();
        (*event).dport = port;
        (*event).to = to;
        (*event).tport = tport;
        (*event).proto = proto;
        (*event).index = match service {
            Some(service) => service.index(),
            None => NO_SERVICE,
        };
        (*event).hook = hook as u8;
        (*event).verdict = verdict as u8;
        (*event).reason = reason as u8;
        if PROCESS_KNOWN.load() != 0 {
            (*event).pid = (bpf_get_current_pid_tgid() >> 32) as u32;
            let _ = bpf_get_current_comm((&raw mut (*event).comm).cast(), COMM as u32);
        }
    }
    submit(event);
}

/// Why a service gave a socket no endpoint.
#[inline(always)]
fn missing(service: Option<FeValue>) -> Reason {
    let Some(service) = service else { return Reason::NoEndpoints };
    let Some(meta) = META.get_ptr(service.index()) else { return Reason::NoEndpoints };
    // SAFETY: the map's own memory, by aligned words.
    let (flags, cluster) =
        unsafe { ((*meta).flags, core::ptr::read_volatile(&raw const (*meta).sel_cluster)) };
    let local = flags & META_INTERNAL_LOCAL != 0 && service.kind() == KIND_CLUSTER_IP;
    if local && cluster.count() != 0 { Reason::NoLocalEndpoints } else { Reason::NoEndpoints }
}

/// What a packet's event says beside addresses, in one word: the stack has no room for more arguments.
#[derive(Clone, Copy)]
struct What(u64);

impl What {
    #[inline(always)]
    const fn new(verdict: Verdict, reason: Reason, hook: Hook) -> Self {
        Self(verdict as u64 | (reason as u64) << 8 | (hook as u64) << 16)
    }
}

/// A packet at a device of the node, of a flow if there is one (null if not). A flow that the node refuses is told so.
#[inline(always)]
pub fn packet(
    (verdict, reason, hook): (Verdict, Reason, Hook),
    device: u32,
    key: &FlowKey,
    index: u32,
    flow: *const Flow,
) {
    // Not asked for `watch` here: that branch would have the verifier go through the rest of the program twice.
    let what = What::new(verdict, reason, hook).0 | (device as u64) << 32;
    let _ = xebec_tell_packet(key, flow, what, index);
}

/// A packet of a pod that policies select; `inward` if it goes to the pod.
#[inline(always)]
pub fn policy(verdict: Verdict, reason: Reason, key: &PolicyFlowKey, inward: bool) {
    if watch().is_some() {
        let hook = if inward { Hook::ToPod } else { Hook::FromPod };
        let _ = xebec_tell_policy(key, What::new(verdict, reason, hook).0);
    }
}

/// Writes a packet's event. A function of its own, which the verifier goes through once and not once more on each of a
/// program's paths: those are many.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn xebec_tell_packet(key: *const FlowKey, flow: *const Flow, mut what: u64, index: u32) -> u32 {
    // SAFETY: null or the caller's flow, as the verifier knows.
    let refused = !flow.is_null() && unsafe { (*flow).id } == BACKEND_REJECT;
    if refused {
        let reason = if index == NO_SERVICE { Reason::NoSuchPort } else { Reason::NoEndpoints };
        what = what >> 32 << 32 | What::new(Verdict::Refused, reason, Hook::Ingress).0;
    }
    let Some(event) = begin(what) else { return 0 };
    // SAFETY: a record of `begin`; pointers are null or the caller's, as the verifier knows.
    unsafe {
        (*event).device = (what >> 32) as u32;
        (*event).index = index;
        if !key.is_null() {
            (*event).src = (*key).src;
            (*event).sport = (*key).sport;
            (*event).dst = (*key).dst;
            (*event).dport = (*key).dport;
            (*event).proto = (*key).proto;
        }
        if !flow.is_null() && !refused {
            (*event).to = (*flow).backend;
            (*event).tport = (*flow).bport;
        }
    }
    submit(event);
    1
}

/// As [`xebec_tell_packet`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn xebec_tell_policy(key: *const PolicyFlowKey, what: u64) -> u32 {
    let Some(event) = begin(what) else { return 0 };
    // SAFETY: as above.
    unsafe {
        if !key.is_null() {
            let inward = (*event).hook == Hook::ToPod as u8;
            let (pod, other) = ((*key).pod, (*key).other);
            (*event).src = if inward { other } else { pod };
            (*event).dst = if inward { pod } else { other };
            let (pod, other) = ((*key).pod_port, (*key).other_port);
            (*event).sport = if inward { other } else { pod };
            (*event).dport = if inward { pod } else { other };
            (*event).proto = (*key).proto;
            (*event).device = (*key).device;
        }
        (*event).index = NO_SERVICE;
    }
    submit(event);
    1
}

/// A record of a packet, all of it written.
#[inline(always)]
fn begin(what: u64) -> Option<*mut Event> {
    let event = open(watch()?, what as u32 & 0xff)?;
    // SAFETY: a record of `open`.
    unsafe {
        nothing(event);
        (*event).verdict = what as u8;
        (*event).reason = (what >> 8) as u8;
        (*event).hook = (what >> 16) as u8;
    }
    Some(event)
}
