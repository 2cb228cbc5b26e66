//! Rotation of log files. Enters: sizes and names. Leaves: what to do (pure), and a rename. The caller then makes the
//! runtime reopen the file (ReopenContainerLog); until it has, the runtime writes to the renamed one.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// When files are rotated and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPolicy {
    /// Bytes at which a file is rotated.
    pub max_size: u64,
    /// Files per container, the one being written among them; at least 2.
    pub max_files: usize,
}

impl Default for RotationPolicy {
    /// 10 MiB and 5 files, as upstream.
    fn default() -> Self {
        Self { max_size: 10 << 20, max_files: 5 }
    }
}

/// True if a file of this size is to be rotated.
pub fn due(size: u64, policy: &RotationPolicy) -> bool {
    size >= policy.max_size
}

/// The name a log file is moved to: `0.log` becomes `0.log.20261020-183920`.
pub fn rotated_name(file_name: &str, now: Timestamp) -> String {
    format!("{file_name}.{}", now.strftime("%Y%m%d-%H%M%S"))
}

/// Which rotated files of a log to delete before rotating, oldest first, so that after it `max_files` are left.
pub fn excess<'n>(
    file_name: &str,
    present: impl IntoIterator<Item = &'n str>,
    policy: &RotationPolicy,
) -> Vec<&'n str> {
    let rotated = |name: &&str| {
        let stamp = name.strip_prefix(file_name).and_then(|rest| rest.strip_prefix('.'));
        stamp.is_some_and(|s| s.as_bytes().first().is_some_and(u8::is_ascii_digit))
    };
    let mut names: Vec<_> = present.into_iter().filter(rotated).collect();
    // The times in the names sort as text.
    names.sort_unstable();
    // One stays for the file about to be rotated, one for the new one.
    let keep = policy.max_files.saturating_sub(2);
    names.truncate(names.len().saturating_sub(keep));
    names
}

/// Deletes what is too much and renames the log; returns its new path. Follow with ReopenContainerLog, and on its
/// failure rename back.
pub fn rotate_file(log: &Path, now: Timestamp, policy: &RotationPolicy) -> io::Result<PathBuf> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let entries = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let present: Vec<String> = entries.collect();
    for old in excess(name, present.iter().map(String::as_str), policy) {
        std::fs::remove_file(dir.join(old))?;
    }
    let stamped = rotated_name(name, now);
    // Two rotations within a second must not overwrite each other; the suffix sorts after the bare time.
    let names = std::iter::once(stamped.clone()).chain((1..100).map(|n| format!("{stamped}.{n:02}")));
    let target = names.map(|name| dir.join(name)).find(|path| !path.exists());
    let target = target.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    std::fs::rename(log, &target)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        let policy = RotationPolicy::default();
        assert!(!due((10 << 20) - 1, &policy) && due(10 << 20, &policy));
        let at: Timestamp = "2026-10-20T18:39:20Z".parse().unwrap();
        assert_eq!(rotated_name("0.log", at), "0.log.20261020-183920");
        let present =
            ["0.log.20260105-000000", "0.log", "0.log.20260101-000000", "1.log.20260101-000000", "0.log.tmp"];
        assert!(excess("0.log", present, &policy).is_empty());
        let few = RotationPolicy { max_files: 3, ..policy };
        assert_eq!(excess("0.log", present, &few), ["0.log.20260101-000000"]);
        let two = RotationPolicy { max_files: 2, ..policy };
        assert_eq!(excess("0.log", present, &two).len(), 2);
    }

    #[test]
    fn five_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        for second in 0..9 {
            std::fs::write(&log, second.to_string()).unwrap();
            rotate_file(&log, Timestamp::from_second(second).unwrap(), &RotationPolicy::default()).unwrap();
        }
        std::fs::write(&log, "new").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5);
    }
}
