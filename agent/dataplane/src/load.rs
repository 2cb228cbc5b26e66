//! The object file into the kernel. Enters: a path, a pin directory, sizes. Leaves: pinned maps and loaded programs.
//! Maps already pinned are taken over with their content and size, after their shape was checked; those of an older layout, too
//! (`upgrade`).

mod open;

use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::{CgroupSockAddr, Program, ProgramError};
use xebec_abi::{LAYOUT_VERSION, MARKER_PREFIX};

use crate::devices::{PACKET_PROGRAMS, POD_PROGRAM, POLICY_PROGRAMS};
use crate::maps::MapError;
use crate::maps::shapes::PINNED;
use crate::{Options, sys};

/// Why the programs are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No object file at any of the places; build it with `cargo xtask ebpf`.
    #[error("no eBPF object found (looked at {0}); name it with --bpf-object or XEBEC_BPF_OBJECT")]
    NoObject(String),
    /// The object cannot be read.
    #[error("cannot read the eBPF object {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not one of our objects.
    #[error("{0} is not a Xebec eBPF object (it carries no layout version)")]
    NoVersion(PathBuf),
    /// The object is of another layout than this agent.
    #[error("{path} has map layout version {found}, this agent needs {LAYOUT_VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The pin directory cannot be made.
    #[error("cannot prepare the pin directory {path}")]
    PinDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the object: a missing feature, or no right to load programs.
    #[error("the kernel refused the eBPF object: {feature}")]
    Kernel {
        /// Which feature the kernel would need.
        feature: &'static str,
        /// The loader's answer.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// The kernel refused one program.
    #[error(
        "the kernel refused program {program}: it needs cgroup socket address hooks (CONFIG_CGROUP_BPF, 5.18)"
    )]
    Program {
        /// The program.
        program: String,
        /// The loader's answer.
        #[source]
        source: Box<ProgramError>,
    },
    /// The object lacks a program this agent attaches.
    #[error("the eBPF object has no program {0}")]
    NoProgram(&'static str),
    /// The kernel does not tell network namespaces apart.
    #[error("the kernel has no network namespace cookies (SO_NETNS_COOKIE, 5.14)")]
    NoNetnsCookie(#[source] io::Error),
    /// A pinned map.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// The programs on a cgroup, each at the hook of its name; those that translate back and clean up come first, so that
/// nothing is ever translated one way only.
pub const PROGRAMS: [&str; 9] = [
    "sock_release",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
];

/// Where the object is: `given`, else XEBEC_BPF_OBJECT, else beside this program, else /usr/lib/xebec.
///
/// # Errors
/// [`LoadError::NoObject`] names every place looked at.
pub fn find_object(given: Option<&Path>) -> Result<PathBuf, LoadError> {
    let mut places: Vec<PathBuf> = Vec::new();
    if let Some(path) = given {
        places.push(path.to_owned());
    } else if let Some(path) = std::env::var_os("XEBEC_BPF_OBJECT").filter(|p| !p.is_empty()) {
        places.push(path.into());
    } else {
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("xebec.bpf.o")));
        places.extend(beside);
        places.push("/usr/lib/xebec/xebec.bpf.o".into());
    }
    let tried = places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    places.into_iter().find(|p| p.is_file()).ok_or(LoadError::NoObject(tried))
}

/// The layout version an object's bytes carry. PURE.
pub fn object_version(bytes: &[u8]) -> Option<u32> {
    let at = bytes.windows(MARKER_PREFIX.len()).position(|w| w == MARKER_PREFIX)? + MARKER_PREFIX.len();
    let digits = bytes.get(at..at + 4)?;
    (bytes.get(at + 4) == Some(&b';')).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// The directory of this layout's pins under a base directory.
pub fn versioned(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("v{LAYOUT_VERSION}"))
}

