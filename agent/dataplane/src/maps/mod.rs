//! The kernel's tables, seen from user space. Enters: [`Write`]s in order. Leaves: map memory the programs read.
//! [`MapWriter`] is the one door; behind it the kernel (`pinned`) or a model in memory (`fake`).

mod encode;
pub mod fake;
pub(crate) mod frontends;
mod mapping;
pub(crate) mod node;
pub mod pinned;
mod served;
pub(crate) mod shapes;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod tracked;

pub(crate) use encode::{
    FlowEntry, FlowId, Key6, from_key4, from_key6, from_source_key, from_wide, source_key, tag, wide,
};
pub use encode::{endpoint4, endpoint6, key4, key6};
pub(crate) use mapping::Mapping;
pub use served::{Served, shards};
pub use snapshot::{Snapshot, Stored, StoredSlot};

use std::net::{IpAddr, SocketAddr};

use xebec_abi::backend::BackendState;
use xebec_abi::service::{FeValue, Meta, Sel};

use crate::model::{FrontKey, SourceRange};

/// One change of one map. The order in a list of writes is part of its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Fills a slot that no published selection covers.
    Slot {
        /// Which slot of the endpoint's family.
        at: u32,
        /// The endpoint.
        endpoint: SocketAddr,
        /// The slot's owner.
        index: u32,
        /// The endpoint's backend id.
        backend: u32,
    },
    /// Fills elements of LUT that no META entry names.
    Row {
        /// The first element.
        at: u32,
        /// Four entries each.
        elements: Vec<u64>,
    },
    /// Names the Maglev row of `sel_cluster`, by one store; zero for none.
    Lut {
        /// Which entry.
        index: u32,
        /// First element, number of entries, the selection's generation.
        lut: Sel,
    },
    /// Fills the entry of a service port that no frontend points to yet.
    Meta {
        /// Which entry.
        index: u32,
        /// Its content.
        meta: Meta,
    },
    /// Publishes a selection, by one store.
    Select {
        /// Which entry.
        index: u32,
        /// `sel_local` rather than `sel_cluster`.
        local: bool,
        /// The selection.
        sel: Sel,
    },
    /// Replaces flags and affinity timeout, by one store.
    Flags {
        /// Which entry.
        index: u32,
        /// `META_` bits.
        flags: u32,
        /// Seconds.
        affinity_seconds: u32,
    },
    /// Lets a network reach a service port's load balancer frontends, once its flags say that networks count.
    AddSource {
        /// Which entry.
        index: u32,
        /// The network.
        range: SourceRange,
    },
    /// Takes a network away; not an error if it is not there.
    RemoveSource {
        /// Which entry.
        index: u32,
        /// The network.
        range: SourceRange,
    },
    /// Adds or replaces a frontend.
    Frontend {
        /// Key.
        key: FrontKey,
        /// Value.
        value: FeValue,
    },
    /// Removes a frontend; not an error if it is not there.
    RemoveFrontend {
        /// Key.
        key: FrontKey,
    },
    /// Names an address of frontends, once the first of them is there.
    AddVip {
        /// The address.
        addr: IpAddr,
    },
    /// Names the ClusterIP of a Service that is another's business.
    HoldVip {
        /// The address.
        addr: IpAddr,
    },
    /// Forgets an address, before the last of its frontends goes; not an error if it is not there.
    RemoveVip {
        /// The address.
        addr: IpAddr,
    },
    /// Sets a backend's state word, by one store.
    Backend {
        /// Id.
        id: u32,
        /// State.
        state: BackendState,
    },
    /// Sets the ranges node ports and host ports lie in ([`xebec_abi::state::State::node_ports`]).
    NodePorts {
        /// The packed range.
        range: u64,
    },
    /// Counts one full synchronisation.
    Synced,
}

