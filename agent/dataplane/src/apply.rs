//! Decisions to effects: holds what should be ([`Tables`]), what is ([`Installed`]) and the door to the maps, and
//! brings the second to the first, one Service at a time. Called by run; tests drive it with the fake maps.

use std::collections::BTreeSet;

use crate::compile::facts::Owner;
use crate::compile::{Place, Tables, compile};
use crate::diff::{Full, Grace, Installed};
use crate::maps::{Capacity, MapError, MapWriter, Snapshot, Write};
use crate::model::{FrontKey, ServicePort};
use crate::world::World;

/// Brings the maps to what the API says.
#[derive(Debug)]
pub struct Applier<W> {
    tables: Tables,
    installed: Installed,
    maps: W,
    place: Place,
    complete: bool,
    /// Service ports that did not fit or could not be written, tried again with every change.
    behind: BTreeSet<FrontKey>,
}

/// What one application did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Map writes.
    pub writes: usize,
    /// Service ports that did not fit: what they had before stays in force.
    pub full: Vec<Full>,
}

impl<W: MapWriter> Applier<W> {
    /// Takes over what the maps hold. Nothing that works is touched.
    ///
    /// # Errors
    /// A map refused a write.
    pub fn adopt(
        mut maps: W,
        capacity: Capacity,
        snapshot: &Snapshot,
        place: Place,
    ) -> Result<Self, MapError> {
        let (installed, repairs) = Installed::adopt(capacity, snapshot);
        for write in &repairs {
            maps.write(write)?;
        }
        let (tables, behind) = (Tables::default(), BTreeSet::new());
        let mut applier = Self { tables, installed, maps, place, complete: false, behind };
        let probe = ServicePort::probe();
        applier.reconcile(&probe.primary, Some(&probe), &mut Applied::default())?;
        Ok(applier)
    }

    /// Service ports in the maps, the probe's included.
    pub fn len(&self) -> usize {
        self.installed.len()
    }

    /// Whether the maps hold nothing.
    pub fn is_empty(&self) -> bool {
        self.installed.is_empty()
    }

    /// The maps.
    pub fn maps(&mut self) -> &mut W {
        &mut self.maps
    }

    /// Applies the Services that changed. The first call with a complete world also removes what the maps hold and
    /// the API does not; before that nothing is done at all, since half a world looks like deletions.
    ///
    /// # Errors
    /// A map refused a write; the service port is tried again with the next change.
    pub fn apply(&mut self, world: &mut World) -> Result<Applied, MapError> {
        let mut applied = Applied::default();
        if !world.synced() {
            return Ok(applied);
        }
        let mut dirty = std::mem::take(&mut self.behind);
        for owner in world.take_dirty() {
            dirty.extend(self.recompile(&owner, world));
        }
        if !self.complete {
            dirty.extend(self.installed.primaries());
            dirty.extend(self.tables.primaries());
            dirty.remove(&ServicePort::probe().primary);
        }
        let mut failure = None;
        for primary in dirty {
            let desired = self.tables.effective(&primary);
            if let Err(error) = self.reconcile(&primary, desired.as_ref(), &mut applied) {
                self.behind.insert(primary);
                failure.get_or_insert(error);
            }
        }
        match failure {
            Some(error) => Err(error),
            None => {
                if !self.complete {
                    self.maps.write(&Write::Synced)?;
                    self.complete = true;
                }
                Ok(applied)
            }
        }
    }

    fn recompile(&mut self, owner: &Owner, world: &World) -> BTreeSet<FrontKey> {
        match world.get(owner) {
            Some((service, slices)) => {
                let ports = compile(owner, service, &slices, &self.place);
                self.tables.set(owner, service.created, ports)
            }
            None => self.tables.set(owner, 0, Vec::new()),
        }
    }

    fn reconcile(
        &mut self,
        primary: &FrontKey,
        desired: Option<&ServicePort>,
        applied: &mut Applied,
    ) -> Result<(), MapError> {
        match self.installed.reconcile(primary, desired) {
            Ok(writes) => {
                applied.writes += writes.len();
                writes.iter().try_for_each(|write| self.maps.write(write))
            }
            Err(full) => {
                self.behind.insert(*primary);
                applied.full.push(full);
                Ok(())
            }
        }
    }

    /// See [`Installed::seal`].
    pub fn seal(&mut self) -> Option<Grace> {
        self.installed.seal()
    }

    /// See [`Installed::release`].
    pub fn release(&mut self, grace: Grace) {
        self.installed.release(grace);
    }
}
