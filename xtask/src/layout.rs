//! Where things are on the machine: one place, so that `up`, `down` and the tests agree.

use std::path::{Path, PathBuf};

/// The folders and files of an installed cluster.
pub(crate) struct Layout;

impl Layout {
    /// State that survives a restart.
    pub(crate) const STATE: &str = "/var/lib/xebec";
    /// Sockets and process ids.
    pub(crate) const RUN: &str = "/run/xebec";
    /// Configuration, PKI and kubeconfigs.
    pub(crate) const ETC: &str = "/etc/xebec";
    /// Pinned eBPF maps and links.
    pub(crate) const BPF: &str = "/sys/fs/bpf/xebec";
    /// The agent's pod folders.
    pub(crate) const PODS: &str = "/var/lib/kubelet/pods";
    /// Container logs, and the links to them.
    pub(crate) const LOGS: [&str; 2] = ["/var/log/pods", "/var/log/containers"];
    /// Where the kernel shows pinned objects.
    pub(crate) const BPF_MOUNT: &str = "/sys/fs/bpf";
    /// Exists when the agent had to mount it.
    pub(crate) const BPF_MOUNTED: &str = "/var/lib/xebec/mounted-bpf";
    /// The administrator's kubeconfig.
    pub(crate) const KUBECONFIG: &str = "/etc/xebec/admin.conf";

    /// Socket of the cluster's own containerd.
    pub(crate) fn containerd_socket() -> PathBuf {
        Path::new(Self::RUN).join("containerd/containerd.sock")
    }

    /// A component's log file.
    pub(crate) fn log(component: &str) -> PathBuf {
        Path::new(Self::STATE).join(format!("log/{component}.log"))
    }

    /// A component's pid file: `pid starttime`.
    pub(crate) fn pid_file(component: &str) -> PathBuf {
        Path::new(Self::RUN).join(format!("{component}.pid"))
    }
}
