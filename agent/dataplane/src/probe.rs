//! Whether the hooks really see this process, not only whether they are "attached" (a program on the wrong cgroup
//! is attached, too). Enters: the cgroup the programs are on. Leaves: [`Probe`]. Called by run after every attach.
//!
//! The probe is a frontend without endpoints at an address of TEST-NET-1: connecting a UDP socket sends nothing and
//! cannot be refused, except by our hook.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};

use crate::model::{PROBE_ADDRESS, PROBE_PORT};

/// What the probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The hook refused the connect, as it should.
    Working,
    /// This process is outside the cgroup the programs are on, so it cannot tell.
    Outside,
    /// The call was not seen by the hook: services do not work for this process, nor for its like.
    Unseen(String),
}

/// The cgroup of this process under the cgroup2 hierarchy, from the text of /proc/self/cgroup. PURE.
pub fn own_cgroup(text: &str, mount: &Path) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(mount.join(path.trim_start_matches('/')))
}

/// Tries the IPv4 hook and the v4-mapped path of the IPv6 hook from this process.
pub fn probe(cgroup: &Path, mount: &Path) -> Probe {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if !own_cgroup(&text, mount).is_some_and(|own| own.starts_with(cgroup)) {
        return Probe::Outside;
    }
    let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|s| s.connect((PROBE_ADDRESS, PROBE_PORT)));
    if let Some(problem) = judge("connect4", &v4) {
        return Probe::Unseen(problem);
    }
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        // A node with IPv6 turned off has no v4-mapped sockets either.
        Err(_) => Probe::Working,
        Ok(socket) => {
            let v6 = socket.connect((PROBE_ADDRESS.to_ipv6_mapped(), PROBE_PORT));
            judge("connect6", &v6).map_or(Probe::Working, Probe::Unseen)
        }
    }
}

fn judge(hook: &str, result: &io::Result<()>) -> Option<String> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => None,
        Err(e) => Some(format!("{hook}: {e} in place of the refusal")),
        Ok(()) => Some(format!("{hook}: not called")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cgroup_is_the_line_of_hierarchy_zero() {
        let text = "9:name=systemd:/x\n4:memory:/y\n0::/kubepods/pod1\n";
        assert_eq!(
            own_cgroup(text, Path::new("/sys/fs/cgroup")),
            Some("/sys/fs/cgroup/kubepods/pod1".into())
        );
        assert_eq!(own_cgroup("4:memory:/y\n", Path::new("/c")), None);
        assert_eq!(own_cgroup("0::/\n", Path::new("/c")), Some("/c/".into()));
    }

    #[test]
    fn only_a_refusal_counts() {
        assert_eq!(judge("h", &Err(io::ErrorKind::ConnectionRefused.into())), None);
        assert!(judge("h", &Err(io::ErrorKind::NetworkUnreachable.into())).is_some());
        assert!(judge("h", &Ok(())).is_some());
    }
}
