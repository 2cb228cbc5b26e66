//! What is amiss on this node, and what to do about it. Enters: the node, the pins, what the API and a running proxy say.
//! Leaves: a list of checks. Nothing is changed.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde::Serialize;
use xebec_abi::LAYOUT_VERSION;

use super::compare::Difference;
use super::others::{ipvs, kube_proxy};
use crate::addresses::{ethernet_devices, outside_devices};
use crate::attach::{resolve_cgroup, root_cgroup};
use crate::load::{PROGRAMS, versioned};
use crate::metrics::Running;
use crate::sys;
use crate::upgrade::others;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but not all of it or not for ever.
    Warn,
    /// Virtual IPs do not work, or soon will not.
    Fail,
    /// It could not be looked at.
    Unknown,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do; empty if nothing.
    pub advice: String,
}

impl Check {
    pub(super) fn new(name: &'static str, state: State, found: impl Into<String>, advice: &str) -> Self {
        let advice = if state == State::Ok { "" } else { advice };
        Self { name, state, found: found.into(), advice: advice.to_owned() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "WARN",
            State::Fail => "FAIL",
            State::Unknown => "?",
        };
        write!(f, "{state:<5} {:<22} {}", self.name, self.found)?;
        if !self.advice.is_empty() {
            write!(f, "\n{:28} do: {}", "", self.advice)?;
        }
        Ok(())
    }
}

/// Looks at the node and at the pins; `cgroup` is where the programs should be, the root of the hierarchy if absent.
pub fn doctor(pin_dir: &Path, cgroup: Option<&Path>) -> Vec<Check> {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
    let mut checks = vec![
        kernel(&read("/proc/sys/kernel/osrelease").unwrap_or_default()),
        rights(),
        btf(),
        bpffs(pin_dir),
        layouts(pin_dir),
    ];
    let cgroup = cgroup.map_or_else(root_cgroup, resolve_cgroup);
    match cgroup {
        Ok(cgroup) => {
            checks.push(Check::new("cgroup2", State::Ok, cgroup.display().to_string(), ""));
            checks.push(hooks(pin_dir, &cgroup));
            checks.push(foreign_programs(pin_dir, &cgroup));
        }
        Err(error) => checks.push(Check::new(
            "cgroup2",
            State::Fail,
            xebec_program::chain(&error),
            "mount one: mount -t cgroup2 none /sys/fs/cgroup/unified; in a container, mount the node's and give --bpf-cgroup",
        )),
    }
    checks.push(devices(pin_dir));
    checks.push(other_devices());
    checks.push(switch(
        "forwarding",
        read("/proc/sys/net/ipv4/ip_forward"),
        |text| text == "1",
        "sysctl net.ipv4.ip_forward=1: without it no packet from outside reaches a pod",
    ));
    checks.push(switch(
        "reserved ports",
        crate::reserved::present(),
        crate::reserved::has_blocks,
        &format!(
            "sysctl net.ipv4.ip_local_reserved_ports must have {}, the ports of translated sources; the proxy writes it \
             where it may",
            crate::reserved::blocks()
        ),
    ));
    checks.extend(direct(read));
    checks.push(kube_proxy());
    checks.push(ipvs(read("/proc/net/ip_vs")));
    checks
}

/// Whether packets that other nodes send on get to this node's endpoints; nothing to look at without such a device.
fn direct(read: impl Fn(&str) -> io::Result<String>) -> Option<Check> {
    // Both are of the network namespace of who asks, the names of devices among them.
    let own = read(&format!("/proc/sys/net/ipv4/conf/{}/rp_filter", crate::tunnel::device::NAME)).ok()?;
    let strict = |text: &str| text.trim() == "1";
    let all = read("/proc/sys/net/ipv4/conf/all/rp_filter").unwrap_or_default();
    let found =
        format!("rp_filter {} on {}, {} for all", own.trim(), crate::tunnel::device::NAME, all.trim());
    let state = if strict(&own) || strict(&all) { State::Fail } else { State::Ok };
    let advice = "sysctl net.ipv4.conf.all.rp_filter=0 (or 2): clients of direct server return come by another device \
                  than the one their answers leave by";
    Some(Check::new("direct server return", state, found, advice))
}

