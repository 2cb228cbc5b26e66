//! The service dataplane: Services and EndpointSlices of the API to virtual IPs in the kernel.
//!
//! Follow one Service: `world` (the API's events, as facts) -> `compile` (PURE: facts to service ports) -> `diff`
//! (PURE: service ports to map writes, safe after every single one) -> `maps` (the kernel's memory) -> the programs
//! of `dataplane-ebpf`, which `load` and `attach` put on the cgroup hooks. Called by the agent: [`run`], [`explain`],
//! [`detach`], [`detach_services`].
//!
//! Maps and links are pinned: killing this process breaks no connection and no new connect, and the next process
//! takes over without a gap, if it is of another version with another layout of the maps, too (`upgrade`).

pub mod addresses;
pub mod apply;
pub mod attach;
pub mod compile;
mod detach;
pub mod devices;
pub mod diff;
pub mod drain;
pub mod driver;
mod endpoints;
pub mod events;
mod explain;
pub mod failures;
pub mod health;
pub mod hostports;
pub mod inspect;
mod install;
pub mod load;
pub mod maps;
pub mod metrics;
pub mod model;
mod namespaces;
pub mod node;
pub mod packet_pods;
mod passes;
pub mod pods;
pub mod policy;
pub mod probe;
mod proglog;
pub mod ranges;
mod refresh;
pub mod reserved;
mod run;
pub mod sctp;
pub mod sources;
mod sys;
mod told;
pub mod tunnel;
mod upgrade;
pub mod world;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub use detach::{detach, detach_services};
pub use explain::{Endpoint, Explanation, explain};
pub use hostports::{HostPort, HostPorts, PodPorts};
pub use install::install;
pub use maps::Capacity;
pub use metrics::MoreMetrics;
pub use model::{Protocol, SourceRange};
pub use node::{NodePorts, PodRanges};
pub use packet_pods::{PacketPod, PacketPods};
pub use run::run;

/// Where pins are, unless told otherwise; the layout's version is a directory below.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/xebec";

/// The UDP port of VXLAN between nodes: none that pod networks of others use (4789, 8472).
pub const DEFAULT_TUNNEL_PORT: u16 = 8473;

/// What the caller can observe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The programs are on their hooks.
    pub attached: bool,
    /// The maps followed the API at least once in this process's life.
    pub synced: bool,
    /// Service ports in the maps, the self-probe's included.
    pub service_ports: usize,
    /// Something did not fit or could not be written and is being tried again.
    pub behind: bool,
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's name, as in `spec.nodeName`.
    pub node_name: String,
    /// This node's address of each family (`--bind-address`), before those of its Node object.
    pub node_ips: Vec<IpAddr>,
    /// Where node ports answer (`--nodeport-addresses`).
    pub node_ports: NodePorts,
    /// Which sources are the cluster's own pods (`--detect-local-mode`).
    pub pod_ranges: PodRanges,
    /// The cgroup2 directory to attach to; the root of the hierarchy if absent, a node's subtree in test clusters.
    pub cgroup_path: Option<PathBuf>,
    /// The eBPF object (`--bpf-object`); else XEBEC_BPF_OBJECT, `xebec.bpf.o` beside the binary, /usr/lib/xebec.
    pub bpf_object: Option<PathBuf>,
    /// Base directory of the pins, on a bpf file system; one at /sys/fs/bpf is mounted if absent.
    pub pin_dir: PathBuf,
    /// Sizes of maps that are not pinned yet; pinned ones keep theirs.
    pub capacity: Capacity,
    /// Ports of the node that lead to pods of this node.
    pub host_ports: HostPorts,
    /// Pods of this node that are served packet by packet.
    pub packet_pods: PacketPods,
    /// The devices that outside traffic passes (`--bpf-devices`); every Ethernet device with an address of the node if
    /// absent, none if empty.
    pub devices: Option<Vec<String>>,
    /// Whether answered flows of other nodes' endpoints are sent on in the devices' drivers (`--bpf-xdp`).
    pub xdp: bool,
    /// The UDP port between nodes of Services with direct server return (`--bpf-tunnel-port`).
    pub tunnel_port: u16,
    /// Where `/healthz` and `/livez` are answered (`--healthz-bind-address`); nowhere if absent.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` and `/proxyMode` are answered (`--metrics-bind-address`); nowhere if absent.
    pub metrics: Option<SocketAddr>,
    /// Metrics of the agent's other parts.
    pub more_metrics: MoreMetrics,
    /// Let the programs log every translation through the `log` facade. For finding faults: it costs per connect.
    pub log_programs: bool,
    /// Receives what [`Health`] becomes.
    pub health: tokio::sync::watch::Sender<Health>,
}

