//! The kernel's maps, opened by their pins: written by [`MapWriter`], read back as a [`Snapshot`].
#![expect(unsafe_code, reason = "plain-old-data structs as words")]

use std::collections::{BTreeSet, HashMap};
use std::mem::transmute;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap as BpfHash, Map, MapData, PerCpuArray};
use xebec_abi::backend::BackendState;
use xebec_abi::flow::NO_SERVICE;
use xebec_abi::service::{FeValue, META_V6, Meta, Sel, Slot4, Slot6};
use xebec_abi::state::{STATS, VIP_HELD, VIP_SERVED};
use xebec_abi::{Be16, Be32, Ip6};

use super::frontends::{self, Frontends};
use super::served::Served;
use super::shapes::{PINNED, inspect};
use super::tracked::Tracked;
use super::{Capacity, Key6, MapError, MapWriter, Mapping, Snapshot, Stored, StoredSlot, Write};
use super::{
    endpoint4, endpoint6, from_key4, from_key6, from_source_key, from_wide, key4, key6, source_key, tag, wide,
};
use crate::model::{FrontKey, SourceRange};

/// Opens the pin of a map, after its shape was checked; with the most entries it can have.
pub(crate) fn open(dir: &Path, name: &'static str) -> Result<(MapData, u32), MapError> {
    let path = dir.join(name);
    let fail = |source| MapError::Pin { map: name, path: path.display().to_string(), source };
    if let Some(shape) = PINNED.iter().find(|shape| shape.name == name) {
        inspect(dir, shape)?;
    }
    let data = MapData::from_pin(&path).map_err(fail)?;
    let len = data.info().map_err(element(name, "inspect"))?.max_entries();
    Ok((data, len))
}

/// The open maps.
pub struct PinnedMaps {
    frontends4: Frontends<Mapping>,
    frontends6: BpfHash<MapData, Key6, u64>,
    pub(super) node_ips4: BpfHash<MapData, u32, u32>,
    pub(super) node_ips6: BpfHash<MapData, [u32; 4], u32>,
    stat: PerCpuArray<MapData, u64>,
    pub(super) sources: LpmTrie<MapData, [u8; 20], u32>,
    vips: BpfHash<MapData, [u32; 4], u32>,
    pub(super) packet_pods: BpfHash<MapData, u64, u32>,
    pub(super) namespaces: BpfHash<MapData, u64, [u32; 8]>,
    tracked: Tracked,
    meta: Mapping,
    slots4: Mapping,
    slots6: Mapping,
    rows: Mapping,
    backends: Mapping,
    pub(super) state: Mapping,
    pub(super) ranges: Mapping,
    served: Served,
    capacity: Capacity,
}

impl std::fmt::Debug for PinnedMaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinnedMaps").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

pub(crate) fn element(
    map: &'static str,
    action: &'static str,
) -> impl FnOnce(aya::maps::MapError) -> MapError {
    move |source| MapError::Element { map, action, source }
}

