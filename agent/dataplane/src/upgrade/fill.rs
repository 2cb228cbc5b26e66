//! Maps that changed their shape, from what they were. Enters: a map of an older layout, which nobody writes any more. Leaves:
//! the same content in a map of ours. Called by the loader, after the maps are made and before any program uses them.

use std::path::Path;

use aya::maps::{HashMap as BpfHash, Map, MapData};
use xebec_abi::service::FeKey4;
use xebec_abi::{Be16, Be32};

use crate::maps::frontends::{self, Frontends, WORDS};
use crate::maps::pinned::element;
use crate::maps::{MapError, Mapping};
use crate::upgrade::maps::filling;

/// How a map of ours is made from one of an older shape.
pub(crate) struct Filler {
    /// Key and value size of the older shape.
    pub(crate) from: (u32, u32),
    /// Entries of ours, so that all fits that fitted in so many of theirs.
    pub(crate) entries: fn(u32) -> u32,
    /// Copies. The salt is that of FE4.
    pub(crate) fill: fn(MapData, &MapData, u32) -> Result<usize, MapError>,
}

/// That of a map, if it ever changed.
pub(crate) fn filler(map: &str) -> Option<Filler> {
    match map {
        "FE4" => Some(Filler { from: (8, 8), entries: frontends::elements, fill: frontends4 }),
        _ => None,
    }
}

/// Fills the map that is pinned in `maps` as one to be filled, from another layout's pin, and gives it its name.
///
/// # Errors
/// The kernel's; whoever calls the loader again begins anew.
pub(crate) fn fill(
    map: &'static str,
    filler: &Filler,
    old: &Path,
    maps: &Path,
    salt: u32,
) -> Result<(), MapError> {
    let open = |path: &Path| {
        let fail = |source| MapError::Pin { map, path: path.display().to_string(), source };
        MapData::from_pin(path).map_err(fail)
    };
    let pin = filling(maps, map);
    let count = (filler.fill)(open(old)?, &open(&pin)?, salt)?;
    let full = maps.join(map);
    std::fs::rename(&pin, &full).map_err(|source| MapError::Carry {
        map,
        path: full.display().to_string(),
        source,
    })?;
    tracing::info!(map, count, from = %old.display(), "filled a map from another layout's");
    Ok(())
}

/// FE4 of layout 1: a hash of the kernel.
fn frontends4(old: MapData, new: &MapData, salt: u32) -> Result<usize, MapError> {
    let old: BpfHash<_, [u8; 8], u64> = Map::HashMap(old).try_into().map_err(element("FE4", "read"))?;
    let len = new.info().map_err(element("FE4", "inspect"))?.max_entries();
    let table = Frontends::new(Mapping::new("FE4", new, len, WORDS)?, salt);
    let mut count = 0;
    for entry in old.iter() {
        let (key, value) = entry.map_err(element("FE4", "read"))?;
        table.insert(&key4(key), value)?;
        count += 1;
    }
    Ok(count)
}

/// A key from its bytes. PURE.
const fn key4([a, b, c, d, p, q, proto, scope]: [u8; 8]) -> FeKey4 {
    let (addr, port) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([p, q]));
    FeKey4 { addr: Be32(addr), port: Be16(port), proto, scope }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_lay_in_memory() {
        let key = FeKey4 { addr: Be32::new(0x0a60_0001), port: Be16::new(443), proto: 6, scope: 2 };
        assert_eq!(key4([0x0a, 0x60, 0, 1, 1, 0xbb, 6, 2]), key);
    }

    #[test]
    fn all_that_fitted_fits() {
        let filler = filler("FE4").unwrap();
        for frontends in [1, 1024, 133_588, 262_144] {
            assert!(frontends::homes((filler.entries)(frontends)) * 3 >= frontends);
        }
    }
}
