//! Looks before it changes anything. Enters: the machine. Leaves: one message with everything that is wrong.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::UpArgs;
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
    // Then they are the proxy's that takes the agent's place.
    let others = if args.agent_arg.iter().any(|arg| arg == "--no-proxy") { &PROXY_PORTS[..] } else { &[] };
    for (port, component) in PORTS.into_iter().filter(|(port, _)| !others.contains(port)) {
        if Process::of(component).is_none() && TcpListener::bind(("0.0.0.0", port)).is_err() {
            problems
                .push(format!("TCP port {port} is in use and {component} needs it: stop what listens there"));
        }
    }
    if !problems.is_empty() {
        bail!("this machine cannot be a node yet, and nothing was changed:\n  - {}", problems.join("\n  - "));
    }
    Ok(())
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

/// The address that packets to the outside leave from; connecting a UDP socket sends nothing.
pub(crate) fn host_address() -> Result<String> {
    let outside = || -> std::io::Result<String> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        Ok(socket.local_addr()?.ip().to_string())
    };
    outside().context("this machine has no default route, so its address is unclear: give one with --node-ip")
}