/// The version's first two numbers. PURE.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn kernel(release: &str) -> Check {
    let (state, advice) = match version(release) {
        Some(found) if found < (5, 18) => {
            (State::Fail, "the socket programs need Linux 5.18 (bpf_set_retval); take a newer kernel")
        }
        Some(found) if found < (6, 6) => (
            State::Warn,
            "Services from outside the node need Linux 6.6 (tcx); those from pods and the node work",
        ),
        Some(_) => (State::Ok, ""),
        None => (State::Unknown, "compare `uname -r` with 6.6"),
    };
    Check::new("kernel", state, format!("Linux {release}"), advice)
}

fn rights() -> Check {
    let root = rustix::process::geteuid().is_root();
    let state = if root { State::Ok } else { State::Fail };
    Check::new(
        "rights",
        state,
        if root { "root" } else { "not root" },
        "run as root: bpf(2) is refused otherwise",
    )
}

fn btf() -> Check {
    let there = Path::new("/sys/kernel/btf/vmlinux").exists();
    let (state, found) = if there { (State::Ok, "/sys/kernel/btf/vmlinux") } else { (State::Fail, "absent") };
    Check::new("BTF", state, found, "take a kernel with CONFIG_DEBUG_INFO_BTF=y: socket storage needs it")
}

fn bpffs(pin_dir: &Path) -> Check {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let existing = pin_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let is_bpf = rustix::fs::statfs(existing).is_ok_and(|fs| fs.f_type as u64 == BPF_FS_MAGIC);
    let state = match (is_bpf, pin_dir.starts_with("/sys/fs/bpf")) {
        (true, _) => State::Ok,
        // The proxy mounts it there by itself, unless it is in a container.
        (false, true) => State::Warn,
        (false, false) => State::Fail,
    };
    let found = format!("{} is {}on a bpf file system", existing.display(), if is_bpf { "" } else { "not " });
    Check::new(
        "bpf file system",
        state,
        found,
        "mount -t bpf bpf /sys/fs/bpf; in a pod, mount the node's by hostPath",
    )
}

const NOT_INSTALLED: &str = "start `xebec-agent proxy` or `xebec-agent run`: no dataplane is installed there";

fn layouts(pin_dir: &Path) -> Check {
    use std::os::unix::fs::MetadataExt;
    let name = "pins";
    let metadata = match std::fs::metadata(pin_dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::new(name, State::Fail, format!("no {}", pin_dir.display()), NOT_INSTALLED);
        }
        Err(error) => return Check::new(name, State::Unknown, error.to_string(), "run as root"),
    };
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let found = format!("{} belongs to user {}", pin_dir.display(), metadata.uid());
        return Check::new(
            name,
            State::Fail,
            found,
            "find out who made it; `xebec-agent proxy --cleanup` removes it",
        );
    }
    let own = versioned(pin_dir);
    let others = others(pin_dir).unwrap_or_default();
    let others: Vec<String> = others.iter().map(|layout| layout.dir.display().to_string()).collect();
    match (own.exists(), others.as_slice()) {
        (true, []) => Check::new(name, State::Ok, own.display().to_string(), ""),
        (true, _) => Check::new(
            name,
            State::Warn,
            format!("beside {} there is {}", own.display(), others.join(", ")),
            "start this version's agent: it takes over what another left; until then the other's programs may be on their hooks",
        ),
        (false, []) => Check::new(name, State::Fail, format!("none in {}", pin_dir.display()), NOT_INSTALLED),
        (false, _) => Check::new(
            name,
            State::Fail,
            format!("only of another layout than {LAYOUT_VERSION}: {}", others.join(", ")),
            "use the xebec-agent of the version that runs here, or start this version's, which takes over",
        ),
    }
}

