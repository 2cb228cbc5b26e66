//! Taking a pod's directory down. Enters: `<root>/pods/<uid>`. Leaves: nothing of it, or an error; what is mounted
//! below is unmounted first and never deleted through.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::VolumeError;
use super::mountinfo::{MountEntry, mount_table, mounts_below};
use super::tmpfs;

/// Below this depth directories are first moved up: a container can nest them without end.
const MAX_DEPTH: u32 = 64;

/// A pod found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// The pod's UID.
    pub uid: String,
    /// Its volumes as (plugin directory such as `kubernetes.io~secret`, volume name).
    pub volumes: Vec<(String, String)>,
    /// What is mounted below its directory.
    pub mounts: Vec<PathBuf>,
}

fn names(dir: &Path) -> Result<Vec<String>, VolumeError> {
    let entries = match fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other.map_err(VolumeError::io("read", dir))?,
    };
    let mut all: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    all.sort();
    Ok(all)
}

/// The pods below `<root>/pods`, from disk and one read of the mount table.
pub(super) fn reconstruct(pods: &Path) -> Result<Vec<OnDisk>, VolumeError> {
    let table = mount_table().map_err(VolumeError::io("read mount table", "/proc/self/mountinfo"))?;
    let below = |dir: &Path, table: &[MountEntry]| -> Vec<PathBuf> {
        table.iter().filter(|m| m.point.starts_with(dir)).map(|m| m.point.clone()).collect()
    };
    let mut found = Vec::new();
    for uid in names(pods)? {
        let dir = pods.join(&uid);
        let mut volumes = Vec::new();
        for plugin in names(&dir.join("volumes"))? {
            volumes
                .extend(names(&dir.join("volumes").join(&plugin))?.into_iter().map(|v| (plugin.clone(), v)));
        }
        found.push(OnDisk { uid, volumes, mounts: below(&dir, &table) });
    }
    Ok(found)
}

/// Unmounts all below a directory, then removes it. What is gone already is no error.
pub(super) fn take_down(dir: &Path) -> Result<(), VolumeError> {
    for entry in mounts_below(dir)? {
        tmpfs::release(&entry.point)?;
    }
    if let Some(left) = mounts_below(dir)?.first() {
        return Err(VolumeError::Mounted(left.point.clone()));
    }
    remove_tree(dir)
}

fn open_dir(parent: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(parent, name, flags, Mode::empty(), resolve)
}

/// Removes a directory and all in it, on its own file system and mount only.
pub(super) fn remove_tree(dir: &Path) -> Result<(), VolumeError> {
    let failed = |errno: Errno| match errno {
        Errno::XDEV | Errno::BUSY => VolumeError::Mounted(dir.to_owned()),
        errno => VolumeError::sys("remove", dir)(errno),
    };
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(VolumeError::Invalid(format!("{} cannot be removed", dir.display())));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::openat(CWD, parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(failed)?,
    };
    let top = match open_dir(parent.as_fd(), Path::new(name)) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(failed)?,
    };
    // Emptying moves deep directories up here, hence the rounds.
    while empty(top.as_fd(), top.as_fd(), 0).map_err(failed)? {}
    match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// Removes everything in `dir`; true if something was moved up to `top` and another round is due.
fn empty(dir: BorrowedFd<'_>, top: BorrowedFd<'_>, depth: u32) -> Result<bool, Errno> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut again = false;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            },
            known => known,
        };
        let outcome = if kind != FileType::Directory {
            unlinkat(dir, name, AtFlags::empty())
        } else if depth >= MAX_DEPTH {
            again = true;
            let moved = format!("..removing.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            renameat(dir, name, top, moved.as_str())
        } else {
            let path =
                Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name.to_bytes()));
            open_dir(dir, path).and_then(|child| {
                again |= empty(child.as_fd(), top, depth + 1)?;
                unlinkat(dir, name, AtFlags::REMOVEDIR)
            })
        };
        match outcome {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mount::{MountFlags, mount, mount_bind};

    #[test]
    fn a_tree_goes_with_links_and_great_depth() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("pod"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/f"), "x").unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a/link")).unwrap();
        let mut fd = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&fd, "deep-directory", Mode::RWXU).unwrap();
            fd = rustix::fs::openat(&fd, "deep-directory", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
                .unwrap();
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists() && outside.join("kept").exists());
        remove_tree(&root).unwrap();
    }

    #[test]
    fn nothing_is_deleted_across_a_mount() {
        let dir = tempfile::tempdir().unwrap();
        let (root, host) = (dir.path().join("pod"), dir.path().join("host"));
        for path in [root.join("bind"), root.join("tmpfs"), host.clone()] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(host.join("kept"), "x").unwrap();
        mount_bind(&host, root.join("bind")).unwrap();
        mount("tmpfs", root.join("tmpfs"), "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write(root.join("tmpfs/kept"), "x").unwrap();
        assert!(matches!(remove_tree(&root), Err(VolumeError::Mounted(_))));
        assert!(host.join("kept").exists() && root.join("tmpfs/kept").exists());
        take_down(&root).unwrap();
        assert!(host.join("kept").exists() && !root.exists());
        take_down(&root).unwrap();
    }

    #[test]
    fn pods_are_found_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("u1/volumes/kubernetes.io~empty-dir/cache")).unwrap();
        fs::create_dir_all(dir.path().join("u2")).unwrap();
        let found = reconstruct(dir.path()).unwrap();
        let volumes = vec![("kubernetes.io~empty-dir".to_owned(), "cache".to_owned())];
        assert_eq!(found[0], OnDisk { uid: "u1".into(), volumes, mounts: vec![] });
        assert_eq!(found[1].uid, "u2");
        assert!(reconstruct(&dir.path().join("none")).unwrap().is_empty());
    }
}
