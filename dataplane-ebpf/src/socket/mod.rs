//! The four calls, for either family. Enters: the call and an address. Leaves: an [`Outcome`]. Called by main.rs.

mod call;
mod family;
mod forward;
mod ring;

use xebec_abi::{event::Hook, state::Stat};

pub use call::Call;
pub use family::Family;
pub use forward::{Choice, choose_for, tagged};

use crate::{
    diag::note,
    event,
    maps::{backend, service::served, state::count},
    verdict::Outcome,
};

/// `connect`: one endpoint for the life of the connection.
#[inline(always)]
pub fn connect<A: Family>(call: &Call<'_>, vip: A) -> Outcome<A> {
    let Some(proto) = call.proto() else { return Outcome::Pass };
    let port = call.port();
    let Some(service) = forward::frontend(call, vip, port, proto) else {
        ring::forget(call, vip, port, true);
        return Outcome::Pass;
    };
    match forward::choose::<A>(call, service) {
        Choice::Endpoint(to) => {
            ring::restart(call, vip, port, &to);
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
    }
}

/// `sendmsg` with an address: the endpoint this socket already uses for the VIP while it lives, else a new one.
#[inline(always)]
pub fn send<A: Family>(call: &Call<'_>, vip: A) -> Outcome<A> {
    let Some(proto) = call.proto() else { return Outcome::Pass };
    let port = call.port();
    let Some(service) = forward::frontend(call, vip, port, proto) else {
        ring::forget(call, vip, port, false);
        return Outcome::Pass;
    };
    if let Some((addr, port)) = ring::sticky(call, vip, port) {
        return Outcome::Rewrite(addr, port);
    }
    match forward::choose::<A>(call, service) {
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
    }
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
    reversed(ring::vip_of(call, peer, call.port()))
}

#[inline(always)]
fn reversed<A: Family>(found: Option<(A, xebec_abi::Be16)>) -> Outcome<A> {
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
fn unchanged(backend: u32, state: u64) -> bool {
    backend::state(backend) == Some(state)
}
