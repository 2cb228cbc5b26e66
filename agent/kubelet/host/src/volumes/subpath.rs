//! subPath. Enters: a volume's directory and a path inside it. Leaves: that path bound below the pod's directory, so
//! that the runtime mounts what was checked and not what a container swapped in meanwhile.
//!
//! openat2 with BENEATH and NO_MAGICLINKS refuses every way out (Linux 5.6); open_tree and move_mount bind the very
//! file that was opened (Linux 5.2).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::VolumeError;
use super::tmpfs;

fn beneath(base: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(base, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens `path` inside `volume`, making missing directories with the mode of the volume's root.
fn open_inside(volume: &Path, path: &Path) -> io::Result<OwnedFd> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || path.as_os_str().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a relative path inside the volume"));
    }
    let base = open(volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    match beneath(&base, path, OFlags::PATH) {
        Err(Errno::NOENT) => {}
        other => return other.map_err(Into::into),
    }
    let mode = Mode::from_raw_mode(fstat(&base)?.st_mode & 0o7777);
    let mut at = base.try_clone()?;
    let mut walked = std::path::PathBuf::new();
    for part in path.components() {
        walked.push(part);
        // Always from the base: a symlink on the way may lead up, but never out.
        at = match beneath(&base, &walked, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                let name = part.as_os_str();
                match mkdirat(&at, name, Mode::from_raw_mode(0o700)) {
                    Err(Errno::EXIST) => {}
                    other => other?,
                }
                let made =
                    beneath(&at, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
                rustix::fs::fchmod(&made, mode)?;
                made
            }
            other => other?,
        };
    }
    Ok(at)
}

fn prepare_target(target: &Path, directory: bool) -> Result<(), VolumeError> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(VolumeError::io("create", parent))?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o750))
            .map_err(VolumeError::io("chmod", parent))?;
    }
    while super::mountinfo::is_mount_point(target)?.is_some() {
        tmpfs::release(target)?;
    }
    match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() == directory => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir(target).map_err(VolumeError::io("remove", target))?,
        Ok(_) => fs::remove_file(target).map_err(VolumeError::io("remove", target))?,
        Err(_) => {}
    }
    if directory { fs::create_dir(target) } else { fs::File::create(target).map(drop) }
        .map_err(VolumeError::io("create", target))
}

/// Binds `volume`/`path` at `target`, replacing an earlier bind there. Fails if the path leaves the volume.
pub(super) fn bind(
    volume: &Path,
    path: &Path,
    target: &Path,
    names: (&str, &str),
) -> Result<(), VolumeError> {
    let failed = |cause: io::Error| VolumeError::SubPath {
        volume: names.0.to_owned(),
        container: names.1.to_owned(),
        cause,
    };
    let source = open_inside(volume, path).map_err(failed)?;
    let stat = fstat(&source).map_err(|e| failed(e.into()))?;
    prepare_target(target, FileType::from_raw_mode(stat.st_mode) == FileType::Directory)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(&source, "", flags).map_err(|e| failed(e.into()))?;
    move_mount(&tree, "", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|e| failed(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Bound(PathBuf);
    impl Drop for Bound {
        fn drop(&mut self) {
            tmpfs::release(&self.0).unwrap();
        }
    }

    fn attempt(volume: &Path, path: &str, target: &Path) -> Result<Bound, VolumeError> {
        bind(volume, Path::new(path), target, ("v", "c")).map(|()| Bound(target.to_owned()))
    }

    #[test]
    fn paths_inside_are_bound() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, target) = (dir.path().join("v"), dir.path().join("t/0"));
        fs::create_dir_all(volume.join("real")).unwrap();
        fs::write(volume.join("real/file"), "x").unwrap();
        symlink("real", volume.join("link")).unwrap();
        {
            let _bound = attempt(&volume, "link/file", &target).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "x");
            // Again, as after a restart of the container, and as a directory this time.
            bind(&volume, Path::new("link"), &target, ("v", "c")).unwrap();
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "x");
        }
        let _made = attempt(&volume, "new/deep", &target).unwrap();
        assert!(volume.join("new/deep").is_dir());
        fs::write(target.join("seen"), "").unwrap();
        assert!(volume.join("new/deep/seen").exists());
    }

    #[test]
    fn escapes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, target) = (dir.path().join("v"), dir.path().join("t/0"));
        fs::create_dir_all(&volume).unwrap();
        fs::create_dir(dir.path().join("secret")).unwrap();
        symlink("/etc", volume.join("abs")).unwrap();
        symlink("../secret", volume.join("up")).unwrap();
        symlink("/proc/self/root", volume.join("magic")).unwrap();
        for path in
            ["abs", "abs/passwd", "up", "up/new", "magic/etc", "../secret", "/etc", "a/../../secret", ""]
        {
            let error = attempt(&volume, path, &target).err().unwrap_or_else(|| panic!("{path:?} was bound"));
            assert!(matches!(error, VolumeError::SubPath { .. }), "{path:?}: {error}");
        }
        assert!(!dir.path().join("secret/new").exists());
    }
}
