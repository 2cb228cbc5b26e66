//! The maps in memory, with the programs' own look-up on them: what tests run decisions against.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use xebec_abi::backend::BackendState;
use xebec_abi::service::{FeValue, Meta, Sel, row_place};

use super::{MapError, MapWriter, Snapshot, Stored, Write};
use crate::model::{Family, FrontKey, SourceRange};

/// The maps' content.
#[derive(Clone, Debug, Default)]
pub struct FakeMaps {
    /// Frontends.
    pub frontends: HashMap<FrontKey, FeValue>,
    /// META.
    pub metas: HashMap<u32, Meta>,
    /// Slots by family and place: endpoint, owner, backend id.
    pub slots: HashMap<(Family, u32), (SocketAddr, u32, u32)>,
    /// LUT, up to the last element written.
    pub elements: Vec<u64>,
    /// BE_STATE.
    pub backends: HashMap<u32, BackendState>,
    /// Networks let in, by service index.
    pub sources: HashMap<u32, BTreeSet<SourceRange>>,
    /// The addresses of frontends.
    pub vips: BTreeSet<IpAddr>,
    /// ClusterIPs of Services that are another's business.
    pub held: BTreeSet<IpAddr>,
    /// The packed range of node ports.
    pub node_ports: u64,
    /// Full synchronisations.
    pub epoch: u64,
}

/// What a look-up found wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The value carries another key's tag.
    #[error("{0}: the value's tag is another key's")]
    Tag(FrontKey),
    /// The frontend points to an entry never written.
    #[error("{0}: no META entry {1}")]
    NoMeta(FrontKey, u32),
    /// A selected slot was never written or has another owner.
    #[error("{0}: slot {1} is not owned by it")]
    Owner(FrontKey, u32),
    /// An entry of its row leads out of its selection.
    #[error("{0}: entry {1} of its row is none of its endpoints")]
    Entry(FrontKey, u32),
    /// A selected endpoint's backend is not live.
    #[error("{0}: backend {1} is not live")]
    Backend(FrontKey, u32),
}

impl FakeMaps {
    /// Every endpoint a connect to `key` may be given now; `None` if there is no such frontend.
    ///
    /// # Errors
    /// The maps are inconsistent for this frontend: a program would retry or misroute.
    pub fn reachable(&self, key: &FrontKey, local: bool) -> Result<Option<BTreeSet<SocketAddr>>, Broken> {
        let Some(value) = self.frontends.get(key) else { return Ok(None) };
        if value.tag() != super::tag(key) {
            return Err(Broken::Tag(*key));
        }
        let index = value.index();
        let meta = self.metas.get(&index).ok_or(Broken::NoMeta(*key, index))?;
        let sel = if local { meta.sel_local } else { meta.sel_cluster };
        let mut out = BTreeSet::new();
        for at in slots_of(sel) {
            let slot = self.slots.get(&(key.family(), at)).filter(|(_, owner, _)| *owner == index);
            let (endpoint, _, backend) = slot.ok_or(Broken::Owner(*key, at))?;
            if !self.backends.get(backend).is_some_and(|s| s.is_live()) {
                return Err(Broken::Backend(*key, *backend));
            }
            out.insert(*endpoint);
        }
        Ok(Some(out))
    }

