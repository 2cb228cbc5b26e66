//! From one state of a service port to the next, safe after every write. PURE.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use xebec_abi::service::Sel;

use super::flags::flags;
use super::layout::{Layout, layout};
use super::{Freed, Full, Installed, Live};
use crate::maps::Write;
use crate::model::{FrontKey, Kind, ServicePort};

impl Installed {
    pub(super) fn change(
        &mut self,
        port: &ServicePort,
        live: &mut Live,
        writes: &mut Vec<Write>,
    ) -> Result<(), Full> {
        let layout = layout(&port.sets);
        let same_slots = layout.order.iter().copied().eq(live.slots.iter().map(|(a, _)| a));
        let same_parts = {
            let base = live.range.map_or(0, |r| r.base);
            let part =
                |sel: Sel| (if sel.count() == 0 { 0 } else { sel.base().wrapping_sub(base) }, sel.count());
            let wanted = |(first, count): (u32, u32)| (if count == 0 { 0 } else { first }, count);
            part(live.cluster) == wanted(layout.cluster) && part(live.local) == wanted(layout.local)
        };
        if !(same_slots && same_parts) {
            self.swap(port, live, &layout, writes)?;
        } else {
            self.settle_row(port, live, &layout, writes);
        }
        let index = live.index;
        let new = port.source_ranges.difference(&live.sources);
        writes.extend(new.map(|range| Write::AddSource { index, range: *range }));
        if (live.flags, live.affinity) != (flags(port), port.affinity.unwrap_or(0)) {
            (live.flags, live.affinity) = (flags(port), port.affinity.unwrap_or(0));
            writes.push(Write::Flags {
                index: live.index,
                flags: live.flags,
                affinity_seconds: live.affinity,
            });
        }
        // Only when the flags no longer ask for them, or others are in their place: never is nobody let in.
        let old = live.sources.difference(&port.source_ranges);
        writes.extend(old.map(|range| Write::RemoveSource { index, range: *range }));
        live.sources.clone_from(&port.source_ranges);
        let aliases: BTreeMap<FrontKey, Kind> = port.aliases.iter().copied().collect();
        if self.frontends.get(&port.primary) != Some(&live.index) || live.kind != port.kind {
            live.kind = port.kind;
            self.point(port.primary, live.index, port.kind, writes);
        }
        for (key, kind) in &aliases {
            if live.aliases.get(key) != Some(kind) || self.frontends.get(key) != Some(&live.index) {
                self.point(*key, live.index, *kind, writes);
            }
        }
        for key in live.aliases.keys().filter(|k| !aliases.contains_key(k)) {
            self.unpoint(*key, live.index, writes);
        }
        live.aliases = aliases;
        Ok(())
    }

    /// Other endpoints: a fresh range and row, one store per selection and one for the row, then the old range, the old row
    /// and the removed ids wait.
    fn swap(
        &mut self,
        port: &ServicePort,
        live: &mut Live,
        layout: &Layout,
        writes: &mut Vec<Write>,
    ) -> Result<(), Full> {
        let kept: HashMap<SocketAddr, u32> = live.slots.iter().collect();
        let wanted = layout.order.len() as u32;
        let new = layout.order.iter().filter(|a| !kept.contains_key(a)).count() as u32;
        let range = self.take_range(port, wanted, new)?;
        let row = self.write_row(port, layout, writes);
        if row.is_none() {
            // Before the selection changes: after as many changes as there are generations it would name another's.
            self.drop_row(live, writes);
        }
        let slots = self.fill(live.index, range, layout, &kept, writes);
        let base = range.map_or(0, |r| r.base);
        let next = live.cluster.generation().wrapping_add(1);
        live.cluster = Sel::new(base + layout.cluster.0, layout.cluster.1, next);
        live.local = Sel::new(base + layout.local.0, layout.local.1, next);
        writes.push(Write::Select { index: live.index, local: false, sel: live.cluster });
        writes.push(Write::Select { index: live.index, local: true, sel: live.local });
        if let Some(row) = &row {
            self.name_row(live, row, writes);
        }
        let stay: HashMap<SocketAddr, u32> = slots.iter().collect();
        for (endpoint, id) in std::mem::replace(&mut live.slots, slots).iter() {
            if stay.get(&endpoint) != Some(&id) {
                self.retire(id, writes);
            }
        }
        if let Some(old) = std::mem::replace(&mut live.range, range) {
            self.freed.push(Freed::Slots(port.primary.family(), old));
        }
        self.clear(port.primary.family(), std::mem::take(&mut live.leftover), writes);
        Ok(())
    }
}
