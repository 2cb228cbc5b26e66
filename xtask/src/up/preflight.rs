//! Looks before it changes anything. Enters: the machine. Leaves: one message with everything that is wrong.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::UpArgs;
use super::family::IpFamily;
use crate::packages;
use crate::process::Process;

/// Ports a node needs, and the component that holds them when it is ours.
const PORTS: [(u16, &str); 4] =
    [(6443, "xebec-control"), (10250, "xebec-agent"), (10256, "xebec-agent"), (10249, "xebec-agent")];

/// Those of them that a proxy needs.
const PROXY_PORTS: [u16; 2] = [10256, 10249];

/// Fails with every problem at once; nothing has been changed then.
pub(crate) fn check(args: &UpArgs) -> Result<()> {
    let mut problems = Vec::new();
    if !packages::is_root() {
        problems.push("a node needs root: run it as root (for example with sudo)".to_owned());
    }
    if !cfg!(target_arch = "x86_64") {
        problems.push("only x86_64 machines are supported".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        problems.push(
            "the kernel has no BTF (/sys/kernel/btf/vmlinux): a kernel with CONFIG_DEBUG_INFO_BTF is needed"
                .to_owned(),
        );
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if !mounts.contains(" - cgroup2 ") {
        problems.push("no cgroup2 is mounted: mount one, for example at /sys/fs/cgroup".to_owned());
    }
    if let Some(socket) = &args.cri_socket
        && !socket.exists()
    {
        problems.push(format!("--cri-socket {}: no such socket; give a running runtime's", socket.display()));
    }
    if let Err(problem) = IpFamily::chosen(args).and_then(|family| family.node_ips(&args.node_ip)) {
        problems.push(format!("{problem:#}"));
    }
    // Then they are the proxy's that takes the agent's place.
    let others = if args.agent_arg.iter().any(|arg| arg == "--no-proxy") { &PROXY_PORTS[..] } else { &[] };
    for (port, component) in PORTS.into_iter().filter(|(port, _)| !others.contains(port)) {
        if Process::of(component).is_none() && in_use(port) {
            problems
                .push(format!("TCP port {port} is in use and {component} needs it: stop what listens there"));
        }
    }
    if !problems.is_empty() {
        bail!("this machine cannot be a node yet, and nothing was changed:\n  - {}", problems.join("\n  - "));
    }
    Ok(())
}

/// Whether somebody listens at the port, on either family; a machine without IPv6 has nobody there.
fn in_use(port: u16) -> bool {
    let taken = |address: &str| {
        TcpListener::bind((address, port)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    taken("0.0.0.0") || taken("::")
}

/// The machine's host name as a node name (RFC 1123, lower case).
pub(crate) fn host_name() -> Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host name")?;
    let name = name.trim().to_lowercase();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.is_empty()
        || !name.chars().all(valid)
        || name.starts_with(['-', '.'])
        || name.ends_with(['-', '.'])
    {
        bail!("the host name {name:?} is not a valid node name: give one with --node-name");
    }
    Ok(name)
}
