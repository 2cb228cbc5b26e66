//! Tables to map writes. PURE. Enters: the service port a frontend should have now. Leaves: the fewest [`Write`]s
//! that get there, in an order that is right after every single one of them. Called by run and by tests.
//!
//! A reader in the kernel may stand between any two of these writes, so: slots are written before the selection that
//! covers them, a META entry before its first frontend, a backend is live before it can be chosen and retired only
//! after it cannot. What a reader may still hold (an old range, a removed index, a retired id) is used again only
//! after a grace period: [`Installed::seal`] names what waits, [`Installed::release`] says that the period is over.

mod adopt;
mod change;
mod fill;
mod flags;
mod frontends;
mod held;
mod layout;
pub mod maglev;
mod pool;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use flags::flags;
use layout::{Layout, layout};
pub use pool::{Ids, Range, Ranges};
pub use rows::{NoRow, Why};
use xebec_abi::backend::BackendState;
use xebec_abi::service::{MAX_ENDPOINTS, Meta, Sel};

use crate::endpoints::Endpoints;
use crate::maps::{Capacity, Write};
use crate::model::{Family, FrontKey, Kind, ServicePort, SourceRange};

/// A map has no room for a service port; what it had before stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{service}: no room for {wanted} more {what} ({left} left); raise --bpf-max-endpoints and start again after `xebec-agent proxy --cleanup`"
)]
pub struct Full {
    /// The service port.
    pub service: String,
    /// Which kind of entry.
    pub what: &'static str,
    /// How many it needs.
    pub wanted: u32,
    /// How many there are, in one piece or not.
    pub left: u32,
}

/// Names what was freed up to one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grace(u64);

#[derive(Clone, Debug)]
enum Freed {
    Slots(Family, Range),
    Row(Range),
    Index(u32),
    Backend(u32),
}

/// A service port as the maps hold it.
#[derive(Clone, Debug)]
struct Live {
    index: u32,
    kind: Kind,
    aliases: BTreeMap<FrontKey, Kind>,
    sources: BTreeSet<SourceRange>,
    flags: u32,
    affinity: u32,
    range: Option<Range>,
    /// Endpoint and backend id, slot by slot.
    slots: Endpoints<u32>,
    cluster: Sel,
    local: Sel,
    /// The Maglev row of `cluster` and where it lies; of an earlier one only as an agent killed before it named the next
    /// has left it.
    lut: Sel,
    row: Option<Range>,
    /// What an agent killed in the middle of a change left behind, to be freed with the next one.
    leftover: Leftover,
}

#[derive(Clone, Debug, Default)]
struct Leftover {
    ranges: Vec<Range>,
    backends: Vec<u32>,
}

/// The maps' content as this agent knows it, and what of them is free.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Boxed, as a table has room for nearly twice as many.
    services: HashMap<FrontKey, Box<Live>>,
    /// Which service each frontend points to.
    frontends: HashMap<FrontKey, u32>,
    /// How many frontends an address has.
    vips: HashMap<IpAddr, u32>,
    /// ClusterIPs of Services that are another's business.
    held: BTreeSet<IpAddr>,
    /// Addresses that count as frontends', as SCTP is served there.
    claimed: BTreeSet<IpAddr>,
    indices: Ids,
    slots4: Ranges,
    slots6: Ranges,
    backends: Ids,
    /// Elements of LUT.
    rows: Ranges,
    /// Service ports that are to have a row and have none.
    rowless: BTreeMap<FrontKey, Why>,
    /// Of these, who was not told yet.
    unsaid: Vec<NoRow>,
    /// Rows were freed.
    roomier: bool,
    states: Vec<BackendState>,
    node_ports: u64,
    /// How many frontends are pods' host ports.
    host_ports: usize,
    freed: Vec<Freed>,
    waiting: VecDeque<(Grace, Vec<Freed>)>,
    next_grace: u64,
}