impl Options {
    /// The defaults for a node.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            node_ips: Vec::new(),
            node_ports: NodePorts::default(),
            pod_ranges: PodRanges::default(),
            cgroup_path: None,
            bpf_object: None,
            pin_dir: DEFAULT_PIN_DIR.into(),
            capacity: Capacity::default(),
            host_ports: HostPorts::default(),
            packet_pods: PacketPods::default(),
            devices: None,
            xdp: false,
            tunnel_port: DEFAULT_TUNNEL_PORT,
            healthz: None,
            metrics: None,
            more_metrics: MoreMetrics::default(),
            log_programs: false,
            health: tokio::sync::watch::Sender::new(Health::default()),
        }
    }

    /// Checks what can be checked without touching the kernel's state.
    ///
    /// # Errors
    /// [`DataplaneError::Option`] names the option, its value and what would be right.
    pub fn validate(&self) -> Result<(), DataplaneError> {
        let bad = |name, value: String, wanted| Err(DataplaneError::Option { name, value, wanted });
        if self.node_name.is_empty() {
            return bad("node name", "\"\"".to_owned(), "the name of this node's Node object");
        }
        if !self.pin_dir.is_absolute() {
            return bad(
                "pin directory",
                self.pin_dir.display().to_string(),
                "an absolute path on a bpf file system",
            );
        }
        if let Some(path) = self.cgroup_path.as_ref().filter(|p| !p.is_dir()) {
            return bad("cgroup path", path.display().to_string(), "an existing cgroup2 directory");
        }
        if let Some(path) = self.bpf_object.as_ref().filter(|p| !p.is_file()) {
            return bad(
                "eBPF object (--bpf-object)",
                path.display().to_string(),
                "the file `cargo xtask ebpf` builds",
            );
        }
        let c = self.capacity;
        let sizes = [c.frontends, c.services, c.slots4, c.slots6, c.backends, c.rows];
        if sizes.iter().any(|size| *size == 0 || *size > xebec_abi::service::MAX_INDEX) {
            return bad("capacity", format!("{c:?}"), "sizes from 1 to 16777215");
        }
        Ok(())
    }
}

/// Why the dataplane is not running.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// A bad option.
    #[error("{name}: {value} is not usable; it must be {wanted}")]
    Option {
        /// Which.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// The object is not in the kernel.
    #[error(transparent)]
    Load(#[from] load::LoadError),
    /// The programs are not on their hooks.
    #[error(transparent)]
    Attach(#[from] attach::AttachError),
    /// The maps.
    #[error(transparent)]
    Map(#[from] maps::MapError),
    /// The programs are attached, but do not see this process.
    #[error(
        "the socket hooks do not see this process ({0}); is the cgroup path the root of the cgroup2 hierarchy?"
    )]
    Unseen(String),
    /// The address of the proxy's own health checks or metrics.
    #[error("{option} {address}: cannot listen there; give a free address of this node, or none (\"\")")]
    Listen {
        /// The option.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The device of direct server return.
    #[error(
        "cannot make the VXLAN device {device} at port {port} (--bpf-tunnel-port); packets to other nodes' endpoints get this node's address as their source"
    )]
    Tunnel {
        /// Its name.
        device: &'static str,
        /// Its port.
        port: u16,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The node's addresses.
    #[error("cannot follow the node's addresses")]
    Addresses(#[source] io::Error),
}
