//! The maps that live as pins, and whose they are. Called by the loader and by all that opens a pin.
//!
//! Only maps that a part's programs use are pinned when that part is loaded: what Services leave behind can be told from
//! what the node's pods go on with.

use std::path::Path;

use aya::maps::MapInfo;

use super::MapError;
use crate::load::Part;

/// A map that lives as a pin: name, key size, value size, whose programs use it, and which layout was the first with this
/// shape and meaning.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    key: u32,
    value: u32,
    services: bool,
    pods: bool,
    pub(crate) since: u32,
}

const fn services(name: &'static str, key: u32, value: u32) -> Shape {
    Shape { name, key, value, services: true, pods: false, since: 1 }
}

const fn pods(name: &'static str, key: u32, value: u32) -> Shape {
    Shape { name, key, value, services: false, pods: true, since: 1 }
}

const fn both(name: &'static str, key: u32, value: u32) -> Shape {
    Shape { name, key, value, services: true, pods: true, since: 1 }
}

impl Shape {
    /// This, by a layout later than the first.
    const fn since(self, since: u32) -> Self {
        Self { since, ..self }
    }

    /// Key and value size.
    pub(crate) const fn sizes(&self) -> (u32, u32) {
        (self.key, self.value)
    }

    /// How a map is of another shape, if it is.
    pub(crate) fn mismatch(&self, info: &MapInfo) -> Option<MapError> {
        let all = [("key size", info.key_size(), self.key), ("value size", info.value_size(), self.value)];
        let (what, found, wanted) = all.into_iter().find(|(_, found, wanted)| found != wanted)?;
        Some(MapError::Shape { map: self.name, what, found: found.into(), wanted: wanted.into() })
    }

    /// Whether a part's programs use it.
    pub(crate) const fn is_of(&self, part: Part) -> bool {
        match part {
            Part::Services => self.services,
            Part::Policy | Part::Pods => self.pods,
        }
    }

    /// Whether it is kept with sockets, by the kernel: it has no size of its own.
    pub(crate) fn is_of_sockets(&self) -> bool {
        self.name == "REV4" || self.name == "REV6"
    }

    /// Whether how many keys there are says how full it is: not of arrays, nor of what is kept with sockets.
    pub(crate) fn is_keyed(&self) -> bool {
        let arrays = [
            "FE4", "META", "SLOT4", "SLOT6", "LUT", "BE_STATE", "SERVED", "STATE", "RANGES", "STAT",
            "PACKETS", "TUNNEL",
        ];
        let others = ["REV4", "REV6", "PEERS4", "PEERS6", "POLICY_STATE", "POLICY_COUNTS"];
        let events = ["EVENTS", "WATCH", "WATCH_GATE", "EVENT_COUNTS"];
        ![&arrays[..], &others, &events].iter().any(|names| names.contains(&self.name))
    }
}

/// Every pinned map. Session affinity and socket storage are pinned too: sockets and clients outlive an agent.
pub(crate) const PINNED: &[Shape] = &[
    services("FE4", 4, 64).since(2),
    services("FE6", 24, 8),
    services("META", 4, 64),
    services("SLOT4", 4, 16),
    services("SLOT6", 4, 32),
    services("LUT", 4, 8),
    services("BE_STATE", 4, 8),
    services("SERVED", 4, 8),
    services("STATE", 4, 32),
    services("RANGES", 4, 320),
    services("NODE_IPS4", 4, 4),
    services("NODE_IPS6", 16, 4),
    services("STAT", 4, 8),
    services("AFF", 16, 40),
    services("OVERFLOW", 32, 24),
    services("REV4", 4, 104),
    services("REV6", 4, 200),
    services("PEERS4", 4, 24),
    services("PEERS6", 4, 48),
    both("FLOWS", 40, 104),
    both("FLOWS_NEW", 40, 104),
    both("FRAGMENTS", 40, 4),
    services("AFF_CLIENTS", 24, 40),
    both("TUNNEL", 4, 28),
    services("NODES", 16, 4),
    services("ENDPOINT_NODES", 16, 16),
    services("SRC_LPM", 24, 4),
    services("VIPS", 16, 4),
    both("DEVICES", 4, 32),
    services("WIRES", 4, 8),
    both("PACKETS", 4, 8),
    both("LOCAL_PODS", 16, 16),
    services("PACKET_PODS", 8, 4).since(2),
    services("NETNS_IPS", 8, 32),
    both("POLICY_PODS", 4, 8),
    pods("POLICY_CLASSES", 24, 4),
    pods("POLICY_RULES", 16, 4),
    pods("POLICY_FLOWS", 44, 24),
    pods("POLICY_STATE", 4, 8),
    pods("POLICY_COUNTS", 4, 8),
    both("EVENTS", 0, 0),
    both("WATCH", 4, 32),
    both("WATCH_GATE", 4, 16),
    both("EVENT_COUNTS", 4, 8),
];

/// A map that nobody but the programs of the node's pods uses: where it is pinned, this node's agent has policies or ways
/// for its pods in the kernel.
pub(crate) const OF_PODS: &str = "POLICY_STATE";

/// Opens the pin of a map; `None` if there is none.
pub(crate) fn inspect(dir: &Path, shape: &Shape) -> Result<Option<MapInfo>, MapError> {
    let path = dir.join(shape.name);
    if !path.exists() {
        return Ok(None);
    }
    let fail = |source| MapError::Pin { map: shape.name, path: path.display().to_string(), source };
    let info = MapInfo::from_pin(&path).map_err(fail)?;
    shape.mismatch(&info).map_or(Ok(Some(info)), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_stands_there_once() {
        let mut names: Vec<_> = PINNED.iter().map(|shape| shape.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