impl PinnedMaps {
    /// Opens the maps pinned in `dir` (the versioned one).
    ///
    /// # Errors
    /// [`MapError::Pin`] if one is missing, [`MapError::Shape`] if one is of another layout.
    pub fn open(dir: &Path) -> Result<Self, MapError> {
        let data = |name: &'static str| open(dir, name);
        let mapping = |name: &'static str, words: u32| {
            let (data, len) = data(name)?;
            Mapping::new(name, &data, len, words)
        };
        let hash = |name: &'static str| Ok::<_, MapError>(Map::HashMap(data(name)?.0));
        let (meta, slots4, slots6) = (mapping("META", 8)?, mapping("SLOT4", 2)?, mapping("SLOT6", 4)?);
        let (backends, rows) = (mapping("BE_STATE", 1)?, mapping("LUT", 1)?);
        let state = mapping("STATE", 4)?;
        let frontends4 = Frontends::new(mapping("FE4", frontends::WORDS)?, (state.load(0, 0)? >> 32) as u32);
        let capacity = Capacity {
            frontends: frontends4.capacity(),
            services: meta.len(),
            slots4: slots4.len(),
            slots6: slots6.len(),
            backends: backends.len(),
            rows: rows.len(),
        };
        Ok(Self {
            frontends4,
            frontends6: hash("FE6")?.try_into().map_err(element("FE6", "open"))?,
            node_ips4: hash("NODE_IPS4")?.try_into().map_err(element("NODE_IPS4", "open"))?,
            node_ips6: hash("NODE_IPS6")?.try_into().map_err(element("NODE_IPS6", "open"))?,
            stat: Map::PerCpuArray(data("STAT")?.0).try_into().map_err(element("STAT", "open"))?,
            sources: Map::LpmTrie(data("SRC_LPM")?.0).try_into().map_err(element("SRC_LPM", "open"))?,
            vips: hash("VIPS")?.try_into().map_err(element("VIPS", "open"))?,
            packet_pods: hash("PACKET_PODS")?.try_into().map_err(element("PACKET_PODS", "open"))?,
            namespaces: hash("NETNS_IPS")?.try_into().map_err(element("NETNS_IPS", "open"))?,
            served: Served::new(mapping("SERVED", 1)?, capacity.services),
            tracked: Tracked::open(&|name| data(name).map(|(data, _)| data))?,
            meta,
            slots4,
            slots6,
            rows,
            backends,
            state,
            ranges: mapping("RANGES", 40)?,
            capacity,
        })
    }

    /// Connections by service.
    pub const fn served(&self) -> &Served {
        &self.served
    }

    /// What the packet programs keep.
    pub fn tracked(&mut self) -> &mut Tracked {
        &mut self.tracked
    }

    /// The size the maps were created with.
    pub const fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// The programs' counters, summed over CPUs, in the order of [`xebec_abi::state::Stat`]; a map of an older agent
    /// lacks the last ones, which are then zero.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Vec<u64>, MapError> {
        let read = |i| match self.stat.get(&i, 0) {
            Err(aya::maps::MapError::OutOfBounds { .. }) => Ok(0),
            value => value.map(|v| v.iter().sum()).map_err(element("STAT", "read")),
        };
        (0..STATS).map(read).collect()
    }

    /// The index and kind behind a frontend.
    ///
    /// # Errors
    /// The kernel's.
    pub fn frontend(&self, key: &FrontKey) -> Result<Option<FeValue>, MapError> {
        let found = match (key4(key), key6(key)) {
            (Some(key), _) => self.frontends4.get(&key)?,
            (None, Some(key)) => match self.frontends6.get(&Key6(key), 0) {
                Ok(value) => Some(value),
                Err(aya::maps::MapError::KeyNotFound) => None,
                Err(source) => return Err(element("FE6", "read")(source)),
            },
            (None, None) => None,
        };
        Ok(found.map(FeValue).filter(|v| v.tag() == tag(key)))
    }

    /// A META entry with the slots its selections cover.
    ///
    /// # Errors
    /// The index or a selection lies outside the maps.
    pub fn stored(&self, index: u32) -> Result<Stored, MapError> {
        // SAFETY: `Meta` is 64 bytes of integers, every bit pattern of which is a value.
        let meta: Meta = unsafe { transmute::<[u64; 8], Meta>(self.meta.value(index)?) };
        Stored::gather(meta, |at| self.slot(meta.flags & META_V6 != 0, at))
    }

    fn slot(&self, v6: bool, at: u32) -> Result<StoredSlot, MapError> {
        if v6 {
            // SAFETY: as for `Meta`, 32 bytes.
            let slot: Slot6 = unsafe { transmute::<[u64; 4], Slot6>(self.slots6.value(at)?) };
            Ok((endpoint6(&slot), slot.index, slot.backend))
        } else {
            // SAFETY: as for `Meta`, 16 bytes.
            let slot: Slot4 = unsafe { transmute::<[u64; 2], Slot4>(self.slots4.value(at)?) };
            Ok((endpoint4(&slot), slot.index, slot.backend))
        }
    }

    /// A backend's state.
    ///
    /// # Errors
    /// The id lies outside the map.
    pub fn backend(&self, id: u32) -> Result<BackendState, MapError> {
        self.backends.load(id, 0).map(BackendState)
    }

    /// Everything a new agent must know.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, MapError> {
        let mut frontends = Vec::new();
        for (key, value) in self.frontends4.entries()? {
            frontends.extend(from_key4(&key).map(|key| (key, FeValue(value))));
        }
        for entry in self.frontends6.iter() {
            let (key, value) = entry.map_err(element("FE6", "read"))?;
            frontends.extend(from_key6(&key.0).map(|key| (key, FeValue(value))));
        }
        let mut services = HashMap::new();
        for (_, value) in &frontends {
            if value.index() < self.meta.len() && !services.contains_key(&value.index()) {
                services.insert(value.index(), self.stored(value.index())?);
            }
        }
        // Once, to the end; what follows looks only at those that are in use.
        let states = self.backends.again()?;
        let mut backends = Vec::new();
        for id in 0..states.len() {
            match states.load(id, 0)? {
                0 => {}
                state => {
                    backends.resize(id as usize, BackendState::default());
                    backends.push(BackendState(state));
                }
            }
        }
        drop(states);
        backends.shrink_to_fit();
        let mut sources: HashMap<u32, BTreeSet<SourceRange>> = HashMap::new();
        for key in self.sources.keys() {
            let key = key.map_err(element("SRC_LPM", "read"))?;
            let source = from_source_key(key.prefix_len(), &key.data());
            if let Some((index, range)) = source.filter(|(index, _)| *index != NO_SERVICE) {
                sources.entry(index).or_default().insert(range);
            }
        }
        let (mut vips, mut held) = (BTreeSet::new(), BTreeSet::new());
        for entry in self.vips.iter() {
            let (words, value) = entry.map_err(element("VIPS", "read"))?;
            (if value == VIP_HELD { &mut held } else { &mut vips }).insert(from_wide(&Ip6(words)));
        }
        Ok(Snapshot {
            frontends,
            services,
            sources,
            vips,
            held,
            backends,
            node_ports: self.state.load(0, 1)?,
            epoch: self.state.load(0, 2)?,
        })
    }
}