const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Makes the pin directory on a bpf file system, which is mounted at /sys/fs/bpf if the directory is to be there and
/// no such file system is; but not where only a container would see it, and its pins would end with it.
///
/// # Errors
/// [`LoadError::PinDir`].
pub fn ensure_bpffs(pin_dir: &Path) -> Result<(), LoadError> {
    let fail = |source: io::Error| LoadError::PinDir { path: pin_dir.to_owned(), source };
    let existing = pin_dir.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let magic = rustix::fs::statfs(existing).map_err(|e| fail(e.into()))?.f_type as u64;
    if magic != BPF_FS_MAGIC {
        let root = Path::new("/sys/fs/bpf");
        if !pin_dir.starts_with(root) {
            return Err(fail(io::Error::other(format!(
                "{} is not on a bpf file system",
                existing.display()
            ))));
        }
        let namespace = |process| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // Who may not look at the first process (it has more rights) is no container of the node's, which is privileged.
        let own = namespace("self").zip(namespace("1")).is_none_or(|(own, first)| own == first);
        if !own && !is_shared(&mounts, root) {
            return Err(fail(io::Error::other(format!(
                "{} is not a bpf file system, and one mounted in this container would end with it: run \
                 `mount -t bpf bpf {}` on the node",
                root.display(),
                root.display()
            ))));
        }
        let flags = rustix::mount::MountFlags::NOSUID
            | rustix::mount::MountFlags::NODEV
            | rustix::mount::MountFlags::NOEXEC;
        rustix::mount::mount("bpf", root, "bpf", flags, Some(c"mode=0700")).map_err(|e| fail(e.into()))?;
        tracing::info!(path = %root.display(), "mounted the bpf file system");
    }
    for dir in ["maps", "links"] {
        std::fs::create_dir_all(versioned(pin_dir).join(dir)).map_err(fail)?;
    }
    Ok(())
}

/// Whether what is mounted at a path is mounted elsewhere, too, by the text of a mountinfo file. PURE.
fn is_shared(mountinfo: &str, path: &Path) -> bool {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (fields, _) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(4);
        let point = Path::new(fields.next()?);
        // After the options; the last of those at one place is what is seen there.
        path.starts_with(point).then(|| (point, fields.skip(1).any(|field| field.starts_with("shared:"))))
    });
    mounts.max_by_key(|(point, _)| point.components().count()).is_some_and(|(_, shared)| shared)
}

/// How often a program is shown to the verifier at most, as libbpf does.
const ATTEMPTS: u32 = 5;

/// Tries again what was merely interrupted.
fn patiently<E>(
    mut attempt: impl FnMut() -> Result<(), E>,
    interrupted: impl Fn(&E) -> bool,
) -> Result<(), E> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if interrupted(&error) => {}
            result => return result,
        }
    }
    attempt()
}

/// Whether the verifier gave up because a signal was pending (EAGAIN), which says nothing about the program.
fn interrupted(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.kind() == io::ErrorKind::WouldBlock)
}

/// Which programs of the object are wanted; the others stay out of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Services.
    Services,
    /// NetworkPolicy.
    Policy,
    /// The way from one of the node's pods to another.
    Pods,
}

/// Only one at a time makes the maps that are not pinned yet.
static LOADING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// Loads a part of the object, over the maps already pinned if there are any, by this layout or a known one before; what an
/// older layout's programs serve by stays as it is.
///
/// # Errors
/// [`LoadError`]; what was pinned before is as it was.
pub fn load(object: &Path, options: &Options, part: Part) -> Result<Ebpf, LoadError> {
    let _alone = LOADING.lock();
    let mut ebpf = open::open(object, options, part)?;
    let on_devices = match part {
        Part::Services => {
            for name in PROGRAMS {
                let program = ebpf.program_mut(name).ok_or(LoadError::NoProgram(name))?;
                let loaded = patiently(|| load_cgroup(program), interrupted);
                loaded.map_err(|e| LoadError::Program { program: name.to_owned(), source: Box::new(e) })?;
            }
            PACKET_PROGRAMS.as_slice()
        }
        Part::Policy => &POLICY_PROGRAMS,
        Part::Pods => &[POD_PROGRAM],
    };
    for (name, _) in on_devices.iter().copied() {
        load_program(&mut ebpf, name)?;
    }
    // The other part's maps are made with the object's others, and nothing uses them.
    for shape in PINNED.iter().filter(|shape| !shape.is_of(part)) {
        drop(ebpf.take_map(shape.name));
    }
    sys::give_back();
    Ok(ebpf)
}