fn hooks(pin_dir: &Path, cgroup: &Path) -> Check {
    use std::os::unix::fs::MetadataExt;
    let id = std::fs::metadata(cgroup).map(|metadata| metadata.ino()).unwrap_or(0);
    let mut missing = Vec::new();
    for name in PROGRAMS {
        let info = sys::open_pin(&versioned(pin_dir).join("links").join(name))
            .and_then(|link| sys::link_info(link.as_fd()));
        match info {
            Ok(info) if info.cgroup == id => {}
            Ok(info) if info.cgroup == 0 => missing.push(format!("{name}: its cgroup is gone")),
            Ok(info) => missing.push(format!("{name}: on cgroup {}, not {id}", info.cgroup)),
            Err(error) => missing.push(format!("{name}: {error}")),
        }
    }
    let advice = "start the proxy again: it puts each program on its hook; give it --bpf-cgroup if it is to be another";
    if missing.is_empty() {
        Check::new(
            "socket programs",
            State::Ok,
            format!("all {} on {}", PROGRAMS.len(), cgroup.display()),
            "",
        )
    } else {
        Check::new("socket programs", State::Fail, missing.join("; "), advice)
    }
}

fn foreign_programs(pin_dir: &Path, cgroup: &Path) -> Check {
    const CONNECT4: u32 = 10;
    let name = "foreign programs";
    let ours = sys::open_pin(&versioned(pin_dir).join("links/connect4"))
        .and_then(|link| sys::link_info(link.as_fd()))
        .map_or(0, |info| info.program);
    let found = std::fs::File::open(cgroup).and_then(|file| sys::cgroup_programs(file.as_fd(), CONNECT4));
    match found {
        Ok(ids) => {
            let others: Vec<String> = ids.iter().filter(|id| **id != ours).map(ToString::to_string).collect();
            if others.is_empty() {
                return Check::new(name, State::Ok, "none beside ours at connect4", "");
            }
            let advice = "another service proxy (Cilium's?) translates the same calls; turn one of them off: \
                          `bpftool cgroup tree` names them";
            Check::new(name, State::Warn, format!("at connect4, too: {}", others.join(", ")), advice)
        }
        Err(error) => Check::new(name, State::Unknown, error.to_string(), "run as root"),
    }
}

fn devices(pin_dir: &Path) -> Check {
    let name = "packet programs";
    let found = match outside_devices() {
        Ok(found) => found,
        Err(error) => return Check::new(name, State::Unknown, error.to_string(), "run as root"),
    };
    let links = versioned(pin_dir).join("links");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for (index, device) in &found {
        let both = ["tcx_egress", "tcx_ingress"].iter().all(|program| {
            let link = sys::open_pin(&links.join(format!("{program}-{index}")));
            link.and_then(|link| sys::link_info(link.as_fd())).is_ok_and(|i| i.device() == Some(*index))
        });
        if both { with.push(device.name.clone()) } else { without.push(device.name.clone()) }
    }
    with.sort_unstable();
    without.sort_unstable();
    if without.is_empty() {
        return Check::new(name, State::Ok, format!("on {}", with.join(", ")), "");
    }
    let advice = "Services are not reachable from outside by these; the proxy's log says why (tcx needs Linux 6.6), \
                  unless --bpf-devices leaves them out";
    Check::new(name, State::Warn, format!("not on {}", without.join(", ")), advice)
}

