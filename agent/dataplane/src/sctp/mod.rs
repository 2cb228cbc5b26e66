//! Services of SCTP, which has no socket call that the programs could translate in: tables of nft, as kube-proxy's nftables
//! mode writes them. Enters: the compiled service ports of SCTP and the node's addresses. Leaves: a table `xebec-sctp` of each
//! family that has any; none, and no process of `nft`, where there are none. Called by run, [`crate::detach`] and inspect.
//!
//! `rules` and `frame` decide (PURE), `ruleset` finds the script from what is held to what is wanted (PURE), `table` carries
//! it out, `worker` does so beside the loop, tries again and tells of what stays undone, `live` reads the tables back for
//! people.
//!
//! The tables outlive the agent, as maps and programs do. What is not served here is not served by others' ways either: eBPF
//! programs pass SCTP on untouched, past the node's IP stack it never goes (`dataplane-ebpf/src/packet/local.rs`).

mod frame;
mod live;
mod rules;
mod ruleset;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use live::{LiveService, live};
pub use rules::{Addresses, rules};
pub use ruleset::{Chain, Held, Ruleset, Set, sweep};
pub use table::{Filter, Kernel, Names, SctpError, Table, remove};
pub use worker::{State, Worker};

use crate::compile::facts::Owner;
use crate::model::ServicePort;

/// The tables' name, one of each family.
pub const TABLE: &str = "xebec-sctp";

/// What there is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The service ports; `None` until the API has told of all Services.
    pub ports: Option<Vec<ServicePort>>,
    /// The node's addresses.
    pub addresses: Addresses,
    /// The Services with SCTP ports and their UIDs.
    pub services: BTreeMap<Owner, Arc<str>>,
}
