//! fsGroup. Enters: a directory and a group. Leaves: everything below it owned by the group (upstream's
//! SetVolumeOwnership). Walks by directory descriptor, so that a swapped symlink cannot lead it astray.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, chownat, fchmod, fstat, open, openat, statat,
};
use rustix::io::Errno;

use super::VolumeError;

const READ_WRITE: u32 = 0o660;
const DIR_EXTRA: u32 = 0o2110;
/// Deeper trees are refused: each level holds a descriptor.
const MAX_DEPTH: u32 = 512;

/// What to do when the volume's root already belongs to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangePolicy {
    Always,
    OnRootMismatch,
}

/// The mode a file or directory gets.
fn wanted_mode(stat: &Stat) -> u32 {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let extra = if kind == FileType::Directory { READ_WRITE | DIR_EXTRA } else { READ_WRITE };
    (stat.st_mode & 0o7777) | extra
}

/// Gives everything at and below `root` to the group: read and write for it, set-group-ID on directories.
/// Symlinks are changed themselves, never followed; other file systems mounted below are left alone.
pub(super) fn apply(root: &Path, group: u32, policy: ChangePolicy) -> Result<(), VolumeError> {
    let error = |errno: Errno| VolumeError::sys("set fsGroup", root)(errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = open(root, flags, Mode::empty()).map_err(error)?;
    let stat = fstat(&fd).map_err(error)?;
    let matches = stat.st_gid == group && (stat.st_mode & 0o7777) == wanted_mode(&stat);
    if policy == ChangePolicy::OnRootMismatch && matches {
        return Ok(());
    }
    // The root comes last: it alone tells OnRootMismatch that all below is done.
    below(fd.as_fd(), stat.st_dev, group, MAX_DEPTH)
        .and_then(|()| change(fd.as_fd(), c"", &stat, group))
        .map_err(error)
}

fn below(dir: BorrowedFd<'_>, device: u64, group: u32, depth: u32) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        if stat.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(dir, name, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => below(other?.as_fd(), device, group, depth)?,
            }
        }
        match change(dir, name, &stat, group) {
            Err(Errno::NOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Changes one entry; an empty name is the directory itself.
fn change(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat, group: u32) -> Result<(), Errno> {
    let flags = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
    chownat(dir, name, None, Some(Gid::from_raw(group)), flags)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mode = Mode::from_raw_mode(wanted_mode(stat));
    if name.is_empty() {
        return fchmod(dir, mode);
    }
    match kind {
        FileType::RegularFile | FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let fd: OwnedFd = openat(dir, name, flags, Mode::empty())?;
            fchmod(&fd, mode)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn groups_and_modes_go_down_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("v");
        fs::create_dir_all(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "x").unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "x").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        apply(&root, 4242, ChangePolicy::Always).unwrap();
        for (path, bits) in [("", 0o2770), ("d", 0o2770), ("d/f", 0o660)] {
            let meta = fs::metadata(root.join(path)).unwrap();
            assert_eq!((meta.gid(), meta.mode() & bits), (4242, bits), "{path:?}");
        }
        assert_eq!(fs::symlink_metadata(root.join("link")).unwrap().gid(), 4242);
        let meta = fs::metadata(&outside).unwrap();
        assert_eq!((meta.gid(), meta.mode() & 0o777), (0, 0o644));
    }

    #[test]
    fn a_root_that_matches_can_be_trusted() {
        let dir = tempfile::tempdir().unwrap();
        apply(dir.path(), 4242, ChangePolicy::OnRootMismatch).unwrap();
        fs::write(dir.path().join("new"), "x").unwrap();
        std::os::unix::fs::chown(dir.path().join("new"), None, Some(0)).unwrap();
        apply(dir.path(), 4242, ChangePolicy::OnRootMismatch).unwrap();
        assert_eq!(fs::metadata(dir.path().join("new")).unwrap().gid(), 0);
        apply(dir.path(), 4242, ChangePolicy::Always).unwrap();
        assert_eq!(fs::metadata(dir.path().join("new")).unwrap().gid(), 4242);
    }
}
