//! Memory-backed directories. Enters: a path and a size. Leaves: a tmpfs mounted there, once.

use std::ffi::CString;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::VolumeError;
use super::mountinfo::is_mount_point;

/// Mounts a tmpfs at an existing directory unless one is there already. `size` is in bytes; `None` is the kernel's
/// default of half the memory. Swap is kept out where the kernel can (6.4).
pub(super) fn ensure(path: &Path, size: Option<i64>) -> Result<(), VolumeError> {
    if let Some(entry) = is_mount_point(path)? {
        if entry.fs_type == "tmpfs" {
            return Ok(());
        }
        return Err(VolumeError::Mounted(path.to_owned()));
    }
    let size = size.filter(|bytes| *bytes > 0).map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let attempt = |swap: &str| {
        let data = CString::new(format!("mode=0777{size}{swap}")).unwrap_or_default();
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), data.as_c_str())
    };
    match attempt(",noswap") {
        Err(Errno::INVAL | Errno::PERM) => attempt(""),
        other => other,
    }
    .map_err(VolumeError::sys("mount tmpfs", path))
}

/// Unmounts what is topmost at `path`. What is not mounted is no error.
pub(super) fn release(path: &Path) -> Result<(), VolumeError> {
    match unmount(path, UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(VolumeError::sys("unmount", path)(errno)),
    }
}
