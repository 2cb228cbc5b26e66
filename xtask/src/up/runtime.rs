//! The cluster's own containerd, and the images in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Plan;
use crate::layout::Layout;
use crate::process::{Process, log_tail};
use crate::{image, shell};

/// Starts containerd with a root, state and socket of its own, unless it runs or another runtime was given.
pub(crate) fn start(plan: &Plan) -> Result<()> {
    for folder in [Layout::RUN, Layout::STATE, Layout::ETC] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
    }
    fs::create_dir_all(Path::new(Layout::STATE).join("log"))?;
    remember_bpf_mount()?;
    install_cni(plan)?;
    if !plan.own_runtime || Process::of("containerd").is_some() {
        return Ok(());
    }
    let config = Path::new(Layout::STATE).join("containerd.toml");
    fs::write(&config, configuration())?;
    let process = Process::spawn(
        "containerd",
        Command::new("containerd").arg("--config").arg(&config).args(["--log-level", "warn"]),
    )?;
    shell::wait_for("containerd answers", Duration::from_secs(30), || {
        anyhow::ensure!(process.alive(), "containerd ended:\n    {}", log_tail("containerd"));
        Ok(shell::output(ctr(plan).arg("version")).ok())
    })?;
    Ok(())
}

/// The agent mounts the bpf file system where it is missing: `down` then takes it away again.
fn remember_bpf_mount() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    if !mounts.lines().any(|line| line.split_whitespace().nth(1) == Some(Layout::BPF_MOUNT)) {
        fs::write(Layout::BPF_MOUNTED, "")?;
    }
    Ok(())
}

/// The CNI plugin is replaced by rename: a running one keeps its file.
fn install_cni(plan: &Plan) -> Result<()> {
    let folder = Path::new(Layout::STATE).join("cni/bin");
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(Path::new(Layout::ETC).join("cni/net.d"))?;
    // containerd asks for a plugin named `loopback` too; ours serves both.
    for name in ["xebec-cni", "loopback"] {
        let fresh = folder.join(format!("{name}.new"));
        fs::copy(&plan.programs.cni, &fresh).context("cannot install the CNI plugin")?;
        fs::rename(&fresh, folder.join(name))?;
    }
    Ok(())
}

/// containerd's configuration, version 2 (1.6 and later read it).
fn configuration() -> String {
    let (state, run, etc) = (Layout::STATE, Layout::RUN, Layout::ETC);
    let socket = Layout::containerd_socket();
    // Lowering a process's oom_score_adj needs CAP_SYS_RESOURCE (bit 24); without it runc fails in its child.
    let restrict = !has_capability(24);
    format!(
        r#"version = 2
root = "{state}/containerd"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = {restrict}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{state}/cni/bin"
    conf_dir = "{etc}/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
        socket = socket.display(),
        pause = image::PAUSE,
    )
}

fn has_capability(bit: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}

/// Imports the archives into the namespace that the CRI uses.
pub(crate) fn import(plan: &Plan, archives: &[PathBuf]) -> Result<()> {
    for archive in archives {
        shell::output(ctr(plan).args(["images", "import"]).arg(archive))?;
    }
    Ok(())
}

/// containerd's own client on the plan's socket.
pub(crate) fn ctr(plan: &Plan) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(&plan.cri_socket).args(["--namespace", "k8s.io"]);
    command
}
