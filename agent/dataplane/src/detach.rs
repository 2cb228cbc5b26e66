//! What was put into the kernel, taken back. Enters: a pin directory. Leaves: nothing of any layout there, or of Services only.
//! Called by `xebec-agent reset` and `proxy --cleanup`, while no agent runs; calling it again continues.

use std::io;
use std::path::Path;

use crate::attach::AttachError;
use crate::devices::{TUNNEL_PROGRAM, pinned};
use crate::load::{PROGRAMS, Part};
use crate::maps::shapes::{OF_PODS, PINNED};
use crate::upgrade::clear::{remove_dir, unlink};
use crate::upgrade::links::{entries, is_of};
use crate::upgrade::maps::map_of;
use crate::upgrade::version;
use crate::{reserved, sctp, tunnel};

/// Removes everything pinned under `pin_dir` and the tables of SCTP, detaches the programs and gives back the ports that were
/// reserved for them. Nothing there is no error.
///
/// # Errors
/// [`AttachError::Link`] with the first thing that could not be removed, [`AttachError::Sctp`], [`AttachError::Ports`].
pub fn detach(pin_dir: &Path) -> Result<(), AttachError> {
    remove(pin_dir, |_| false)
}

/// As [`detach`], but where an agent has policies and ways for this node's pods, those stay, with the maps they use.
///
/// # Errors
/// As [`detach`].
pub fn detach_services(pin_dir: &Path) -> Result<(), AttachError> {
    remove(pin_dir, |version| version.join("maps").join(OF_PODS).exists())
}

/// Removes everything, or from those layouts that are `kept` what is of Services only.
fn remove(pin_dir: &Path, kept: impl Fn(&Path) -> bool) -> Result<(), AttachError> {
    let fail = |action, source| AttachError::Link { action, program: "every program", source };
    let versions = entries(pin_dir).map_err(|e| fail("list", e))?;
    let mut whole = true;
    for version in versions.iter().filter(|path| version(path).is_some()) {
        let kept = kept(version);
        whole &= !kept;
        for (index, _) in pinned(&version.join("links"), &[TUNNEL_PROGRAM.0]).unwrap_or_default() {
            tunnel::device::remove(index).map_err(|e| fail("remove the device of", e))?;
        }
        // Translation into VIPs ends before translation back does.
        let mut links = entries(&version.join("links")).map_err(|e| fail("list", e))?;
        links.sort_by_key(|p| PROGRAMS.iter().rev().position(|n| p.ends_with(n)));
        for pin in links.iter().filter(|pin| !kept || is_of(Part::Services, pin)) {
            unlink(pin).map_err(|e| fail("remove", e))?;
        }
        let maps = entries(&version.join("maps")).map_err(|e| fail("list", e))?;
        for pin in maps.iter().filter(|pin| !kept || is_map_of_services(pin)) {
            std::fs::remove_file(pin).map_err(|e| fail("remove", e))?;
        }
        if !kept {
            for dir in [version.join("links"), version.join("maps"), version.clone()] {
                remove_dir(&dir).map_err(|e| fail("remove the directory of", e))?;
            }
        }
    }
    sctp::remove(&mut sctp::Kernel, pin_dir).map_err(AttachError::Sctp)?;
    reserved::release_ports(pin_dir).map_err(AttachError::Ports)?;
    if whole { remove_base(pin_dir).map_err(|e| fail("remove the directory of", e)) } else { Ok(()) }
}

/// Whether a map is of Services and of nothing else. PURE.
fn is_map_of_services(pin: &Path) -> bool {
    let name = pin.file_name().and_then(|name| name.to_str()).map(map_of);
    PINNED.iter().any(|shape| name == Some(shape.name) && !shape.is_of(Part::Pods))
}

/// Removes the base directory, unless something is in it that is not ours.
fn remove_base(pin_dir: &Path) -> io::Result<()> {
    match remove_dir(pin_dir) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_of_nothing_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(detach(&dir.path().join("none")).is_ok());
    }

    #[test]
    fn every_layout_goes_and_what_is_nobodys_stays() {
        let dir = tempfile::tempdir().unwrap();
        let pins = dir.path().join("pins");
        for path in ["v1/links", "v1/maps", "v2/maps", "v77/links", "other/maps"] {
            std::fs::create_dir_all(pins.join(path)).unwrap();
        }
        detach(&pins).unwrap();
        let left: Vec<_> = entries(&pins).unwrap();
        assert_eq!(left, [pins.join("other")]);
        assert!(pins.join("other/maps").exists());
        std::fs::remove_dir_all(pins.join("other")).unwrap();
        detach(&pins).unwrap();
        assert!(!pins.exists());
    }

    #[test]
    fn a_map_that_was_being_filled_is_of_services_as_when_it_is_full() {
        assert!(is_map_of_services(Path::new("/x/FE4")) && is_map_of_services(Path::new("/x/FE4-filling")));
        assert!(
            !is_map_of_services(Path::new("/x/FLOWS")) && !is_map_of_services(Path::new("/x/POLICY_RULES"))
        );
    }
}