/// How big the maps are; fixed when they are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Frontends per family.
    pub frontends: u32,
    /// Service ports, both families.
    pub services: u32,
    /// IPv4 endpoint slots; a service port needs its endpoints twice while they change.
    pub slots4: u32,
    /// IPv6 endpoint slots.
    pub slots6: u32,
    /// Endpoints of all service ports, both families.
    pub backends: u32,
    /// Elements of Maglev rows (LUT), four entries each; a service port needs its row twice while its endpoints change.
    pub rows: u32,
}

impl Capacity {
    /// Endpoints there is room for unless told otherwise.
    pub const ENDPOINTS: u32 = 100_000;
    /// The most endpoints that can be asked for: slots are numbered in 24 bits.
    pub const MOST_ENDPOINTS: u32 = 6_000_000;

    /// Room for this many IPv4 endpoints twice over, since a service port needs its own twice while they change, for half
    /// as many of IPv6, for a service port to every endpoint and a half, and for ten entries of Maglev rows to every endpoint,
    /// which is 420 service ports of up to 25 endpoints by default: in kernel memory 250 bytes for each endpoint, with two CPUs'
    /// counters.
    pub const fn of_endpoints(endpoints: u32) -> Self {
        let endpoints = if endpoints > Self::MOST_ENDPOINTS { Self::MOST_ENDPOINTS } else { endpoints };
        // Never so few that the agent's own do not fit.
        let third = endpoints / 3 + 64;
        Self {
            frontends: third * 4,
            services: third * 2,
            slots4: third * 8,
            slots6: third * 3,
            backends: third * 10,
            rows: third * 8,
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self::of_endpoints(Self::ENDPOINTS)
    }
}

/// Why a map could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The kernel refused an element; retry after the cause is gone (a full map, no memory).
    #[error("map {map}: cannot {action}")]
    Element {
        /// The map.
        map: &'static str,
        /// `insert`, `remove`, `read`.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: aya::maps::MapError,
    },
    /// A pinned map cannot be opened; nothing is running under this pin directory, or it was removed meanwhile.
    #[error("map {map}: cannot open its pin {path}")]
    Pin {
        /// The map.
        map: &'static str,
        /// The path.
        path: String,
        /// The kernel's answer.
        #[source]
        source: aya::maps::MapError,
    },
    /// A pinned map has another shape than this build's; the pins are of a different or damaged version.
    #[error(
        "map {map}: its pin has {what} {found}, this build needs {wanted}; `xebec-agent proxy --cleanup` removes what Services have, `xebec-agent reset` everything"
    )]
    Shape {
        /// The map.
        map: &'static str,
        /// Which property.
        what: &'static str,
        /// What the pin has.
        found: u64,
        /// What is needed.
        wanted: u64,
    },
    /// What is pinned is another version's.
    #[error(
        "{path} has maps of layout {found}, this program's are of layout {}: use the xebec-agent that made them, or start this one, which takes over",
        xebec_abi::LAYOUT_VERSION
    )]
    Layout {
        /// Which version's, or several.
        found: String,
        /// Where.
        path: String,
    },
    /// A map of another layout cannot be made ours.
    #[error("map {map}: cannot take it over at {path}")]
    Carry {
        /// The map.
        map: &'static str,
        /// The pin.
        path: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A map's memory cannot be mapped.
    #[error("map {map}: cannot map its memory")]
    Mmap {
        /// The map.
        map: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A key has no place, since all near its home are taken; retry after others are gone.
    #[error("map {map}: no place near a key's home; it is made for {len} entries")]
    Crowded {
        /// The map.
        map: &'static str,
        /// Entries it is made for.
        len: u32,
    },
    /// An index outside a map: the decision and the kernel disagree about capacity.
    #[error("map {map}: index {index} is outside its {len} entries")]
    Outside {
        /// The map.
        map: &'static str,
        /// The index.
        index: u32,
        /// Entries.
        len: u32,
    },
}

/// Where writes go.
pub trait MapWriter {
    /// Carries out one write.
    ///
    /// # Errors
    /// The kernel refused it; the writes before it stand.
    fn write(&mut self, write: &Write) -> Result<(), MapError>;
}
