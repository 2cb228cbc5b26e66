//! Load balancer addresses on the nodes' own networks: one node answers for each (ARP and neighbour discovery, no BGP).
//!
//! Enters: Services whose addresses the controller allocated, EndpointSlices, Nodes, and the Leases of the agents that
//! announce. Leaves: this agent's Lease, answers at the devices that outside traffic passes, and an Event where this node
//! takes an address over. `lease` and `election` say who answers for what (pure), `wire` what is said (pure), `link` says
//! it, [`run`] ties them together. Called by the agent, beside the service dataplane, whose programs then take the packets.
//!
//! There is no leader: all agents see the same Leases and choose the same owner of each address. An agent that cannot renew
//! its Lease falls silent before the others stop counting with it.

pub mod election;
pub mod lease;
pub mod link;
mod run;
pub mod wire;

use std::io;

pub use run::run;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's name.
    pub node_name: String,
    /// The devices to answer at (`--bpf-devices`); every Ethernet device with an address of the node if absent.
    pub devices: Option<Vec<String>>,
}

/// Why nothing is announced.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The kernel's notices of addresses.
    #[error("cannot follow the node's addresses")]
    Addresses(#[source] io::Error),
}
