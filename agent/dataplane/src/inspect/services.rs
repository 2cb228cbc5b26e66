//! The table of service ports as the kernel's maps hold it.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use xebec_abi::service::{
    META_AFFINITY, META_DIRECT, META_EXTERNAL_LOCAL, META_INTERNAL_LOCAL, META_SOURCE_RANGES, Sel,
};

use crate::explain::Endpoint;
use crate::maps::pinned::PinnedMaps;
use crate::maps::{MapError, Stored};
use crate::metrics::Running;
use crate::model::{FrontKey, Kind};
use crate::upgrade::own_maps;

/// One service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Its index.
    pub index: u32,
    /// `namespace/name:port`, if a running proxy was there to say.
    pub name: Option<String>,
    /// Its frontends with their kinds, the one that gives it its identity first.
    pub frontends: Vec<(String, String)>,
    /// What holds for it.
    pub flags: Vec<String>,
    /// Endpoints for everybody.
    pub cluster: Vec<Endpoint>,
    /// Endpoints on this node.
    pub local: Vec<Endpoint>,
    /// Connections and datagram flows it gave an endpoint.
    pub connections: u64,
}

/// The endpoints a selection covers.
pub(crate) fn endpoints(
    maps: &PinnedMaps,
    index: u32,
    stored: &Stored,
    sel: Sel,
) -> Result<Vec<Endpoint>, MapError> {
    let first = sel.base().wrapping_sub(stored.base) as usize;
    let slots = stored.slots.iter().skip(first).take(sel.count() as usize);
    slots
        .map(|(address, owner, backend)| {
            let usable = *owner == index && maps.backend(*backend)?.is_live();
            Ok(Endpoint { address: *address, backend: *backend, usable })
        })
        .collect()
}

/// How many entries the Maglev row of a service port's endpoints for everybody has; `None` if each node chooses at random.
pub(crate) fn row(stored: &Stored) -> Option<u32> {
    let (lut, sel) = (stored.meta.lut, stored.meta.sel_cluster);
    (lut.count() > 0 && lut.generation() == sel.generation()).then_some(lut.count())
}

/// Every service port, in the order of its primary frontend.
///
/// # Errors
/// [`MapError::Pin`] if no dataplane is installed under the pin directory.
pub fn services(pin_dir: &Path, running: Option<&Running>) -> Result<Vec<ServiceRow>, MapError> {
    let maps = PinnedMaps::open(&own_maps(pin_dir)?)?;
    let snapshot = maps.snapshot()?;
    let names: HashMap<u32, &str> = running
        .iter()
        .flat_map(|running| &running.services)
        .map(|named| (named.index, named.name.as_str()))
        .collect();
    let mut groups: HashMap<u32, Vec<(FrontKey, Kind)>> = HashMap::new();
    for (key, value) in &snapshot.frontends {
        if let Some(kind) = Kind::from_number(value.kind()).filter(|kind| *kind != Kind::Probe) {
            groups.entry(value.index()).or_default().push((*key, kind));
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    for (_, keys) in &mut groups {
        keys.sort_unstable_by_key(|(key, kind)| (!kind.is_primary(), *key));
    }
    groups.sort_unstable_by_key(|(_, keys)| keys.first().map(|(key, _)| *key));
    groups
        .into_iter()
        .map(|(index, keys)| {
            let none = Stored::default();
            let stored = snapshot.services.get(&index).unwrap_or(&none);
            let ranges = snapshot.sources.get(&index).map_or(0, |ranges| ranges.len());
            Ok(ServiceRow {
                index,
                name: names.get(&index).map(|name| (*name).to_owned()),
                frontends: keys.iter().map(|(key, kind)| (key.to_string(), kind.to_string())).collect(),
                flags: flags(stored, ranges),
                cluster: endpoints(&maps, index, stored, stored.meta.sel_cluster)?,
                local: endpoints(&maps, index, stored, stored.meta.sel_local)?,
                connections: maps.served().total(index)?,
            })
        })
        .collect()
}

fn flags(stored: &Stored, ranges: usize) -> Vec<String> {
    let affinity = format!("sessionAffinity ClientIP {} s", stored.meta.affinity_seconds);
    let known = [
        (META_INTERNAL_LOCAL, "internalTrafficPolicy Local".to_owned()),
        (META_EXTERNAL_LOCAL, "externalTrafficPolicy Local".to_owned()),
        (META_AFFINITY, affinity),
        (META_DIRECT, "direct server return".to_owned()),
        (META_SOURCE_RANGES, format!("loadBalancerSourceRanges {ranges}")),
    ];
    let set = known.into_iter().filter(|(bit, _)| stored.meta.flags & bit != 0).map(|(_, text)| text);
    set.chain(row(stored).map(|entries| format!("maglev row of {entries}"))).collect()
}

impl fmt::Display for ServiceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("(name unknown: no proxy reached)");
        write!(f, "{name}  index {}, {} connections", self.index, self.connections)?;
        for flag in &self.flags {
            write!(f, ", {flag}")?;
        }
        for (frontend, kind) in &self.frontends {
            write!(f, "\n  {frontend:<32} {kind}")?;
        }
        if self.cluster.is_empty() {
            write!(f, "\n    no endpoints: refused")?;
        }
        for endpoint in &self.cluster {
            let here = if self.local.iter().any(|l| l.address == endpoint.address) { ", here" } else { "" };
            let state = if endpoint.usable { "" } else { ", stale" };
            write!(f, "\n    -> {} backend {}{here}{state}", endpoint.address, endpoint.backend)?;
        }
        for endpoint in self.local.iter().filter(|l| !self.cluster.iter().any(|c| c.address == l.address)) {
            write!(
                f,
                "\n    -> {} backend {}, here, for Local policies only",
                endpoint.address, endpoint.backend
            )?;
        }
        Ok(())
    }
}
