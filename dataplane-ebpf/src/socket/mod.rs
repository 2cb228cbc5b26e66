//! The four calls, for either family. Enters: the call and an address. Leaves: an [`Outcome`]. Called by main.rs.

mod call;
mod family;
mod forward;
mod peer;
mod ring;

use xebec_abi::{
    Be16,
    event::{Hook, Reason},
    service::FeValue,
    state::Stat,
};

pub use call::Call;
pub use family::Family;
pub use forward::{Choice, Vacancy, choose_for, host_port, tagged, vacancy};
pub use peer::release;

use crate::{
    diag::note,
    event,
    maps::{
        backend,
        pod::PACKET_PODS,
        service::served,
        state::{count, has_packet_pods},
    },
    verdict::Outcome,
};

/// `connect`: one endpoint for the life of the connection; `source` tells what the socket is bound to.
#[inline(always)]
pub fn connect<A: Family>(call: &Call<'_>, vip: A, source: impl Fn() -> A) -> Outcome<A> {
    let Some(proto) = call.proto() else { return Outcome::Pass };
    let port = call.port();
    let Some(service) = forward::frontend(call, vip, port, proto) else {
        let outcome = vacant(call, (Hook::Connect, proto), vip, port);
        if let Outcome::Pass = outcome {
            peer::forget::<A>(call);
            ring::forget(call, vip, port, true);
        }
        return outcome;
    };
    if is_left_alone(call) {
        return Outcome::Pass;
    }
    match forward::choose::<A>(call, service, &source) {
        Choice::Endpoint(to) => {
            if !peer::claim(call, vip, port, &to) {
                ring::restart(call, proto, vip, port, &to);
            }
            count(Stat::Translated);
            served(service.index());
            event::socket(call, (Hook::Connect, proto), (vip, port), Some(service), Some((to.addr, to.port)));
            note!(call, "connect: service {} port {}", service.index(), port.host());
            Outcome::Rewrite(to.addr, to.port)
        }
        Choice::Empty => {
            event::socket(call, (Hook::Connect, proto), (vip, port), Some(service), None);
            note!(call, "connect: no endpoints: service {} port {}", service.index(), port.host());
            Outcome::Refuse
        }
        Choice::Denied(reason) => denied(call, (Hook::Connect, proto), (vip, port), service, reason),
    }
}

/// `sendmsg` with an address: the endpoint this socket already uses for the VIP while it lives, else a new one;
/// `source` tells what the datagram is to be sent from.
#[inline(always)]
pub fn send<A: Family>(call: &Call<'_>, vip: A, source: impl Fn() -> A) -> Outcome<A> {
    let Some(proto) = call.proto() else { return Outcome::Pass };
    let port = call.port();
    let Some(service) = forward::frontend(call, vip, port, proto) else {
        let outcome = vacant(call, (Hook::Send, proto), vip, port);
        if let Outcome::Pass = outcome {
            ring::forget(call, vip, port, false);
        }
        return outcome;
    };
    if is_left_alone(call) {
        return Outcome::Pass;
    }
    if let Some((addr, port)) = ring::sticky(call, vip, port) {
        return Outcome::Rewrite(addr, port);
    }
    match forward::choose::<A>(call, service, &source) {
        Choice::Endpoint(to) => {
            ring::remember(call, vip, port, &to);
            count(Stat::Translated);
            served(service.index());
            event::socket(call, (Hook::Send, proto), (vip, port), Some(service), Some((to.addr, to.port)));
            note!(call, "sendmsg: service {} port {}", service.index(), port.host());
            Outcome::Rewrite(to.addr, to.port)
        }
        Choice::Empty => {
            event::socket(call, (Hook::Send, proto), (vip, port), Some(service), None);
            note!(call, "sendmsg: no endpoints: service {} port {}", service.index(), port.host());
            Outcome::Refuse
        }
        Choice::Denied(reason) => denied(call, (Hook::Send, proto), (vip, port), service, reason),
    }
}

/// Whether the socket is a pod's that is served packet by packet. Asked where something would be done to it only.
#[inline(always)]
fn is_left_alone(call: &Call<'_>) -> bool {
    has_packet_pods() && PACKET_PODS.get_ptr(call.netns()).is_some()
}

/// What becomes of an address without a frontend at the port.
#[inline(always)]
fn vacant<A: Family>(call: &Call<'_>, what: (Hook, u8), addr: A, port: Be16) -> Outcome<A> {
    let (stat, reason, outcome) = match forward::vacancy(addr) {
        Vacancy::Elsewhere => return Outcome::Pass,
        Vacancy::NoPort => (Stat::NoPort, Reason::NoSuchPort, Outcome::Refuse),
        Vacancy::Unallocated => (Stat::Unallocated, Reason::Unallocated, Outcome::Unreachable),
    };
    if is_left_alone(call) {
        return Outcome::Pass;
    }
    count(stat);
    event::refused(call, what, (addr, port), None, reason);
    outcome
}

/// The service does not answer who asks.
#[inline(always)]
fn denied<A: Family>(
    call: &Call<'_>,
    what: (Hook, u8),
    vip: (A, Be16),
    service: FeValue,
    reason: Reason,
) -> Outcome<A> {
    count(Stat::Denied);
    event::refused(call, what, vip, Some(service), reason);
    Outcome::Deny
}

/// `recvmsg`: the VIP back in the place of the endpoint it stood for.
#[inline(always)]
pub fn receive<A: Family>(call: &Call<'_>, source: A) -> Outcome<A> {
    let port = call.port();
    let found = ring::vip_of(call, source, port);
    if let (Some(vip), Some(proto)) = (found, call.proto()) {
        event::socket(call, (Hook::Receive, proto), vip, None, Some((source, port)));
    }
    reversed(found)
}

/// `getpeername`: as [`receive`].
#[inline(always)]
pub fn peername<A: Family>(call: &Call<'_>, peer: A) -> Outcome<A> {
    let port = call.port();
    reversed(peer::vip_of(call, peer, port).or_else(|| ring::vip_of(call, peer, port)))
}

#[inline(always)]
fn reversed<A: Family>(found: Option<(A, Be16)>) -> Outcome<A> {
    match found {
        Some((vip, vport)) => {
            count(Stat::Reversed);
            Outcome::Rewrite(vip, vport)
        }
        None => Outcome::Pass,
    }
}

/// Whether a backend still has the state it was chosen with.
#[inline(always)]
pub fn unchanged(backend: u32, state: u64) -> bool {
    backend::state(backend) == Some(state)
}
