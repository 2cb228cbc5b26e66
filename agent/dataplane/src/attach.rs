//! Programs onto hooks. Enters: loaded programs, a cgroup, the pin directory. Leaves: pinned links, which serve
//! without any process. A link found pinned on the same cgroup gets the new program in one step, so that no call goes
//! untranslated; one on another cgroup is replaced after the new one is in place.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, CgroupSockAddr, Program, ProgramError};

use crate::load::{PROGRAMS, versioned};
use crate::{sctp, sys};

/// Why a program is not on its hook.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No cgroup2 hierarchy is mounted.
    #[error(
        "no cgroup2 hierarchy is mounted (cgroup v2, unified or hybrid, is needed; see /proc/self/mountinfo)"
    )]
    NoCgroup2,
    /// The cgroup cannot be opened.
    #[error("cannot open the cgroup {path}")]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory is not in a cgroup2 hierarchy.
    #[error("{0} is not a cgroup2 directory")]
    NotCgroup2(PathBuf),
    /// The kernel refused to attach.
    #[error("cannot attach {program} to the cgroup (another program may hold it exclusively)")]
    Attach {
        /// The program.
        program: &'static str,
        /// The kernel's answer.
        #[source]
        source: Box<ProgramError>,
    },
    /// The kernel refused to attach to a device.
    #[error("cannot attach {program} to the device {device}: tcx needs Linux 6.6")]
    Device {
        /// The program.
        program: &'static str,
        /// The device.
        device: String,
        /// The kernel's answer.
        #[source]
        source: Box<ProgramError>,
    },
    /// The ports of translated sources.
    #[error("cannot give back the ports of translated sources (net.ipv4.ip_local_reserved_ports)")]
    Ports(#[source] io::Error),
    /// The tables of SCTP.
    #[error("cannot remove the tables of SCTP (nft, xebec-sctp)")]
    Sctp(#[source] sctp::SctpError),
    /// A device's driver refused the program, and so did the kernel.
    #[error("the driver of {device} cannot run programs")]
    Driver {
        /// The device.
        device: String,
        /// The kernel's answer.
        #[source]
        source: Box<ProgramError>,
    },
    /// A device that a program was to be put on.
    #[error("no device of this node has index {0}")]
    NoDevice(u32),
    /// A pinned link.
    #[error("cannot {action} the pinned link of {program}")]
    Link {
        /// What was tried.
        action: &'static str,
        /// The program.
        program: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The mount point of the first whole cgroup2 hierarchy in the text of a mountinfo file: one that shows only a part, as
/// containers have it, is not where every process is below. PURE.
pub fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (right.split(' ').next() == Some("cgroup2") && root == "/").then(|| PathBuf::from(point))
    })
}

/// The root cgroup2 of this machine.
///
/// # Errors
/// [`AttachError::NoCgroup2`].
pub fn root_cgroup() -> Result<PathBuf, AttachError> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    cgroup2_mount(&mountinfo).ok_or(AttachError::NoCgroup2)
}

/// The cgroup2 directory meant by a path: itself, or `unified` in it where systemd mounts both versions side by side
/// (a container that is shown the node's /sys/fs/cgroup need not know which it is).
///
/// # Errors
/// [`AttachError::NotCgroup2`], [`AttachError::Cgroup`].
pub fn resolve_cgroup(path: &Path) -> Result<PathBuf, AttachError> {
    let magic = |path: &Path| rustix::fs::statfs(path).map(|fs| fs.f_type as u64);
    let own = magic(path).map_err(|e| AttachError::Cgroup { path: path.to_owned(), source: e.into() })?;
    let hybrid = path.join("unified");
    if own == CGROUP2_MAGIC {
        Ok(path.to_owned())
    } else if magic(&hybrid).is_ok_and(|magic| magic == CGROUP2_MAGIC) {
        Ok(hybrid)
    } else {
        Err(AttachError::NotCgroup2(path.to_owned()))
    }
}

/// Whether a cgroup2 directory is the root of its hierarchy, which alone has no type.
pub fn is_root(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.type").exists()
}

/// Attaches every program to `cgroup`, by pinned links.
///
/// # Errors
/// [`AttachError`]; links already in place keep serving.
pub fn attach(ebpf: &mut Ebpf, cgroup: &Path, pin_dir: &Path) -> Result<(), AttachError> {
    let open = |source| AttachError::Cgroup { path: cgroup.to_owned(), source };
    let file = File::open(cgroup).map_err(open)?;
    if rustix::fs::fstatfs(&file).map_err(|e| open(e.into()))?.f_type as u64 != CGROUP2_MAGIC {
        return Err(AttachError::NotCgroup2(cgroup.to_owned()));
    }
    // The inode number of a cgroup2 directory is the cgroup's id.
    let id = file.metadata().map_err(open)?.ino();
    for name in PROGRAMS {
        let pin = versioned(pin_dir).join("links").join(name);
        let Some(program) = ebpf.program_mut(name) else { continue };
        attach_one(program, name, &file, id, &pin)?;
    }
    Ok(())
}