/// Loads one packet program.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::NoProgram(name))?;
    let program: Result<&mut aya::programs::SchedClassifier, _> = program.try_into();
    program
        .and_then(|program| patiently(|| program.load(), interrupted))
        .map_err(|e| LoadError::Program { program: name.to_owned(), source: Box::new(e) })
}

fn load_cgroup(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSock(program) => program.load(),
        other => <&mut CgroupSockAddr>::try_from(other)?.load(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_without_our_version_is_refused() {
        let good = [b"\x7fELF....".as_slice(), &xebec_abi::MARKER, b"..."].concat();
        assert_eq!(object_version(&good), Some(LAYOUT_VERSION));
        assert_eq!(object_version(b"XEBEC-ABI=v0012;"), Some(12));
        for bad in [b"\x7fELF".as_slice(), b"XEBEC-ABI=v00", b"XEBEC-ABI=v0x01;", b"XEBEC-ABI=v00010"] {
            assert_eq!(object_version(bad), None, "{bad:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.o");
        let options = Options { pin_dir: dir.path().to_owned(), ..Options::new("a") };
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            load(&path, &options, Part::Services).map(|_| ()).unwrap_err()
        };
        assert!(matches!(load(b"\x7fELF"), LoadError::NoVersion(_)));
        assert!(matches!(load(b"XEBEC-ABI=v0099;"), LoadError::Version { found: 99, .. }));
        // A pin directory that is on no bpf file system is named, and nothing is mounted over it.
        let error = load(&good).to_string();
        assert!(error.contains("cannot prepare the pin directory"), "{error}");
    }

    #[test]
    fn a_mount_is_shared_as_the_one_it_is_in() {
        let text = "22 1 0:21 / / rw shared:1 - ext4 /dev/sda rw\n\
                    23 22 0:22 / /sys rw,nosuid - sysfs sysfs rw\n\
                    24 22 0:23 / /run rw shared:5 master:2 - tmpfs tmpfs rw\n";
        for (path, shared) in [("/sys/fs/bpf", false), ("/run/bpf", true), ("/system", true), ("/run", true)]
        {
            assert_eq!(is_shared(text, Path::new(path)), shared, "{path}");
        }
        let over = format!("{text}25 23 0:24 / /sys/fs rw shared:7 - tmpfs tmpfs rw\n");
        assert!(is_shared(&over, Path::new("/sys/fs/bpf")) && !is_shared("", Path::new("/sys")));
    }

    #[test]
    fn only_an_interruption_is_tried_again_and_not_for_ever() {
        let after = |answers: &[Result<(), u8>]| {
            let mut calls = 0;
            let attempt = || {
                calls += 1;
                answers[(calls - 1).min(answers.len() - 1)]
            };
            (patiently(attempt, |error| *error == 1), calls)
        };
        assert_eq!(after(&[Ok(())]), (Ok(()), 1));
        assert_eq!(after(&[Err(1), Err(1), Ok(())]), (Ok(()), 3));
        assert_eq!(after(&[Err(1), Err(2), Ok(())]), (Err(2), 2));
        assert_eq!(after(&[Err(1)]), (Err(1), 5));
    }

    #[test]
    fn a_named_object_that_is_not_there_is_named() {
        let error = find_object(Some(Path::new("/no/such.o"))).unwrap_err().to_string();
        assert!(error.contains("/no/such.o") && error.contains("--bpf-object"), "{error}");
    }
}
