//! Two network namespaces on a wire, without a default route (a gateway that accepts anything must not be able to
//! answer for a VIP), servers that say their own name and count whom they served, a client process in a cgroup of its
//! own, and the dataplane on that cgroup. Everything is removed on drop.

pub mod api;
pub mod client;
pub mod held;
pub mod objects;
pub mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use xebec_dataplane::{Capacity, Options};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A named network namespace.
pub struct NetNs {
    pub name: String,
}

impl NetNs {
    pub fn new(name: String) -> Self {
        run(&format!("ip netns add {name}"));
        run(&format!("ip -n {name} link set lo up"));
        Self { name }
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Moves the calling thread into a namespace.
pub fn enter(netns: &Path) {
    let file = std::fs::File::open(netns).unwrap();
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&file),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )
    .unwrap();
}

struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..50 {
            match std::fs::remove_dir(&self.0) {
                Ok(()) => return,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
            }
        }
        eprintln!("left behind: {}", self.0.display());
    }
}

struct BpfFs(tempfile::TempDir);

impl Drop for BpfFs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

pub struct Rig {
    // Dropped in this order: the programs go before the cgroup they are on.
    pins: Pins,
    pub client_ns: NetNs,
    pub server_ns: NetNs,
    cgroup: Cgroup,
    _bpffs: BpfFs,
    pub options: Options,
}

struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(e) = xebec_dataplane::detach(&self.0) {
            eprintln!("detach: {e}");
        }
    }
}

/// The object, or why these tests cannot run here.
pub fn object() -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    let built =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/bpfel-unknown-none/release/xebec");
    let given = std::env::var_os("XEBEC_BPF_OBJECT").map(PathBuf::from);
    let path = given.unwrap_or(built);
    if path.is_file() { Ok(path) } else { Err(format!("no eBPF object at {}", path.display())) }
}

impl Rig {
    /// `None`, with the reason printed, where the machine cannot run this.
    pub fn new() -> Option<Self> {
        let object = match object() {
            Ok(object) => object,
            Err(reason) => {
                eprintln!("SKIPPED: {reason}");
                return None;
            }
        };
        let id = format!("xdp{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (client_ns, server_ns) = (NetNs::new(format!("{id}c")), NetNs::new(format!("{id}s")));
        let (c, s) = (&client_ns.name, &server_ns.name);
        run(&format!("ip -n {c} link add wire type veth peer name wire netns {s}"));
        for (ns, v4, v6) in [(c, "10.99.0.1/24", "fd99::1/64"), (s, "10.99.0.2/24", "fd99::2/64")] {
            run(&format!("ip -n {ns} addr add {v4} dev wire"));
            run(&format!("ip -n {ns} addr add {v6} dev wire nodad"));
            run(&format!("ip -n {ns} link set wire up"));
        }
        // The servers' addresses; the VIPs have no route anywhere.
        run(&format!("ip -n {s} addr add 10.99.1.1/24 dev lo"));
        run(&format!("ip -n {s} addr add fd99:1::1/64 dev lo nodad"));
        for i in 2..8 {
            run(&format!("ip -n {s} addr add 10.99.1.{i}/24 dev lo"));
        }
        run(&format!("ip -n {c} route add 10.99.1.0/24 via 10.99.0.2"));
        run(&format!("ip -n {c} route add fd99:1::/64 via fd99::2"));
        let cgroup = Cgroup(xebec_dataplane::attach::root_cgroup().unwrap().join(&id));
        std::fs::create_dir(&cgroup.0).unwrap();
        let bpffs = BpfFs(tempfile::tempdir().unwrap());
        rustix::mount::mount("bpf", bpffs.0.path(), "bpf", rustix::mount::MountFlags::empty(), None).unwrap();
        let mut options = Options::new("node-a");
        options.cgroup_path = Some(cgroup.0.clone());
        options.bpf_object = Some(object);
        // The machine's own devices are no part of a test.
        options.devices = Some(Vec::new());
        options.pin_dir = bpffs.0.path().join("xebec");
        options.capacity =
            Capacity { frontends: 1024, services: 256, slots4: 4096, slots6: 1024, backends: 4096 };
        let pins = Pins(options.pin_dir.clone());
        Some(Self { pins, client_ns, server_ns, cgroup, _bpffs: bpffs, options })
    }

    pub fn cgroup(&self) -> &Path {
        &self.cgroup.0
    }

    pub fn pin_dir(&self) -> &Path {
        &self.pins.0
    }
}
