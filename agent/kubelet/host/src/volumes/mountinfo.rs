//! The mount table. Enters: `/proc/self/mountinfo`. Leaves: mount points with their file system (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::VolumeError;

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// The directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The file system's type.
    pub fs_type: String,
    /// What was mounted: a device, or a name such as `tmpfs`.
    pub source: String,
    /// The super block's options.
    pub super_options: String,
}

/// Undoes the octal escapes of the mount table.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal =
            bytes.get(at + 1..at + 4).filter(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match (bytes[at], octal) {
            (b'\\', Some(digits)) => {
                out.push(
                    digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// Reads the text of a mount table; lines that make no sense are left out.
pub fn parse_mount_table(text: &str) -> Vec<MountEntry> {
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (unescape(left.next()?), unescape(left.next()?));
        let mut right = right.split(' ');
        Some(MountEntry {
            root,
            point,
            fs_type: right.next()?.to_owned(),
            source: right.next().unwrap_or_default().to_owned(),
            super_options: right.next().unwrap_or_default().to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// The mount table of this process's mount namespace.
pub fn mount_table() -> std::io::Result<Vec<MountEntry>> {
    let bytes = std::fs::read("/proc/self/mountinfo")?;
    Ok(parse_mount_table(&String::from_utf8_lossy(&bytes)))
}

/// The mount points at or below a directory, deepest (and of those on top of each other, the topmost) first.
pub(super) fn mounts_below(dir: &Path) -> Result<Vec<MountEntry>, VolumeError> {
    let table = mount_table().map_err(VolumeError::io("read mount table", "/proc/self/mountinfo"))?;
    let mut below: Vec<_> = table.into_iter().filter(|entry| entry.point.starts_with(dir)).collect();
    below.reverse();
    below.sort_by_key(|entry| std::cmp::Reverse(entry.point.components().count()));
    Ok(below)
}

/// True if something is mounted exactly at `path`.
pub(super) fn is_mount_point(path: &Path) -> Result<Option<MountEntry>, VolumeError> {
    let table = mount_table().map_err(VolumeError::io("read mount table", "/proc/self/mountinfo"))?;
    Ok(table.into_iter().rev().find(|entry| entry.point == path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_escapes_and_optional_fields() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
                    31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\nnonsense\n";
        let table = parse_mount_table(text);
        assert_eq!(table.len(), 2);
        assert_eq!(table[0].root, Path::new("/mnt1"));
        assert_eq!(table[0].point, Path::new("/mnt 2"));
        assert_eq!((table[0].fs_type.as_str(), table[0].source.as_str()), ("ext3", "/dev/root"));
        assert_eq!(table[1].super_options, "rw,mode=755");
    }

    #[test]
    fn the_real_table_has_the_root() {
        assert!(mount_table().unwrap().iter().any(|entry| entry.point == Path::new("/")));
    }
}
