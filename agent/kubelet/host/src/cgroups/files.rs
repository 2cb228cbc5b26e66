//! cgroupfs as files. Enters: a directory and values. Leaves: the kernel told. A controller's missing file means that
//! the kernel has not got the feature: skipped where the caller says so.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::CgroupError;

/// Writes a value unless it is there already.
pub(super) fn set(dir: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = dir.join(file);
    if fs::read_to_string(&path).is_ok_and(|held| held.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(CgroupError::io("write", path))
}

/// As [`set`], but a file the kernel has not got is no error.
pub(super) fn set_if_there(dir: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    if dir.join(file).exists() { set(dir, file, value) } else { Ok(()) }
}

/// Makes a cgroup and those above it, from the mount point down; `each` prepares every level.
pub(super) fn make(
    mount: &Path,
    cgroup: &str,
    mut each: impl FnMut(&Path, &Path) -> Result<(), CgroupError>,
) -> Result<(), CgroupError> {
    let mut dir = mount.to_path_buf();
    for part in cgroup.split('/').filter(|part| !part.is_empty()) {
        let parent = dir.clone();
        dir.push(part);
        match fs::create_dir(&dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(CgroupError::io("create", &dir)(e)),
            _ => {}
        }
        each(&parent, &dir)?;
    }
    Ok(())
}

/// A v1 cpuset starts empty, and an empty one takes no process: it gets its parent's.
pub(super) fn inherit_cpuset(parent: &Path, dir: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let held = fs::read_to_string(dir.join(file)).unwrap_or_default();
        if held.trim().is_empty() {
            let above =
                fs::read_to_string(parent.join(file)).map_err(CgroupError::io("read", parent.join(file)))?;
            set(dir, file, above.trim())?;
        }
    }
    Ok(())
}

/// Lets the children of a v2 cgroup use every controller it has.
pub(super) fn delegate(dir: &Path) -> Result<(), CgroupError> {
    let words = |file: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    let (has, gives) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    for controller in has.difference(&gives) {
        let path = dir.join("cgroup.subtree_control");
        // A root with processes of its own refuses some controllers; what matters fails when its value is set.
        if let Err(error) = fs::write(&path, format!("+{controller}")) {
            tracing::debug!(path = %path.display(), controller, %error, "controller not delegated");
        }
    }
    Ok(())
}

/// The cgroups at and below a directory, deepest first.
pub(super) fn subtree(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![dir.to_path_buf()];
    let mut at = 0;
    while at < all.len() {
        let entries = fs::read_dir(&all[at]).into_iter().flatten().flatten();
        let dirs: Vec<_> =
            entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
        all.extend(dirs);
        at += 1;
    }
    all.reverse();
    all
}

/// The processes of one cgroup.
pub(super) fn processes(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Kills whatever is in a cgroup and those below it.
pub(super) fn kill_all(dir: &Path) {
    if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for cgroup in subtree(dir) {
        for pid in processes(&cgroup).into_iter().filter_map(Pid::from_raw) {
            if let Err(errno) = kill_process(pid, Signal::KILL) {
                tracing::debug!(pid = pid.as_raw_nonzero().get(), %errno, "leftover process not killed");
            }
        }
    }
}

/// Removes a cgroup and those below it, killing what is left; tries for about two seconds.
pub(super) async fn remove(dir: &Path) -> Result<(), CgroupError> {
    let mut pause = Duration::from_millis(2);
    for _ in 0..10 {
        let mut failed = None;
        for cgroup in subtree(dir) {
            match fs::remove_dir(&cgroup) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => failed = Some(e),
            }
        }
        match failed {
            None => return Ok(()),
            Some(e) if e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => kill_all(dir),
            Some(e) => return Err(CgroupError::io("remove", dir)(e)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
    Err(CgroupError::Busy(dir.to_path_buf()))
}