    /// The endpoint of every entry of the row that a packet to `key` may be led by now; empty if there is none.
    ///
    /// # Errors
    /// As [`FakeMaps::reachable`], or the row leads elsewhere than its selection.
    pub fn row(&self, key: &FrontKey) -> Result<Vec<SocketAddr>, Broken> {
        let Some(index) = self.frontends.get(key).map(|value| value.index()) else { return Ok(Vec::new()) };
        let meta = self.metas.get(&index).ok_or(Broken::NoMeta(*key, index))?;
        let (sel, lut) = (meta.sel_cluster, meta.lut);
        if lut.count() == 0 || lut.generation() != sel.generation() {
            return Ok(Vec::new());
        }
        let slot = |at| self.slots.get(&(key.family(), at)).filter(|(_, owner, _)| *owner == index);
        let slots: Option<Vec<SocketAddr>> = slots_of(sel).map(|at| Some(slot(at)?.0)).collect();
        let slots = slots.ok_or(Broken::Owner(*key, sel.base()))?;
        let mut out = Vec::with_capacity(lut.count() as usize);
        for entry in 0..lut.count() {
            let (element, shift) = row_place(entry);
            let element = self.elements.get((lut.base() + element) as usize);
            let endpoint = element.and_then(|element| slots.get(usize::from((element >> shift) as u16)));
            out.push(*endpoint.ok_or(Broken::Entry(*key, entry))?);
        }
        Ok(out)
    }

    /// As an agent that starts now would read it.
    pub fn snapshot(&self) -> Snapshot {
        let mut services = HashMap::new();
        for (key, value) in &self.frontends {
            let meta = self.metas.get(&value.index()).copied().unwrap_or_default();
            let slot = |at| self.slots.get(&(key.family(), at)).copied().ok_or(());
            services.insert(value.index(), Stored::gather(meta, slot).unwrap_or_default());
        }
        let last = self.backends.keys().max().map_or(0, |id| id + 1);
        Snapshot {
            frontends: self.frontends.iter().map(|(k, v)| (*k, *v)).collect(),
            services,
            backends: (0..last).map(|id| self.backends.get(&id).copied().unwrap_or_default()).collect(),
            sources: self.sources.clone(),
            vips: self.vips.clone(),
            held: self.held.clone(),
            node_ports: self.node_ports,
            epoch: self.epoch,
        }
    }
}

/// The slots a selection covers.
pub(crate) fn slots_of(sel: Sel) -> std::ops::Range<u32> {
    sel.base()..sel.base() + sel.count()
}

impl MapWriter for FakeMaps {
    fn write(&mut self, write: &Write) -> Result<(), MapError> {
        match write {
            Write::Slot { at, endpoint, index, backend } => {
                self.slots.insert((Family::of(&endpoint.ip()), *at), (*endpoint, *index, *backend));
            }
            Write::Row { at, elements } => {
                let (at, end) = (*at as usize, *at as usize + elements.len());
                self.elements.resize(end.max(self.elements.len()), 0);
                self.elements[at..end].copy_from_slice(elements);
            }
            Write::Lut { index, lut } => self.metas.entry(*index).or_default().lut = *lut,
            Write::Meta { index, meta } => {
                self.metas.insert(*index, *meta);
            }
            Write::Select { index, local, sel } => {
                let meta = self.metas.entry(*index).or_default();
                if *local { meta.sel_local = *sel } else { meta.sel_cluster = *sel }
            }
            Write::Flags { index, flags, affinity_seconds } => {
                let meta = self.metas.entry(*index).or_default();
                (meta.flags, meta.affinity_seconds) = (*flags, *affinity_seconds);
            }
            Write::AddSource { index, range } => {
                self.sources.entry(*index).or_default().insert(*range);
            }
            Write::RemoveSource { index, range } => {
                if let Some(ranges) = self.sources.get_mut(index) {
                    ranges.remove(range);
                }
            }
            Write::Frontend { key, value } => {
                self.frontends.insert(*key, *value);
            }
            Write::RemoveFrontend { key } => {
                self.frontends.remove(key);
            }
            Write::AddVip { addr } => {
                self.vips.insert(*addr);
                self.held.remove(addr);
            }
            Write::HoldVip { addr } => {
                self.held.insert(*addr);
                self.vips.remove(addr);
            }
            Write::RemoveVip { addr } => {
                self.vips.remove(addr);
                self.held.remove(addr);
            }
            Write::Backend { id, state } => {
                self.backends.insert(*id, *state);
            }
            Write::NodePorts { range } => self.node_ports = *range,
            Write::Synced => self.epoch += 1,
        }
        Ok(())
    }
}
