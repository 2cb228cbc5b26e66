//! Pinned links, and whose they are. Enters: layouts. Leaves: their links' pins in our directory, where whoever puts programs on
//! hooks finds them and gives them ours in one step.

use std::io;
use std::path::{Path, PathBuf};

use super::versions::Layout;
use crate::attach::AttachError;
use crate::devices::{
    PACKET_PROGRAMS, POD_PROGRAM, POD_SERVICE_PROGRAMS, POLICY_PROGRAMS, TUNNEL_PROGRAM, pinned_index,
};
use crate::driver::DRIVER_PROGRAM;
use crate::load::{LoadError, PROGRAMS, Part, versioned};

/// Whether a pin is of a link of a part's program. PURE.
pub(crate) fn is_of(part: Part, pin: &Path) -> bool {
    let [(out, _), (back, _)] = PACKET_PROGRAMS;
    match part {
        Part::Services => {
            let [(answers, _), (services, _)] = POD_SERVICE_PROGRAMS;
            let all = [out, back, TUNNEL_PROGRAM.0, DRIVER_PROGRAM, answers, services];
            is_on_cgroup(pin) || on_device(&all, pin)
        }
        Part::Policy => on_device(&POLICY_PROGRAMS.map(|(name, _)| name), pin),
        Part::Pods => on_device(&[POD_PROGRAM.0], pin),
    }
}

fn on_device(programs: &[&str], pin: &Path) -> bool {
    pinned_index(programs, pin).is_some()
}

/// Whether a pin is of a program in the socket calls. PURE.
fn is_on_cgroup(pin: &Path) -> bool {
    PROGRAMS.iter().any(|name| pin.ends_with(name))
}

/// The links pinned in a layout's directory; none if there is no such.
pub(crate) fn pins(layout: &Path) -> io::Result<Vec<PathBuf>> {
    entries(&layout.join("links"))
}

/// What is in a directory; nothing if there is none.
pub(crate) fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether links of Services must stay as they are until our tables are full: only a layout that cannot be read has any. PURE.
fn must_wait(own: &[PathBuf], others: &[(bool, Vec<PathBuf>)]) -> bool {
    let serves = |pins: &[PathBuf]| pins.iter().any(|pin| is_on_cgroup(pin));
    let serving = |known: bool| others.iter().any(|(is_known, pins)| *is_known == known && serves(pins));
    !serves(own) && !serving(true) && serving(false)
}

/// As [`must_wait`], by what is pinned.
///
/// # Errors
/// The kernel's.
pub(crate) fn services_wait(pin_dir: &Path, others: &[Layout]) -> Result<bool, LoadError> {
    let pins = |dir: &Path| pins(dir).map_err(|source| LoadError::PinDir { path: dir.to_owned(), source });
    let pinned = others.iter().map(|layout| Ok((layout.is_known(), pins(&layout.dir)?)));
    Ok(must_wait(&pins(&versioned(pin_dir))?, &pinned.collect::<Result<Vec<_>, LoadError>>()?))
}

/// Moves the pins of a part's links from other layouts to ours. Who has the name there already keeps it, and [`super::clear`]
/// takes the other off its hook.
///
/// # Errors
/// The kernel's; call again.
pub(crate) fn adopt(part: Part, pin_dir: &Path, others: &[Layout]) -> Result<(), AttachError> {
    adopt_those(pin_dir, others, |pin| is_of(part, pin))
}

/// As [`adopt`], those links only that are `wanted`.
///
/// # Errors
/// As that.
pub(crate) fn adopt_those(
    pin_dir: &Path,
    others: &[Layout],
    wanted: impl Fn(&Path) -> bool,
) -> Result<(), AttachError> {
    let fail = |action, source| AttachError::Link { action, program: "every program", source };
    let own = versioned(pin_dir).join("links");
    for layout in others {
        for pin in pins(&layout.dir).map_err(|e| fail("list", e))?.iter().filter(|pin| wanted(pin)) {
            let Some(name) = pin.file_name() else { continue };
            let ours = own.join(name);
            if !ours.exists() {
                std::fs::rename(pin, &ours).map_err(|e| fail("move", e))?;
                tracing::debug!(layout = layout.version, pin = %ours.display(), "took a link over");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| Path::new("/x/links").join(name)).collect()
    }

    #[test]
    fn a_link_is_of_one_part() {
        for (name, part) in [
            ("connect4", Some(Part::Services)),
            ("sock_release", Some(Part::Services)),
            ("tcx_ingress-7", Some(Part::Services)),
            ("tunnel_ingress-7", Some(Part::Services)),
            ("xdp_ingress-7", Some(Part::Services)),
            ("pod_services-7", Some(Part::Services)),
            ("pod_answers-7", Some(Part::Services)),
            ("policy_egress-7", Some(Part::Policy)),
            ("pod_path-7", Some(Part::Pods)),
            ("pod_path", None),
            ("something", None),
        ] {
            let pin = Path::new("/x/links").join(name);
            let of: Vec<Part> = [Part::Services, Part::Policy, Part::Pods]
                .into_iter()
                .filter(|part| is_of(*part, &pin))
                .collect();
            assert_eq!(of, Vec::from_iter(part), "{name}");
        }
    }

    #[test]
    fn only_links_of_a_layout_that_cannot_be_read_wait() {
        let serving = || paths(&["connect4", "tcx_ingress-3"]);
        let policies = || paths(&["policy_egress-3"]);
        assert!(!must_wait(&[], &[]));
        assert!(!must_wait(&[], &[(true, serving())]), "known");
        assert!(must_wait(&[], &[(false, serving())]));
        assert!(
            must_wait(&policies(), &[(true, policies()), (false, serving())]),
            "another part's do not count"
        );
        // An agent died while it swapped: our tables are full.
        assert!(!must_wait(&paths(&["sock_release"]), &[(false, serving())]));
        assert!(!must_wait(&[], &[(false, serving()), (true, serving())]));
        assert!(!must_wait(&[], &[(false, policies())]));
    }
}
