//! Flows: found, begun, promoted, ended.

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use xebec_abi::{
    Be16, Ip6,
    flow::{BACKEND_REJECT, FLOW_CLOSING, Flow, FlowKey, PacketStat, Role, SNAT_PORTS, proof, snat_port},
};

use crate::{
    maps::{
        backend,
        flow::{DEVICES, FLOWS, FLOWS_NEW, count, draft},
    },
    socket::Family as _,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// Nanoseconds in which a connection that ended may still have something to say.
const LINGER: u64 = 1_000_000_000;
/// Ports of a client tried inside the node before a packet is dropped.
const TRIES: u32 = 8;
/// Translated sources tried before a packet is dropped.
const SOURCES: u32 = 64;

/// An entry in the kernel's memory.
#[derive(Clone, Copy)]
pub struct Entry {
    pub flow: *mut Flow,
    /// Not answered yet.
    pub probation: bool,
}

/// The entry of a key.
#[inline(always)]
pub fn find(key: &FlowKey) -> Option<Entry> {
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        return Some(Entry { flow, probation: false });
    }
    FLOWS_NEW.get_ptr_mut(key).map(|flow| Entry { flow, probation: true })
}

impl Entry {
    /// The flow; a racing writer changes single words only.
    #[inline(always)]
    pub fn get(&self) -> &Flow {
        // SAFETY: the element's memory, valid for the program's run.
        unsafe { &*self.flow }
    }

    /// Which form it stands for.
    #[inline(always)]
    pub fn role(&self) -> Role {
        match self.get().role as u8 {
            0 => Role::Forward,
            1 => Role::Out,
            2 => Role::Return,
            _ => Role::Reply,
        }
    }

    /// Notes a packet, and whether it ends a connection.
    #[inline(always)]
    pub fn touch(&self, closing: bool) {
        // SAFETY: aligned words of the element's memory.
        unsafe {
            core::ptr::write_volatile(&raw mut (*self.flow).last, now());
            if closing {
                (*self.flow).flags |= FLOW_CLOSING;
            }
        }
    }

    /// What the client's acknowledgement must be known by; zero before a connection's first answer.
    #[inline(always)]
    pub fn proof(&self) -> u32 {
        self.get().role >> 8
    }

    /// Notes which acknowledgement is waited for.
    #[inline(always)]
    pub fn wait_for(&self, acknowledged: u32) {
        // SAFETY: one aligned word of the element's memory.
        unsafe {
            core::ptr::write_volatile(
                &raw mut (*self.flow).role,
                Role::Reply as u32 | proof(acknowledged) << 8,
            );
        }
    }

    /// Whether the endpoint is still the one that was chosen.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        let flow = self.get();
        flow.id != BACKEND_REJECT && backend::state(flow.id) == Some(flow.state)
    }
}

/// Monotonic nanoseconds, as coarse as a tick.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// Stores the draft under a role's key; false if the map is full or, with `BPF_NOEXIST`, the key is taken.
#[inline(always)]
fn put(flow: *mut Flow, role: Role, flags: u64) -> bool {
    // SAFETY: this CPU's draft, or an element of ours whose role this is already.
    let flow = unsafe {
        (*flow).role = role as u32;
        &*flow
    };
    FLOWS_NEW.insert(flow.key(role), flow, flags).is_ok()
}

/// Begins a flow. The way back is stored first, and only if nobody has it: that reserves the client's port inside the
/// node. `None` if no port is free.
#[inline(always)]
pub fn begin(flow: Flow) -> Option<*mut Flow> {
    let draft = draft()?;
    // SAFETY: this CPU's draft.
    let new = unsafe {
        *draft = flow;
        (*draft).last = now();
        &mut *draft
    };
    if new.is_direct() {
        // What comes back goes another way.
        return if put(draft, Role::Forward, BPF_ANY) { Some(draft) } else { None };
    }
    let mut reserved = false;
    let mut attempt = 0;
    while attempt < TRIES {
        attempt += 1;
        let key = new.key(Role::Reply);
        let old = match FLOWS.get_ptr_mut(key) {
            Some(flow) => Some(Entry { flow, probation: false }),
            // Storing it tells whether another has it on probation: to look first would be in vain nearly always.
            None if put(draft, Role::Reply, BPF_NOEXIST) => {
                reserved = true;
                break;
            }
            None => FLOWS_NEW.get_ptr_mut(key).map(|flow| Entry { flow, probation: true }),
        };
        // An earlier life of the same flow.
        if old.is_some_and(|old| {
            let old = old.get();
            old.vip.same(new.vip) && old.vport.0 == new.vport.0 && old.cport.0 == new.cport.0
        }) {
            let _ = FLOWS.remove(key);
            reserved = put(draft, Role::Reply, BPF_ANY);
        }
        if reserved {
            break;
        }
        new.port = Be16::new(1024 + (random() % (65_536 - 1024)) as u16);
    }
    if !reserved || !put(draft, Role::Forward, BPF_ANY) || (new.is_snat() && !put(draft, Role::Out, BPF_ANY))
    {
        count(PacketStat::Exhausted);
        return None;
    }
    Some(draft)
}

/// Whether the endpoint of a flow said so long ago that it is done that the port may be given to another where no free one is
/// found, as netfilter does (`nf_nat_may_kill`): else one endpoint would get no more connections, in the time that ended ones
/// are remembered, than there are ports. It may refuse the new one at first, and then the client asks again at once.
#[inline(always)]
fn is_over(flow: &Flow) -> bool {
    flow.flags & FLOW_CLOSING != 0 && now().saturating_sub(flow.last) > LINGER
}