fn attach_one(
    program: &mut Program,
    name: &'static str,
    cgroup: &File,
    cgroup_id: u64,
    pin: &Path,
) -> Result<(), AttachError> {
    let fail = |action, source| AttachError::Link { action, program: name, source };
    let refused = |source| AttachError::Attach { program: name, source: Box::new(source) };
    let mut replaced = None;
    if pin.exists() {
        let link = sys::open_pin(pin).map_err(|e| fail("open", e))?;
        if sys::link_info(link.as_fd()).map_err(|e| fail("inspect", e))?.cgroup == cgroup_id {
            let fd = program.fd().map_err(refused)?;
            sys::link_update(link.as_fd(), fd.as_fd()).map_err(|e| fail("update", e))?;
            tracing::debug!(program = name, "replaced the program of a pinned link");
            return Ok(());
        }
        replaced = Some(link);
    }
    let link = link(program, name, cgroup)?;
    if replaced.is_some() {
        std::fs::remove_file(pin).map_err(|e| fail("replace", e))?;
    }
    pin_link(link, pin, name)?;
    if let Some(old) = replaced {
        match sys::link_detach(old.as_fd()) {
            // ENOLINK: its cgroup is gone, and the attachment with it.
            Err(e) if e.raw_os_error() != Some(libc::ENOLINK) => return Err(fail("detach", e)),
            _ => {}
        }
    }
    Ok(())
}

/// Attaches a loaded program.
fn link(program: &mut Program, name: &'static str, cgroup: &File) -> Result<FdLink, AttachError> {
    let refused = |source| AttachError::Attach { program: name, source: Box::new(source) };
    // Links always allow others beside them; the mode only matters without links (AllowMultiple is EINVAL here).
    let mode = CgroupAttachMode::Single;
    match program {
        Program::CgroupSock(program) => {
            let id = program.attach(cgroup, mode).map_err(refused)?;
            fd_link(program.take_link(id).map_err(refused)?, name)
        }
        other => {
            let program = <&mut CgroupSockAddr>::try_from(other).map_err(refused)?;
            let id = program.attach(cgroup, mode).map_err(refused)?;
            fd_link(program.take_link(id).map_err(refused)?, name)
        }
    }
}

/// A program's attachment as a link, which old kernels do not know.
fn fd_link(link: impl TryInto<FdLink>, program: &'static str) -> Result<FdLink, AttachError> {
    link.try_into().map_err(|_| AttachError::Link {
        action: "take",
        program,
        source: io::Error::other("not a link of this kernel"),
    })
}

/// Pins a program's attachment, which then outlives this process.
pub(crate) fn pin_link(
    link: impl TryInto<FdLink>,
    pin: &Path,
    program: &'static str,
) -> Result<(), AttachError> {
    let fail = |e| AttachError::Link { action: "pin", program, source: io::Error::other(e) };
    fd_link(link, program)?.pin(pin).map(drop).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_in_hybrid_and_unified_machines() {
        let hybrid = "24 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      25 24 0:21 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                      26 24 0:22 / /sys/fs/cgroup/unified rw,nosuid shared:10 master:2 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(
            cgroup2_mount("30 1 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n"),
            Some("/sys/fs/cgroup".into())
        );
        assert_eq!(cgroup2_mount("25 24 0:21 / /x rw - cgroup cgroup rw\n"), None);
        let part = "31 1 0:26 /kubepods/pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(cgroup2_mount(part), None);
        let both = format!("{part}32 1 0:26 / /host/cgroup rw - cgroup2 cgroup rw\n");
        assert_eq!(cgroup2_mount(&both), Some("/host/cgroup".into()));
    }

    #[test]
    fn a_cgroup_is_meant_by_itself_or_by_the_folder_of_both_versions() {
        let Ok(root) = root_cgroup() else { return };
        assert_eq!(resolve_cgroup(&root).unwrap(), root);
        assert!(is_root(&root));
        if root.ends_with("unified") {
            assert_eq!(resolve_cgroup(Path::new("/sys/fs/cgroup")).unwrap(), root);
        }
        assert!(matches!(resolve_cgroup(Path::new("/proc")), Err(AttachError::NotCgroup2(_))));
        assert!(matches!(resolve_cgroup(Path::new("/no/such")), Err(AttachError::Cgroup { .. })));
    }
}
