//! Where one node's dataplane lives: a cgroup of its own to attach to, a bpf file system of its own to pin in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};
use xebec_dataplane::{Capacity, Options};

/// A node's cgroup, pins and the options that name them.
#[derive(Debug)]
pub struct Place {
    // Dropped in this order: the programs go before the cgroup they are on.
    pins: Pins,
    cgroup: Cgroup,
    _bpffs: BpfFs,
    /// How a dataplane of this node is installed: no devices, small maps.
    pub options: Options,
}

/// Room for a test's Services.
pub const SMALL: Capacity =
    Capacity { frontends: 1024, services: 256, slots4: 4096, slots6: 1024, backends: 4096, rows: 8192 };

#[derive(Debug)]
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Who lived there has ended; the kernel lets go of it a little later.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("left behind: {}", self.0.display());
    }
}

#[derive(Debug)]
struct BpfFs(tempfile::TempDir);

impl Drop for BpfFs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[derive(Debug)]
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(e) = xebec_dataplane::detach(&self.0) {
            eprintln!("detach: {e}");
        }
    }
}

/// The eBPF object.
///
/// # Errors
/// Why nothing that needs it can run here.
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

/// The eBPF object; `None`, with the reason printed, where the machine cannot run what needs it.
pub fn object_or_skip() -> Option<PathBuf> {
    object().map_err(|reason| eprintln!("SKIPPED: {reason}")).ok()
}

impl Place {
    /// A place for a node, by a name that is unique on this machine.
    pub fn new(id: &str, node: &str, object: PathBuf) -> Self {
        let cgroup = Cgroup(xebec_dataplane::attach::root_cgroup().unwrap().join(id));
        std::fs::create_dir(&cgroup.0).unwrap();
        let bpffs = BpfFs(tempfile::tempdir().unwrap());
        rustix::mount::mount("bpf", bpffs.0.path(), "bpf", MountFlags::empty(), None).unwrap();
        let mut options = Options::new(node);
        options.cgroup_path = Some(cgroup.0.clone());
        options.bpf_object = Some(object);
        // The machine's own devices are no part of a test.
        options.devices = Some(Vec::new());
        options.pin_dir = bpffs.0.path().join("xebec");
        options.capacity = SMALL;
        let pins = Pins(options.pin_dir.clone());
        Self { pins, cgroup, _bpffs: bpffs, options }
    }

    /// The cgroup whose processes the node's dataplane serves.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup.0
    }

    /// The base directory of the pins.
    pub fn pin_dir(&self) -> &Path {
        &self.pins.0
    }

    /// The directory of this layout's pins.
    pub fn pins(&self) -> PathBuf {
        xebec_dataplane::load::versioned(&self.pins.0)
    }
}
