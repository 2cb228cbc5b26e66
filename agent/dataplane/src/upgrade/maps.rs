//! How each of our maps comes to be: pinned already, the same object as another layout's, filled from another layout's, or new.
//! Enters: a pin directory. Leaves: second pins of maps that are shared, and for the loader what to make. Called by the loader.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;

use super::fill::filler;
use super::versions::{Layout, others};
use crate::load::{LoadError, Part, versioned};
use crate::maps::MapError;
use crate::maps::shapes::{PINNED, Shape, inspect};

/// What a map is named until it is full; names on a bpf file system have no dots.
const FILLING: &str = "-filling";

/// The pin of a map that is not full yet.
pub(crate) fn filling(maps: &Path, name: &str) -> PathBuf {
    maps.join(format!("{name}{FILLING}"))
}

/// The name of the map that a pin is, or is to be. PURE.
pub(crate) fn map_of(pin: &str) -> &str {
    pin.strip_suffix(FILLING).unwrap_or(pin)
}

/// Where a map comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It is pinned, and has so many entries.
    Pinned(u32),
    /// To be made with so many entries, and filled from a pin of another layout.
    Filled(u32, PathBuf),
    /// To be made.
    New,
}

impl Source {
    /// How many entries it has, where that is settled.
    pub(crate) const fn entries(&self) -> Option<u32> {
        match self {
            Self::Pinned(entries) | Self::Filled(entries, _) => Some(*entries),
            Self::New => None,
        }
    }
}

/// What becomes of a map that is not pinned by our layout, but by one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is the same in both.
    Shared,
    /// Ours is filled from it.
    Filled,
    /// It is neither as it is now nor as it was then.
    Damaged,
}

/// From the version that has a map, and key and value sizes of that. PURE.
fn fate(shape: &Shape, version: u32, sizes: (u32, u32)) -> Fate {
    if sizes == shape.sizes() {
        Fate::Shared
    } else if version < shape.since && filler(shape.name).is_some_and(|filler| filler.from == sizes) {
        Fate::Filled
    } else {
        Fate::Damaged
    }
}

/// Makes a part's maps of known layouts ours as far as that is done by a pin, and says where each comes from.
///
/// # Errors
/// A pin that cannot be made or opened, a map that is of no layout of ours.
pub(crate) fn prepare(pin_dir: &Path, part: Part) -> Result<HashMap<&'static str, Source>, LoadError> {
    let own = versioned(pin_dir).join("maps");
    let other = others(pin_dir)?;
    let older: Vec<&Layout> = other.iter().filter(|layout| layout.is_known()).collect();
    let mut sources = HashMap::new();
    for shape in PINNED.iter().filter(|shape| shape.is_of(part)) {
        let carry = |source| MapError::Carry {
            map: shape.name,
            path: own.join(shape.name).display().to_string(),
            source,
        };
        // An agent died while it was being filled.
        remove(&filling(&own, shape.name)).map_err(carry)?;
        let source = match inspect(&own, shape)? {
            Some(info) => Source::Pinned(info.max_entries()),
            None => from_older(shape, &own, &older)?,
        };
        sources.insert(shape.name, source);
    }
    Ok(sources)
}

/// A map that our layout does not have yet.
fn from_older(shape: &'static Shape, own: &Path, older: &[&Layout]) -> Result<Source, MapError> {
    let name = shape.name;
    let pins = older.iter().map(|layout| (layout.version, layout.dir.join("maps").join(name)));
    let Some((version, pin)) = pins.into_iter().find(|(_, pin)| pin.exists()) else {
        return Ok(Source::New);
    };
    let path = || pin.display().to_string();
    let info = MapInfo::from_pin(&pin).map_err(|source| MapError::Pin { map: name, path: path(), source })?;
    match (fate(shape, version, (info.key_size(), info.value_size())), filler(name)) {
        (Fate::Shared, _) => {
            std::fs::hard_link(&pin, own.join(name)).map_err(|source| MapError::Carry {
                map: name,
                path: path(),
                source,
            })?;
            Ok(Source::Pinned(info.max_entries()))
        }
        (Fate::Filled, Some(filler)) => Ok(Source::Filled((filler.entries)(info.max_entries()), pin)),
        _ => Err(shape
            .mismatch(&info)
            .unwrap_or(MapError::Layout { found: version.to_string(), path: path() })),
    }
}

/// Removes a pin; that there is none is no error.
pub(crate) fn remove(pin: &Path) -> io::Result<()> {
    match std::fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use xebec_abi::LAYOUT_VERSION;

    use super::*;
    use crate::upgrade::OLDEST;

    fn shape(name: &str) -> &'static Shape {
        PINNED.iter().find(|shape| shape.name == name).unwrap()
    }

    #[test]
    fn maps_that_did_not_change_are_shared_and_those_that_did_are_filled() {
        assert_eq!(fate(shape("META"), 1, (4, 64)), Fate::Shared);
        assert_eq!(fate(shape("FE4"), 1, (8, 8)), Fate::Filled);
        // Layout 1 as it was for a few days, when FE4 had its present shape without a version of its own.
        assert_eq!(fate(shape("FE4"), 1, (4, 64)), Fate::Shared);
        assert_eq!(fate(shape("FE4"), 1, (8, 16)), Fate::Damaged);
        assert_eq!(fate(shape("META"), 1, (4, 32)), Fate::Damaged);
        assert_eq!(fate(shape("FE4"), 2, (8, 8)), Fate::Damaged);
    }

    /// Maps that the oldest layout has not.
    const NEW: [&str; 1] = ["PACKET_PODS"];

    #[test]
    fn every_map_that_changed_since_the_oldest_layout_can_be_filled() {
        for shape in PINNED {
            assert!((1..=LAYOUT_VERSION).contains(&shape.since), "{}", shape.name);
            let is_filled = shape.since > OLDEST && !NEW.contains(&shape.name);
            assert_eq!(is_filled, filler(shape.name).is_some(), "{}", shape.name);
        }
    }

    #[test]
    fn a_map_is_not_known_by_its_name_before_it_is_full() {
        let pin = filling(Path::new("/x/maps"), "FE4");
        assert_eq!(pin, Path::new("/x/maps/FE4-filling"));
        assert_eq!((map_of("FE4-filling"), map_of("FE4")), ("FE4", "FE4"));
        assert!(PINNED.iter().all(|shape| !pin.ends_with(shape.name)));
    }
}
