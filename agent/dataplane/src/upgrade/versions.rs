//! Which directories are layouts', and which of those this agent can read.

use std::path::{Path, PathBuf};

use xebec_abi::LAYOUT_VERSION;

use super::OLDEST;
use super::links::entries;
use crate::load::{LoadError, versioned};
use crate::maps::MapError;

/// A directory of a layout's pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Which.
    pub(crate) version: u32,
    /// Where.
    pub(crate) dir: PathBuf,
}

impl Layout {
    /// Whether its maps can be taken over.
    pub(crate) fn is_known(&self) -> bool {
        (OLDEST..LAYOUT_VERSION).contains(&self.version)
    }
}

/// The version that a directory is named by; none for what is no layout's. PURE.
pub(crate) fn version(dir: &Path) -> Option<u32> {
    let digits = dir.file_name()?.to_str()?.strip_prefix('v')?;
    let version: u32 = digits.parse().ok()?;
    (version.to_string() == digits).then_some(version)
}

/// The layouts pinned beside ours, newest first.
///
/// # Errors
/// The pin directory cannot be read; that there is none is no error.
pub(crate) fn others(pin_dir: &Path) -> Result<Vec<Layout>, LoadError> {
    let dirs = entries(pin_dir).map_err(|source| LoadError::PinDir { path: pin_dir.to_owned(), source })?;
    Ok(beside(dirs))
}

/// The layouts among these directories that are not ours, newest first. PURE.
fn beside(dirs: Vec<PathBuf>) -> Vec<Layout> {
    let layout = |dir: PathBuf| Some(Layout { version: version(&dir)?, dir });
    let mut layouts: Vec<_> = dirs.into_iter().filter_map(layout).collect();
    layouts.retain(|layout| layout.version != LAYOUT_VERSION);
    layouts.sort_by_key(|layout| std::cmp::Reverse(layout.version));
    layouts
}

/// Where our maps are pinned, for who only looks at them.
///
/// # Errors
/// [`MapError::Layout`] if there are only another layout's.
pub(crate) fn own_maps(pin_dir: &Path) -> Result<PathBuf, MapError> {
    let dir = versioned(pin_dir);
    let found = if dir.exists() { Vec::new() } else { others(pin_dir).unwrap_or_default() };
    if found.is_empty() {
        return Ok(dir.join("maps"));
    }
    let names: Vec<_> = found.iter().map(|layout| layout.version.to_string()).collect();
    Err(MapError::Layout { found: names.join(", "), path: pin_dir.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_named_by_a_version_are_layouts() {
        for (name, expected) in [("/x/v1", Some(1)), ("v20", Some(20)), ("v0", Some(0))] {
            assert_eq!(version(Path::new(name)), expected, "{name}");
        }
        for name in ["v", "v01", "v-1", "v+1", "v1x", "1", "V1", "reserved_ports", "v1/maps", "v99999999999"]
        {
            assert_eq!(version(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn other_layouts_are_told_by_what_can_be_read_of_them() {
        let own = format!("v{LAYOUT_VERSION}");
        let dirs = ["v1", "sctp", "v0", "v99", own.as_str()].map(PathBuf::from);
        let found = beside(dirs.into());
        assert_eq!(found.iter().map(|layout| layout.version).collect::<Vec<_>>(), [99, 1, 0]);
        assert_eq!(found.iter().map(Layout::is_known).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(found[1].dir, Path::new("v1"));
    }

    #[test]
    fn who_looks_is_told_of_another_layout() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(own_maps(dir.path()).unwrap(), versioned(dir.path()).join("maps"));
        std::fs::create_dir(dir.path().join("v77")).unwrap();
        let error = own_maps(dir.path()).unwrap_err().to_string();
        assert!(error.contains("layout 77") && error.contains("start"), "{error}");
        std::fs::create_dir(versioned(dir.path())).unwrap();
        assert!(own_maps(dir.path()).is_ok());
    }
}
