//! `cargo xtask down`: removes what `up` made. Enters: pid files and the layout. Leaves: the machine as it was.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::build::{self, Profile};
use crate::layout::Layout;
use crate::process::Process;
use crate::progress::Steps;
use crate::shell;
use crate::up::family::IpFamily;

/// Options of `down`.
#[derive(clap::Args)]
pub(crate) struct DownArgs {
    /// Delete the cluster's state, certificates and logs as well; without it `up` continues where it was.
    #[arg(long)]
    pub(crate) purge: bool,
}

/// `cargo xtask down`.
pub(crate) fn run(args: &DownArgs) -> Result<()> {
    let mut steps = Steps::new(4);
    steps.step("Stopping the agent and the control plane", || {
        stop("xebec-agent")?;
        stop("xebec-control")?;
        stop("etcd")
    })?;
    steps.step("Removing pods, network, cgroups and eBPF objects", reset)?;
    steps.step("Stopping the container runtime", || {
        stop("containerd")?;
        stop_shims()
    })?;
    steps.step("Unmounting and removing folders", || {
        unmount_below(&[Layout::RUN, Layout::STATE, Layout::PODS])?;
        unmount_bpf()?;
        remove(Layout::RUN)?;
        if args.purge {
            [Layout::STATE, Layout::ETC, Layout::PODS]
                .into_iter()
                .chain(Layout::LOGS)
                .try_for_each(remove)?;
        }
        Ok(())
    })?;
    println!("\nnothing of the cluster is left running");
    if !args.purge && Path::new(Layout::STATE).exists() {
        println!(
            "its state is kept in {} and {}: `cargo xtask up` continues it, `cargo xtask down --purge` deletes it",
            Layout::STATE,
            Layout::ETC
        );
    }
    Ok(())
}

fn stop(component: &str) -> Result<()> {
    if let Some(process) = Process::of(component) {
        process.stop(Duration::from_secs(15)).with_context(|| format!("stopping {component}"))?;
    }
    match fs::remove_file(Layout::pid_file(component)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The agent knows what it made on the node: it removes it, through the runtime while that still runs.
fn reset() -> Result<()> {
    let Some(agent) =
        [Profile::Dev, Profile::Release].into_iter().find_map(|p| build::prebuilt(p).ok()).map(|p| p.agent)
    else {
        println!("      the agent is not built here, so nothing of a node can be left by it");
        return Ok(());
    };
    let mut command = Command::new(agent);
    // Of every family: what is not there is no error.
    command.args(["reset", "--bpf-pin-dir", Layout::BPF, "--cluster-dns", &IpFamily::Dual.dns()]);
    if Process::of("containerd").is_some() {
        command.arg("--container-runtime-endpoint").arg(Layout::containerd_socket());
    }
    print!("{}", shell::output(&mut command)?);
    Ok(())
}

/// Shims outlive containerd by design. Ours are those that were started with our socket's address.
fn stop_shims() -> Result<()> {
    let socket = Layout::containerd_socket();
    let address = socket.to_string_lossy();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.contains("containerd-shim") && line.split('\0').any(|word| word == address) {
            shell::output(Command::new("kill").args(["-9", &pid.to_string()])).ok();
        }
    }
    Ok(())
}

/// Unmounts everything below these folders, the deepest first.
fn unmount_below(folders: &[&str]) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<_> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(4))
        .filter(|point| folders.iter().any(|folder| point.starts_with(&format!("{folder}/"))))
        .map(str::to_owned)
        .collect();
    points.sort_unstable();
    for point in points.iter().rev() {
        shell::output(Command::new("umount").args(["--lazy", point]))?;
    }
    Ok(())
}

/// What the kernel itself puts into a fresh bpf file system.
const KERNELS_OWN: [&str; 2] = ["maps.debug", "progs.debug"];

/// Unmounts the bpf file system if the cluster brought it and nobody else has pinned anything since.
fn unmount_bpf() -> Result<()> {
    if !Path::new(Layout::BPF_MOUNTED).exists() {
        return Ok(());
    }
    let mut names = fs::read_dir(Layout::BPF_MOUNT)?.flatten().map(|entry| entry.file_name());
    if names.all(|name| KERNELS_OWN.iter().any(|own| name == *own)) {
        shell::output(Command::new("umount").arg(Layout::BPF_MOUNT))?;
    }
    Ok(fs::remove_file(Layout::BPF_MOUNTED)?)
}

fn remove(folder: &str) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {folder}"))
        }
        _ => Ok(()),
    }
}