impl Installed {
    /// Empty maps.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            services: HashMap::new(),
            frontends: HashMap::new(),
            vips: HashMap::new(),
            held: BTreeSet::new(),
            claimed: BTreeSet::new(),
            indices: Ids::new(capacity.services),
            slots4: Ranges::new(capacity.slots4),
            slots6: Ranges::new(capacity.slots6),
            backends: Ids::new(capacity.backends),
            rows: Ranges::new(capacity.rows),
            rowless: BTreeMap::new(),
            unsaid: Vec::new(),
            roomier: false,
            states: Vec::new(),
            node_ports: 0,
            host_ports: 0,
            freed: Vec::new(),
            waiting: VecDeque::new(),
            next_grace: 0,
        }
    }

    /// Every primary frontend in the maps.
    pub fn primaries(&self) -> impl Iterator<Item = &FrontKey> {
        self.services.keys()
    }

    /// How many service ports the maps hold.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether the maps hold nothing.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The writes that make the maps hold `desired` at `primary` (nothing there, if `None`).
    ///
    /// # Errors
    /// [`Full`]: nothing was changed, here or in the maps.
    pub fn reconcile(
        &mut self,
        primary: &FrontKey,
        desired: Option<&ServicePort>,
    ) -> Result<Vec<Write>, Full> {
        let mut writes = Vec::new();
        match (desired, self.services.remove(primary)) {
            (None, None) => {}
            (None, Some(live)) => self.remove(primary, *live, &mut writes),
            (Some(port), None) => self.add(port, &mut writes)?,
            (Some(port), Some(mut live)) => {
                let result = self.change(port, &mut live, &mut writes);
                self.services.insert(*primary, live);
                result?;
            }
        }
        Ok(writes)
    }

    fn slots(&mut self, family: Family) -> &mut Ranges {
        match family {
            Family::V4 => &mut self.slots4,
            Family::V6 => &mut self.slots6,
        }
    }

    /// Checks that a new range and new backends fit, then takes the range.
    fn take_range(&mut self, port: &ServicePort, len: u32, new: u32) -> Result<Option<Range>, Full> {
        let full = |what, wanted, left| Full { service: port.name.clone(), what, wanted, left };
        if len > MAX_ENDPOINTS {
            return Err(full("endpoints of one service port", len, MAX_ENDPOINTS));
        }
        if self.backends.left() < new {
            return Err(full("endpoints", new, self.backends.left()));
        }
        if len == 0 {
            return Ok(None);
        }
        let slots = self.slots(port.primary.family());
        slots.take(len).map(Some).ok_or_else(|| full("endpoint slots", len, slots.left()))
    }

    /// A live backend id; its state goes out first.
    fn revive(&mut self, writes: &mut Vec<Write>) -> Option<u32> {
        let id = self.backends.take()?;
        let at = id as usize;
        if self.states.len() <= at {
            self.states.resize(at + 1, BackendState::default());
        }
        self.states[at] = self.states[at].revived();
        writes.push(Write::Backend { id, state: self.states[at] });
        Some(id)
    }

    fn retire(&mut self, id: u32, writes: &mut Vec<Write>) {
        let state = &mut self.states[id as usize];
        *state = state.retired();
        writes.push(Write::Backend { id, state: *state });
        self.freed.push(Freed::Backend(id));
    }

    /// Fills a fresh range with the layout, keeping the ids of endpoints that stay.
    fn fill(
        &mut self,
        index: u32,
        range: Option<Range>,
        layout: &Layout,
        kept: &HashMap<SocketAddr, u32>,
        writes: &mut Vec<Write>,
    ) -> Endpoints<u32> {
        let mut slots = Vec::with_capacity(layout.order.len());
        for endpoint in &layout.order {
            let id = kept.get(endpoint).copied().or_else(|| self.revive(writes));
            // `take_range` counted the ids before anything was written.
            slots.extend(id.map(|id| (*endpoint, id)));
        }
        let base = range.map_or(0, |r| r.base);
        writes.extend(slots.iter().zip(base..).map(|((endpoint, backend), at)| Write::Slot {
            at,
            endpoint: *endpoint,
            index,
            backend: *backend,
        }));
        slots.into_iter().collect()
    }

    fn add(&mut self, port: &ServicePort, writes: &mut Vec<Write>) -> Result<(), Full> {
        let layout = layout(&port.sets);
        let wanted = layout.order.len() as u32;
        if self.indices.left() == 0 {
            return Err(Full { service: port.name.clone(), what: "service ports", wanted: 1, left: 0 });
        }
        let range = self.take_range(port, wanted, wanted)?;
        let Some(index) = self.indices.take() else { return Ok(()) };
        let row = self.write_row(port, &layout, writes);
        let slots = self.fill(index, range, &layout, &HashMap::new(), writes);
        let base = range.map_or(0, |r| r.base);
        let live = Live {
            index,
            kind: port.kind,
            aliases: port.aliases.iter().copied().collect(),
            sources: port.source_ranges.clone(),
            flags: flags(port),
            affinity: port.affinity.unwrap_or(0),
            range,
            slots,
            cluster: Sel::new(base + layout.cluster.0, layout.cluster.1, 0),
            local: Sel::new(base + layout.local.0, layout.local.1, 0),
            lut: row.as_ref().map_or(Sel::default(), |row| row.lut(0)),
            row: row.map(|row| row.range()),
            leftover: Leftover::default(),
        };
        let meta = Meta {
            sel_cluster: live.cluster,
            sel_local: live.local,
            lut: live.lut,
            flags: live.flags,
            affinity_seconds: live.affinity,
            ..Meta::default()
        };
        writes.extend(live.sources.iter().map(|range| Write::AddSource { index, range: *range }));
        writes.push(Write::Meta { index, meta });
        self.point(port.primary, index, port.kind, writes);
        for (key, kind) in &port.aliases {
            self.point(*key, index, *kind, writes);
        }
        self.services.insert(port.primary, Box::new(live));
        Ok(())
    }

    fn clear(&mut self, family: Family, leftover: Leftover, writes: &mut Vec<Write>) {
        for id in leftover.backends {
            self.retire(id, writes);
        }
        self.freed.extend(leftover.ranges.into_iter().map(|range| Freed::Slots(family, range)));
    }

    fn remove(&mut self, primary: &FrontKey, live: Live, writes: &mut Vec<Write>) {
        self.unpoint(*primary, live.index, writes);
        for key in live.aliases.keys() {
            self.unpoint(*key, live.index, writes);
        }
        let index = live.index;
        writes.extend(live.sources.iter().map(|range| Write::RemoveSource { index, range: *range }));
        for (_, id) in live.slots.iter() {
            self.retire(id, writes);
        }
        if let Some(range) = live.range {
            self.freed.push(Freed::Slots(primary.family(), range));
        }
        self.free_row(live.row);
        self.rowless.remove(primary);
        self.clear(primary.family(), live.leftover, writes);
        self.freed.push(Freed::Index(live.index));
    }

    /// Everything freed since the last call starts to wait; `None` if that is nothing.
    pub fn seal(&mut self) -> Option<Grace> {
        if self.freed.is_empty() {
            return None;
        }
        let grace = Grace(self.next_grace);
        self.next_grace += 1;
        self.waiting.push_back((grace, std::mem::take(&mut self.freed)));
        Some(grace)
    }

    /// The grace period that began at `grace` is over: what waited since then or longer may be used again.
    pub fn release(&mut self, grace: Grace) {
        while self.waiting.front().is_some_and(|(g, _)| *g <= grace) {
            let Some((_, freed)) = self.waiting.pop_front() else { return };
            for freed in freed {
                match freed {
                    Freed::Slots(family, range) => self.slots(family).give(range),
                    Freed::Row(range) => {
                        self.rows.give(range);
                        self.roomier = true;
                    }
                    Freed::Index(index) => self.indices.give(index),
                    Freed::Backend(id) => self.backends.give(id),
                }
            }
        }
    }
}