/// Devices without an Ethernet header, such as tunnels of IP in IP and WireGuard, which the packet programs cannot read.
fn other_devices() -> Check {
    let known = ethernet_devices().unwrap_or_default();
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    let others: Vec<&str> =
        names.filter(|name| *name != "lo" && !known.iter().any(|device| device.name == *name)).collect();
    if others.is_empty() {
        return Check::new("other devices", State::Ok, "none without an Ethernet header", "");
    }
    let advice = "if pods of other nodes are behind one of them, node ports here do not reach those pods: use \
                  externalTrafficPolicy Local, or VXLAN in place of IP in IP";
    Check::new("other devices", State::Warn, format!("no Ethernet: {}", others.join(", ")), advice)
}

fn switch(name: &'static str, text: io::Result<String>, good: impl Fn(&str) -> bool, advice: &str) -> Check {
    match text {
        Ok(text) if good(&text) => Check::new(name, State::Ok, text, ""),
        Ok(text) => Check::new(name, State::Warn, format!("{text:?}"), advice),
        Err(error) => Check::new(name, State::Unknown, error.to_string(), advice),
    }
}

/// What a running proxy says of itself.
pub fn from_running(running: Option<&Running>, address: &str) -> Check {
    let name = "running proxy";
    let Some(running) = running else {
        let found = format!("none at {address}");
        let advice =
            "start it, or say with --agent where its metrics are; what is in the kernel serves on meanwhile";
        return Check::new(name, State::Fail, found, advice);
    };
    let own = env!("CARGO_PKG_VERSION");
    let sync = running.last_sync.as_deref().unwrap_or("never");
    let found = format!("version {}, node {}, last sync {sync}", running.version, running.node);
    if running.behind {
        let advice =
            "its log says what does not fit; raise --bpf-max-endpoints after `xebec-agent proxy --cleanup`";
        return Check::new(name, State::Fail, format!("{found}, behind"), advice);
    }
    if running.last_sync.is_none() {
        let advice = "it has not seen all Services and EndpointSlices yet: look at its log for the API server's answers";
        return Check::new(name, State::Fail, found, advice);
    }
    if let Some(why) = &running.sctp.failure {
        let advice = "install nft (the package nftables, 1.0.1 or later) where the proxy runs, or give the kernel what nft misses; other protocols are served";
        return Check::new(name, State::Fail, format!("{found}, SCTP is not served: {why}"), advice);
    }
    let state = if running.version == own { State::Ok } else { State::Warn };
    Check::new(name, state, found, &format!("this command is version {own}: use the proxy's own"))
}

/// Whether the maps say what the API says.
pub fn from_api(difference: &Difference) -> Check {
    let (writes, full) = (difference.writes.len(), &difference.full);
    if writes == 0 && full.is_empty() {
        return Check::new("maps against the API", State::Ok, "the same", "");
    }
    let mut found = format!("{writes} map writes are missing");
    for text in full.iter().take(3) {
        found.push_str("; ");
        found.push_str(text);
    }
    let advice = "ask again: a change may be on its way; if it stays, look at the proxy's log and restart it";
    Check::new("maps against the API", State::Fail, found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_judged_by_what_they_lack() {
        for (release, state) in [
            ("5.15.0-91-generic", State::Fail),
            ("5.18.0", State::Warn),
            ("6.1.0-13-amd64", State::Warn),
            ("6.6.1", State::Ok),
            ("6.18.44-fc", State::Ok),
            ("what", State::Unknown),
        ] {
            assert_eq!(kernel(release).state, state, "{release}");
        }
    }

    #[test]
    fn every_failure_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let mut checks = doctor(&dir.path().join("none"), None);
        checks.push(from_running(None, "127.0.0.1:10249"));
        checks.push(from_api(&Difference { writes: Vec::new(), full: vec!["x does not fit".to_owned()] }));
        let state = |name: &str| checks.iter().find(|check| check.name == name).map(|check| check.state);
        assert_eq!(state("pins"), Some(State::Fail));
        assert_eq!(state("maps against the API"), Some(State::Fail));
        for check in &checks {
            assert_eq!(check.advice.is_empty(), check.state == State::Ok, "{check}");
        }
    }
}
