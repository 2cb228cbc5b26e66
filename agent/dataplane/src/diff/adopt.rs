//! From what an earlier agent left in the maps to [`Installed`]. PURE. Nothing that works is touched: a service stays
//! as it is until the API says otherwise. What cannot belong to any service (an alias without its primary, a live
//! backend id nobody uses: an agent killed between two writes) is returned as writes to carry out at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::frontends::vip;
use super::{Freed, Ids, Installed, Leftover, Live, Range, Ranges, rows};
use crate::endpoints::Endpoints;
use crate::maps::{Capacity, Snapshot, Stored, StoredSlot, Write};
use crate::model::{Family, FrontKey, Kind};

impl Installed {
    /// The state behind a snapshot, and the writes that clear what belongs to nobody.
    pub fn adopt(capacity: Capacity, snapshot: &Snapshot) -> (Self, Vec<Write>) {
        let mut installed = Self::new(capacity);
        let mut used = Used { elements: capacity.rows, ..Used::default() };
        let mut repairs = Vec::new();
        let mut groups: HashMap<u32, Vec<(FrontKey, Kind)>> = HashMap::new();
        for (key, value) in &snapshot.frontends {
            match Kind::from_number(value.kind()) {
                Some(kind) if value.index() < capacity.services => {
                    groups.entry(value.index()).or_default().push((*key, kind));
                }
                _ => repairs.push(Write::RemoveFrontend { key: *key }),
            }
        }
        for (index, keys) in groups {
            used.indices.insert(index);
            let stored = snapshot.services.get(&index);
            match (keys.iter().find(|(_, kind)| kind.is_primary()), stored) {
                (Some((primary, kind)), Some(stored)) => {
                    let live = used.live(index, *kind, primary, &keys, stored, snapshot);
                    installed.frontends.extend(keys.iter().map(|(key, _)| (*key, index)));
                    installed.services.insert(*primary, Box::new(live));
                }
                _ => {
                    repairs.extend(keys.iter().map(|(key, _)| Write::RemoveFrontend { key: *key }));
                    installed.freed.push(Freed::Index(index));
                }
            }
        }
        let living: BTreeSet<u32> = installed.services.values().map(|live| live.index).collect();
        let orphans = snapshot.sources.iter().filter(|(index, _)| !living.contains(index));
        repairs.extend(orphans.flat_map(|(index, ranges)| {
            ranges.iter().map(|range| Write::RemoveSource { index: *index, range: *range })
        }));
        let addresses: Vec<_> = installed.frontends.keys().filter_map(vip).collect();
        for addr in addresses {
            if installed.count(addr) && !snapshot.vips.contains(&addr) {
                repairs.push(Write::AddVip { addr });
            }
        }
        // Those of Services of SCTP, or of an agent killed between two writes: the API's next word tells.
        let without = snapshot.vips.iter().filter(|addr| !installed.vips.contains_key(addr));
        installed.claimed = without.copied().collect();
        installed.vips.extend(installed.claimed.iter().map(|addr| (*addr, 1)));
        // What others have stays theirs until the API says otherwise; what ours lost while it was held is theirs again.
        installed.held.clone_from(&snapshot.held);
        installed.states.clone_from(&snapshot.backends);
        for (id, state) in (0_u32..).zip(&mut installed.states) {
            if state.is_live() && !used.backends.contains(&id) {
                *state = state.retired();
                repairs.push(Write::Backend { id, state: *state });
            }
        }
        installed.indices = Ids::adopt(capacity.services, &used.indices);
        installed.backends = Ids::adopt(capacity.backends, &used.backends);
        installed.slots4 = Ranges::adopt(capacity.slots4, &used.slots4);
        installed.slots6 = Ranges::adopt(capacity.slots6, &used.slots6);
        installed.rows = Ranges::adopt(capacity.rows, &used.rows);
        installed.node_ports = snapshot.node_ports;
        installed.host_ports = installed.frontends.keys().filter(|key| key.is_host_port()).count();
        (installed, repairs)
    }
}

#[derive(Default)]
struct Used {
    indices: BTreeSet<u32>,
    backends: BTreeSet<u32>,
    slots4: BTreeSet<Range>,
    slots6: BTreeSet<Range>,
    rows: BTreeSet<Range>,
    /// Of LUT.
    elements: u32,
}

impl Used {
    fn live(
        &mut self,
        index: u32,
        kind: Kind,
        primary: &FrontKey,
        keys: &[(FrontKey, Kind)],
        stored: &Stored,
        snapshot: &Snapshot,
    ) -> Live {
        let sound = |(endpoint, owner, id): &StoredSlot| {
            let live = snapshot.backends.get(*id as usize).is_some_and(|s| s.is_live());
            *owner == index && live && Family::of(&endpoint.ip()) == primary.family()
        };
        let whole = stored.stale.is_none() && stored.slots.iter().all(sound);
        let range = |base, slots: &[StoredSlot]| {
            (!slots.is_empty()).then_some(Range { base, len: slots.len() as u32 })
        };
        let main = range(stored.base, &stored.slots);
        let stale = stored.stale.as_ref().and_then(|(base, slots)| range(*base, slots));
        let ranges = match primary.family() {
            Family::V4 => &mut self.slots4,
            Family::V6 => &mut self.slots6,
        };
        ranges.extend(main.iter().chain(&stale));
        let ids = |slots: &[StoredSlot]| -> BTreeSet<u32> {
            slots.iter().filter(|(_, owner, _)| *owner == index).map(|(_, _, id)| *id).collect()
        };
        let (mut slots, mut leftover) = (Endpoints::default(), Leftover::default());
        if whole {
            slots = stored.slots.iter().map(|(endpoint, _, id)| (*endpoint, *id)).collect();
            self.backends.extend(ids(&stored.slots));
        } else {
            // The programs may read a damaged range until it is replaced: it keeps its place and its ids, but none of
            // its slots is taken for an endpoint, so the next reconcile writes all of them anew.
            let mut damaged = ids(&stored.slots);
            damaged.extend(stored.stale.iter().flat_map(|(_, slots)| ids(slots)));
            self.backends.extend(&damaged);
            leftover =
                Leftover { ranges: stale.into_iter().collect(), backends: damaged.into_iter().collect() };
        }
        // A row of an earlier selection, too: it is in its place until the next reconcile names another or none.
        let fits = |row: &Range| row.base.checked_add(row.len).is_some_and(|end| end <= self.elements);
        let row = rows::range(stored.meta.lut).filter(fits);
        self.rows.extend(row);
        let aliases: BTreeMap<FrontKey, Kind> = keys.iter().filter(|(k, _)| k != primary).copied().collect();
        Live {
            index,
            kind,
            aliases,
            sources: snapshot.sources.get(&index).cloned().unwrap_or_default(),
            flags: stored.meta.flags,
            affinity: stored.meta.affinity_seconds,
            range: main,
            slots,
            cluster: stored.meta.sel_cluster,
            local: stored.meta.sel_local,
            lut: stored.meta.lut,
            row,
            leftover,
        }
    }
}
