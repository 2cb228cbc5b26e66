//! What is left of other layouts once a part's programs of ours serve in their place. Enters: layouts, a part. Leaves: their links
//! and maps of that part removed, and their directories with the last part. Called after a part's links were swapped.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::links::{entries, is_of, pins};
use super::maps::{map_of, remove};
use super::versions::Layout;
use crate::attach::AttachError;
use crate::load::Part;
use crate::maps::shapes::PINNED;
use crate::sys;

/// Parts of one process come to their end at the same time, and the last is to see that it is.
static CLEARING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// Removes what a part has in other layouts, and what is nobody's there.
///
/// # Errors
/// The kernel's; call again.
pub(crate) fn clear(part: Part, others: &[Layout]) -> Result<(), AttachError> {
    let _alone = CLEARING.lock();
    for layout in others.iter().filter(|layout| layout.dir.exists()) {
        clear_one(part, layout).map_err(|source| AttachError::Link {
            action: "remove what another layout left beside",
            program: "every program",
            source,
        })?;
    }
    Ok(())
}

fn clear_one(part: Part, layout: &Layout) -> io::Result<()> {
    // One that ours had the name of already.
    for pin in pins(&layout.dir)?.iter().filter(|pin| is_of(part, pin)) {
        unlink(pin)?;
    }
    let (links, maps) = (pins(&layout.dir)?, entries(&layout.dir.join("maps"))?);
    let rest = superfluous(part, &links, &maps);
    rest.maps.into_iter().try_for_each(remove)?;
    if !rest.whole {
        return Ok(());
    }
    links.iter().try_for_each(|pin| unlink(pin))?;
    maps.iter().try_for_each(|pin| remove(pin))?;
    for dir in [layout.dir.join("links"), layout.dir.join("maps"), layout.dir.clone()] {
        remove_dir(&dir)?;
    }
    tracing::info!(layout = layout.version, "took over from another layout of the maps");
    Ok(())
}

/// Takes a link off its hook and removes its pin.
pub(crate) fn unlink(pin: &Path) -> io::Result<()> {
    if let Ok(link) = sys::open_pin(pin) {
        // One whose cgroup or device is gone has nothing left to detach.
        let _ = sys::link_detach(link.as_fd());
    }
    remove(pin)
}

/// Removes an empty directory; that there is none is no error.
pub(crate) fn remove_dir(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What nobody needs.
struct Superfluous<'a> {
    maps: Vec<&'a Path>,
    /// All there is.
    whole: bool,
}

/// Whether only programs of Services use a map, or only those of the pods'. PURE.
fn is_only_of(services: bool, pin: &Path) -> bool {
    let name = pin.file_name().and_then(|name| name.to_str()).map_or("", map_of);
    let shape = PINNED.iter().find(|shape| shape.name == name);
    shape.is_some_and(|shape| shape.is_of(Part::Services) == services && shape.is_of(Part::Pods) != services)
}

/// Of the maps in a layout's directory, after a part was carried over. What both sides use goes with the last: who runs the
/// other side's older agent finds its maps. PURE.
fn superfluous<'a>(part: Part, links: &[PathBuf], maps: &'a [PathBuf]) -> Superfluous<'a> {
    let linked = |parts: &[Part]| links.iter().any(|pin| parts.iter().any(|part| is_of(*part, pin)));
    let (services, pods) = match part {
        Part::Services => (true, false),
        // Policies and ways between pods are the same agent's.
        Part::Policy | Part::Pods => (false, !linked(&[Part::Policy, Part::Pods])),
    };
    let goes = |pin: &&PathBuf| services && is_only_of(true, pin) || pods && is_only_of(false, pin);
    let (gone, left): (Vec<&PathBuf>, Vec<&PathBuf>) = maps.iter().partition(goes);
    let needed = left.iter().any(|pin| is_only_of(true, pin) || is_only_of(false, pin));
    let whole = !needed && !linked(&[Part::Services, Part::Policy, Part::Pods]);
    Superfluous { maps: gone.into_iter().map(PathBuf::as_path).collect(), whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| Path::new("/x/y").join(name)).collect()
    }

    fn after(part: Part, links: &[&str], maps: &[&str]) -> (Vec<String>, bool) {
        let (links, maps) = (paths(links), paths(maps));
        let rest = superfluous(part, &links, &maps);
        let name = |pin: &Path| pin.file_name().unwrap().to_str().unwrap().to_owned();
        (rest.maps.into_iter().map(name).collect(), rest.whole)
    }

    #[test]
    fn a_layout_goes_with_its_last_part() {
        let gone = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = ["FE4", "META", "FLOWS", "POLICY_RULES", "UNKNOWN"];
        assert_eq!(after(Part::Services, &[], &["META", "FLOWS"]), (gone(&["META"]), true));
        assert_eq!(
            after(Part::Services, &[], &all),
            (gone(&["FE4", "META"]), false),
            "the pods' agent comes later"
        );
        assert_eq!(
            after(Part::Policy, &["pod_path-3"], &all),
            (gone(&[]), false),
            "ways come after policies"
        );
        assert_eq!(after(Part::Policy, &["connect4"], &all), (gone(&["POLICY_RULES"]), false));
        assert_eq!(
            after(Part::Pods, &[], &["FLOWS", "POLICY_RULES", "UNKNOWN"]),
            (gone(&["POLICY_RULES"]), true)
        );
        // Whatever its maps are called there.
        assert_eq!(after(Part::Pods, &["connect4"], &["UNKNOWN"]), (gone(&[]), false));
        assert_eq!(after(Part::Services, &["unknown"], &["FE4-filling"]), (gone(&["FE4-filling"]), true));
    }
}