/// What a removal came to: that there was nothing is no error.
pub(crate) fn absent_is_fine(
    map: &'static str,
    result: Result<(), aya::maps::MapError>,
) -> Result<(), MapError> {
    match result {
        Ok(()) | Err(aya::maps::MapError::KeyNotFound) => Ok(()),
        Err(aya::maps::MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => {
            Ok(())
        }
        Err(source) => Err(MapError::Element { map, action: "remove", source }),
    }
}

impl MapWriter for PinnedMaps {
    fn write(&mut self, write: &Write) -> Result<(), MapError> {
        match *write {
            Write::Slot { at, endpoint, index, backend } => {
                let port = Be16::new(endpoint.port());
                match endpoint.ip() {
                    IpAddr::V4(addr) => {
                        let slot = Slot4 { addr: Be32::new(addr.to_bits()), port, flags: 0, index, backend };
                        // SAFETY: 16 bytes of integers without padding.
                        self.slots4.fill(at, &unsafe { transmute::<Slot4, [u64; 2]>(slot) })
                    }
                    IpAddr::V6(addr) => {
                        let addr = Ip6::from_octets(addr.octets());
                        let slot = Slot6 { addr, port, flags: 0, index, backend, pad: 0 };
                        // SAFETY: 32 bytes of integers without padding.
                        self.slots6.fill(at, &unsafe { transmute::<Slot6, [u64; 4]>(slot) })
                    }
                }
            }
            Write::Row { at, ref elements } => {
                (at..).zip(elements).try_for_each(|(at, element)| self.rows.publish(at, 0, *element))
            }
            Write::Lut { index, lut: Sel(word) } => self.meta.publish(index, 2, word),
            Write::Meta { index, meta } => {
                self.served.reset(index)?;
                // SAFETY: 64 bytes of integers without padding.
                self.meta.fill(index, &unsafe { transmute::<Meta, [u64; 8]>(meta) })
            }
            Write::Select { index, local, sel: Sel(word) } => {
                self.meta.publish(index, u32::from(local), word)
            }
            Write::Flags { index, flags, affinity_seconds } => {
                self.meta.publish(index, 4, u64::from(flags) | u64::from(affinity_seconds) << 32)
            }
            Write::AddSource { index, range } => {
                let (prefix, data) = source_key(index, &range);
                self.sources.insert(&Key::new(prefix, data), 1, 0).map_err(element("SRC_LPM", "insert"))
            }
            Write::RemoveSource { index, range } => {
                let (prefix, data) = source_key(index, &range);
                absent_is_fine("SRC_LPM", self.sources.remove(&Key::new(prefix, data)))
            }
            Write::AddVip { addr } => {
                self.vips.insert(wide(&addr).0, VIP_SERVED, 0).map_err(element("VIPS", "insert"))
            }
            Write::HoldVip { addr } => {
                self.vips.insert(wide(&addr).0, VIP_HELD, 0).map_err(element("VIPS", "insert"))
            }
            Write::RemoveVip { addr } => absent_is_fine("VIPS", self.vips.remove(&wide(&addr).0)),
            Write::Backend { id, state } => self.backends.publish(id, 0, state.0),
            Write::NodePorts { range } => self.state.publish(0, 1, range),
            Write::Synced => {
                let epoch = self.state.load(0, 2)?;
                let salt = self.state.load(0, 0)? >> 32 << 32;
                self.state.publish(0, 0, salt | u64::from(xebec_abi::LAYOUT_VERSION))?;
                self.state.publish(0, 2, epoch + 1)
            }
            Write::Frontend { key, value } => match (key4(&key), key6(&key)) {
                (Some(key), _) => self.frontends4.insert(&key, value.0),
                (None, Some(key)) => {
                    self.frontends6.insert(Key6(key), value.0, 0).map_err(element("FE6", "insert"))
                }
                (None, None) => Ok(()),
            },
            Write::RemoveFrontend { key } => match (key4(&key), key6(&key)) {
                (Some(key), _) => self.frontends4.remove(&key),
                (None, Some(key)) => absent_is_fine("FE6", self.frontends6.remove(&Key6(key))),
                (None, None) => Ok(()),
            },
        }
    }
}