/// Takes the port of a flow that [`is_over`], if its client is done, too. What else is known of it is collected in time.
#[inline(always)]
fn take_port(way: &FlowKey) {
    let Some(flow) = FLOWS.get_ptr(way) else { return };
    // SAFETY: the element's memory, valid for the program's run.
    let flow = unsafe { &*flow };
    let open = find(&flow.key(Role::Out)).is_some_and(|out| {
        // Another life of the same client port says nothing.
        out.get().nport.0 == flow.nport.0 && out.get().flags & FLOW_CLOSING == 0
    });
    if !open {
        forget(way);
    }
}

/// Gives a flow that leaves by a device that device's address and a port of the block; false if none is free.
#[inline(always)]
pub fn allocate(entry: &Entry, device: u32, v6: bool) -> bool {
    let (Some(draft), Some(own)) = (draft(), DEVICES.get_ptr(device)) else { return false };
    // SAFETY: the map's memory; user space replaces the element whole.
    let node: Ip6 = unsafe { if v6 { (*own).v6 } else { (*own).v4 } };
    if node.same(Ip6([0; 4])) {
        return false;
    }
    // SAFETY: this CPU's draft.
    let new = unsafe {
        *draft = *entry.get();
        (*draft).node = node;
        &mut *draft
    };
    let (mut attempt, mut ended) = (0, 0);
    while attempt < SOURCES {
        attempt += 1;
        new.nport = Be16::new(snat_port(random() % SNAT_PORTS));
        if attempt == SOURCES && ended != 0 {
            new.nport = Be16(ended);
            take_port(&new.key(Role::Return));
        }
        let key = new.key(Role::Return);
        match FLOWS.get_ptr(key) {
            // SAFETY: the element's memory, valid for the program's run.
            Some(old) if is_over(unsafe { &*old }) => ended = new.nport.0,
            Some(_) => {}
            None if put(draft, Role::Return, BPF_NOEXIST) => {
                // SAFETY: the element's memory; a second packet of the flow at the same moment takes a port of its own,
                // and answers find the flow by either.
                unsafe {
                    (*entry.flow).node = node;
                    (*entry.flow).nport = new.nport;
                }
                return true;
            }
            None => {}
        }
    }
    false
}

/// Stores the ways back of an unanswered flow again if they were evicted.
#[inline(always)]
pub fn mend(entry: &Entry) {
    let missing = |role| find(&entry.get().key(role)).is_none();
    if missing(Role::Reply) || (entry.get().is_snat() && missing(Role::Out)) {
        if let Some(draft) = draft() {
            // SAFETY: this CPU's draft.
            unsafe { *draft = *entry.get() };
            let _ = put(draft, Role::Reply, BPF_NOEXIST);
            if entry.get().is_snat() {
                let _ = put(draft, Role::Out, BPF_NOEXIST);
            }
        }
    }
}

/// Takes a connection off probation if its client acknowledges the first answer by this number, which whoever floods under
/// others' names does not know; false if it does not, or has done so. `entry` is that of packets that arrive.
#[inline(always)]
pub fn confirm(key: &FlowKey, entry: &Entry, acknowledged: u32) -> bool {
    // Keys in this CPU's draft, which nobody else fills now: the stack has no room for more of them.
    let Some(way) = draft().map(|draft| draft.cast::<FlowKey>()) else { return false };
    // SAFETY: the draft's memory, which is larger.
    let write = |entry: &Entry, role| unsafe {
        *way = entry.get().key(role);
        &*way
    };
    let way = write(entry, Role::Reply);
    let Some(reply) = find(way).filter(|reply| reply.proof() == proof(acknowledged)) else { return false };
    if reply.probation {
        promote_found(way, &reply);
    }
    if entry.get().is_snat() {
        if let Some(out) = find(write(entry, Role::Out)) {
            promote(write(&out, Role::Return));
            if out.probation {
                promote_found(write(&out, Role::Out), &out);
            }
        }
    }
    promote_found(key, entry);
    true
}

/// Off probation: the flow was answered.
#[inline(always)]
pub fn promote(key: &FlowKey) {
    if let Some(flow) = FLOWS_NEW.get_ptr(key) {
        move_on(key, flow);
    }
}

/// As [`promote`], of an entry on probation that was found already.
#[inline(always)]
pub fn promote_found(key: &FlowKey, entry: &Entry) {
    move_on(key, entry.flow);
}

#[inline(always)]
fn move_on(key: &FlowKey, flow: *const Flow) {
    // SAFETY: the element's memory; when the map is full the flow stays on probation.
    if FLOWS.insert(key, unsafe { &*flow }, BPF_ANY).is_ok() {
        let _ = FLOWS_NEW.remove(key);
    }
}

/// Forgets a flow whose endpoint is no more.
#[inline(always)]
pub fn end(entry: &Entry) {
    if let Some(draft) = draft() {
        // SAFETY: this CPU's draft: the element may be reused once it is removed.
        let flow = unsafe {
            *draft = *entry.get();
            &*draft
        };
        forget(&flow.key(Role::Forward));
        if !flow.is_direct() {
            forget(&flow.key(Role::Reply));
            forget(&flow.key(Role::Out));
        }
    }
}

#[inline(always)]
fn forget(key: &FlowKey) {
    let _ = FLOWS.remove(key);
    let _ = FLOWS_NEW.remove(key);
}
