//! The pod network: what stands between a container runtime's CNI call and a pod that can talk, to pods of other nodes, too.
//!
//! Enters: CNI requests from the runtime (the plugin `xebec-cni` is a thin client of the socket served here) and the
//! node's pod CIDR, and the cluster's other nodes. Leaves: a veth pair, addresses, routes and limits of bandwidth per pod, one
//! masquerade rule, reservations on disk; a route to every other node's pods, by VXLAN where the node is on none of our networks.
//! Called by `xebec-agent run`. A foreign CNI plugin can take this crate's place: the agent then starts nothing here.
//!
//! No bridge: each pod has an address of each family that the node has pods of (/32, /128), a route to its veth on the node for
//! each, and the link-local gateways 169.254.1.1 and fe80::1, which permanent neighbour entries point at the node's end of the
//! veth.

pub mod cidr;
pub mod cni;
mod connect;
mod forwarding;
mod gate;
pub mod ipam;
mod link;
mod local;
mod masquerade;
pub mod peers;
mod ports;
mod rate;
pub mod routes;
mod server;
mod tunnel;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use cidr::IpNet;
pub use gate::{Attachment, Gate, SERVICE_PATH, ServicePath};
pub use link::host_device;
pub use local::{add_local_address, remove_local_address};
pub use ports::{HostPorts, PortMapping, Transport};
pub use rate::{Bandwidth, Limit};
pub use server::Server;
pub use tunnel::TUNNEL_DEVICE;

/// The gateway inside every pod of IPv4; it exists only as a neighbour entry (RFC 3927 link-local).
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same of IPv6 (RFC 4291 link-local).
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// What every pod's device on the node starts with; twelve hexadecimal digits follow. The names of our tunnels start alike.
pub const DEVICE_PREFIX: &str = "xeb";

/// Why a network operation failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The text is not a network.
    #[error("{0:?} is not a network such as 10.244.0.0/24 or fd00:10:244::/64")]
    BadCidr(String),
    /// There are none, or too many.
    #[error("{0:?}: give one network, or one of IPv4 and one of IPv6")]
    Families(String),
    /// The node has pods of a family, and the cluster has not.
    #[error("the node's pods have {0}, and the cluster's pods no network of that family (--cluster-cidr)")]
    NotOfCluster(IpNet),
    /// The CNI request lacks something or holds a bad value; retrying cannot help.
    #[error("CNI request: {0}")]
    BadRequest(String),
    /// Every address is taken; a later try may succeed.
    #[error("no free address left in {0}")]
    Exhausted(IpNet),
    /// A file or socket operation failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The kernel refused a change to a link, an address or a route.
    #[error("{operation}: {source}")]
    Netlink {
        /// What was being done, with the device.
        operation: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// A device that should be there is not.
    #[error("there is no network device {0}")]
    NoDevice(String),
    /// The pod may not have its network yet; a later try may succeed.
    #[error("pod {pod}: {why}")]
    NotAdmitted {
        /// Namespace and name.
        pod: String,
        /// What is waited for.
        why: String,
    },
    /// A route of ours could not be removed.
    #[error("route to {0}: {1}")]
    Route(IpNet, String),
    /// The packet filter did not take the rules.
    #[error("{0}")]
    Nft(String),
}

/// The gateway of a pod's address.
pub(crate) fn gateway(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAY4.into(),
        IpAddr::V6(_) => GATEWAY6.into(),
    }
}

impl NetworkError {
    /// Wraps an I/O error with what was done to which file.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    /// Wraps the kernel's answer.
    pub(crate) fn netlink(operation: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Netlink { operation, source }
    }
}

/// What the network of a node needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the CNI plugin reaches the agent.
    pub socket: PathBuf,
    /// Where address reservations are kept, one file each.
    pub ipam_dir: PathBuf,
    /// Where the runtime looks for network configurations.
    pub conf_dir: PathBuf,
    /// This node's shares of the pod addresses, one of a family, the primary family's first.
    pub pod_cidrs: Vec<IpNet>,
    /// All pod addresses of the cluster, one network of a family; traffic to them is not masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
}

/// Whom the pod network asks and tells.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Asked before a pod's link goes up; without one all pods are let in.
    pub gate: Option<Arc<dyn Gate>>,
    /// Told of pods' host ports; without one the runtime is to give them to another plugin.
    pub host_ports: Option<Arc<dyn HostPorts>>,
}

/// Prepares the node, serves CNI requests until cancelled, and tells the runtime by writing the configuration file
/// once it can.
///
/// The rules, devices and reservations stay when it ends, so that pods keep their network while the agent restarts.
///
/// # Errors
/// Anything in the way of the first request (sysctl, nft, the socket); restart to retry.
pub async fn run(options: Options, hooks: Hooks, cancel: CancellationToken) -> Result<(), NetworkError> {
    start(&options, hooks).await?.serve(cancel).await;
    Ok(())
}

/// The first half of [`run`]: when it returns, a CNI plugin can connect; it is answered once [`Server::serve`] runs.
///
/// # Errors
/// As [`run`].
pub async fn start(options: &Options, hooks: Hooks) -> Result<Server, NetworkError> {
    forwarding::enable(&options.pod_cidrs)?;
    masquerade::apply(&options.pod_cidrs, &options.cluster_cidrs).await?;
    let ipam = ipam::Ipam::open(&options.ipam_dir, &options.pod_cidrs)?;
    let freed = ipam.release_stale(link::exists)?;
    rate::device::remove_strays().await?;
    let maps_ports = hooks.host_ports.is_some();
    let server = Server::bind(options, ipam, hooks)?;
    // Without those of pods that are gone.
    server.tell()?;
    write_configuration(options, maps_ports)?;
    tracing::info!(cidrs = ?options.pod_cidrs, socket = %options.socket.display(), freed, "pod network ready");
    Ok(server)
}

/// Removes every device, rule, reservation and configuration that [`run`] made; what is already gone is no error.
///
/// # Errors
/// The first thing that could not be removed; calling it again continues.
pub async fn remove(ipam_dir: &Path, conf_dir: &Path) -> Result<(), NetworkError> {
    routes::remove().await?;
    link::remove_all().await?;
    masquerade::remove().await?;
    for path in [conf_dir.join(CONFIGURATION_FILE)] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(NetworkError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    match std::fs::remove_dir_all(ipam_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetworkError::io("remove", ipam_dir)(error))
        }
        _ => Ok(()),
    }
}

const CONFIGURATION_FILE: &str = "10-xebec.conflist";

fn write_configuration(options: &Options, maps_ports: bool) -> Result<(), NetworkError> {
    std::fs::create_dir_all(&options.conf_dir).map_err(NetworkError::io("create", &options.conf_dir))?;
    let text = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "xebec",
        "plugins": [{
            "type": "xebec-cni", "socket": options.socket,
            "capabilities": {"bandwidth": true, "portMappings": maps_ports, cni::ANNOTATIONS: true},
        }],
    });
    let path = options.conf_dir.join(CONFIGURATION_FILE);
    // By rename: the runtime watches the folder and must never read half a file.
    let fresh = options.conf_dir.join(".xebec.new");
    std::fs::write(&fresh, text.to_string()).map_err(NetworkError::io("write", &fresh))?;
    std::fs::rename(&fresh, &path).map_err(NetworkError::io("write", &path))
}
