//! Processes of pods, seen from the host. Enters: a pod's UID and a command name. Leaves: its process id.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The host's process id of a program in the pod with this UID; one of these names, as `/proc/<pid>/comm` has them.
///
/// # Errors
/// There is none: the pod does not run on this machine, or not now.
pub fn pod_process(uid: &str, names: &[&str]) -> Result<i32> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end while we look: then it is not the one.
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if names.contains(&name.trim()) && in_pod(&cgroup, uid) {
            return Ok(pid);
        }
    }
    anyhow::bail!("no process of {names:?} in a cgroup of pod {uid}")
}

/// The cgroupfs driver writes the UID as it is, the systemd driver with underscores.
fn in_pod(cgroup: &str, uid: &str) -> bool {
    cgroup.contains(&format!("pod{uid}")) || cgroup.contains(&format!("pod{}", uid.replace('-', "_")))
}

/// SIGKILL.
///
/// # Errors
/// No such process.
pub fn kill(pid: i32) -> Result<()> {
    let id = Pid::from_raw(pid).with_context(|| format!("{pid} is not a process id"))?;
    kill_process(id, Signal::KILL).with_context(|| format!("cannot kill {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_known_by_its_cgroup_under_both_drivers() {
        let uid = "0a1b-2c";
        assert!(in_pod("12:cpu:/kubepods/besteffort/pod0a1b-2c/abc\n0::/x", uid));
        assert!(in_pod("0::/kubepods.slice/kubepods-pod0a1b_2c.slice/cri-abc.scope", uid));
        assert!(!in_pod("0::/kubepods/pod0a1b-2d/abc", uid));
        pod_process("no-such-uid", &["init"]).unwrap_err();
    }
}
