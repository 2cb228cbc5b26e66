//! The pod network: waits for the node's share of the pod addresses, then serves CNI and keeps the routes to other nodes'
//! pods.

use std::path::{Path, PathBuf};

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use xebec_dataplane::SourceRange;
use xebec_network::peers::Routing;
use xebec_network::{Cidr, Hooks, Options};
use xebec_program::Failure;

use crate::{client, peers};

/// Where the network keeps its things.
#[derive(Args, Clone, Debug)]
pub(crate) struct NetworkPaths {
    /// Where the runtime looks for network configurations.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub(crate) cni_conf_dir: PathBuf,
    /// The socket that the CNI plugin calls.
    #[arg(long, default_value = "/run/xebec/cni.sock")]
    cni_socket: PathBuf,
    /// Where address reservations are kept.
    #[arg(long, default_value = "/var/lib/xebec/ipam")]
    pub(crate) ipam_dir: PathBuf,
    /// Addresses of all pods; traffic to them is not masqueraded.
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: String,
    /// How packets reach pods of other nodes: `native`, by routes, to nodes on a network of this one; `vxlan`; or `auto`:
    /// routes to such nodes, VXLAN to all others.
    #[arg(long, value_name = "auto|native|vxlan", default_value = "auto")]
    pod_routing: Routing,
    /// The UDP port between nodes of packets to pods in VXLAN, the same on all nodes. Whoever can send to it can send to
    /// pods: let only nodes do so.
    #[arg(long, default_value_t = 8472, value_parser = clap::value_parser!(u16).range(1..))]
    pod_vxlan_port: u16,
}

impl NetworkPaths {
    /// Addresses of all pods, for the service dataplane.
    pub(crate) fn pod_range(&self) -> Result<SourceRange, Failure> {
        let bad = || {
            Failure::Option(format!(
                "--cluster-cidr {:?}: give a network, such as 10.244.0.0/16",
                self.cluster_cidr
            ))
        };
        SourceRange::parse(&self.cluster_cidr).ok_or_else(bad)
    }
}

/// Of `xebec-agent cni`.
#[derive(Args)]
pub(crate) struct CniArgs {
    /// How to reach the API server.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// This node's name.
    #[arg(long)]
    node_name: String,
    #[command(flatten)]
    paths: NetworkPaths,
}

/// Serves CNI alone; network policies are somebody else's then.
pub(crate) async fn alone(args: CniArgs, stop: CancellationToken) -> Result<(), Failure> {
    let client = client::from(args.kubeconfig.as_deref()).await?;
    serve(client, &args.node_name, &args.paths, Hooks::default(), stop).await
}

/// Waits until the node has a `spec.podCIDR`, then serves.
pub(crate) async fn serve(
    client: Client,
    node_name: &str,
    paths: &NetworkPaths,
    hooks: Hooks,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::part("pod network")(error);
    let cluster_cidr: Cidr = paths
        .cluster_cidr
        .parse()
        .map_err(|error: xebec_network::NetworkError| Failure::Option(format!("--cluster-cidr: {error}")))?;
    // After a restart the pods' network must be there at once, even while the API server is away.
    let remembered = remembered_cidr(&paths.ipam_dir);
    let text = match remembered {
        Some(text) => text,
        None => tokio::select! {
            () = stop.cancelled() => return Ok(()),
            text = pod_cidr(client.clone(), node_name) => text,
        },
    };
    let pod_cidr: Cidr = text.parse().map_err(|error: xebec_network::NetworkError| failed(&error))?;
    remember_cidr(&paths.ipam_dir, &text);
    let options = Options {
        socket: paths.cni_socket.clone(),
        ipam_dir: paths.ipam_dir.clone(),
        conf_dir: paths.cni_conf_dir.clone(),
        pod_cidr,
        cluster_cidr,
    };
    let settings = peers::Settings { routing: paths.pod_routing, port: paths.pod_vxlan_port, pods: pod_cidr };
    let served = xebec_network::run(options, hooks, stop.clone());
    // The routes are kept for as long as it is served: without it, this ends.
    tokio::select! {
        result = served => result.map_err(|error| failed(&error)),
        () = peers::follow(client, node_name, settings, stop.clone()) => {
            stop.cancelled().await;
            Ok(())
        }
    }
}

/// The node's share as the control plane assigned it.
async fn pod_cidr(client: Client, node_name: &str) -> String {
    let only = watcher::Config::default().fields(&format!("metadata.name={node_name}"));
    let nodes = watcher::watcher(Api::<Node>::all(client), only).default_backoff().applied_objects();
    let mut nodes = std::pin::pin!(nodes.into_stream());
    loop {
        match nodes.next().await {
            Some(Ok(node)) => {
                if let Some(cidr) = node.spec.and_then(|spec| spec.pod_cidr).filter(|cidr| !cidr.is_empty()) {
                    return cidr;
                }
                tracing::info!(node_name, "waiting for the node's pod addresses (spec.podCIDR)");
            }
            Some(Err(error)) => tracing::warn!(%error, "cannot watch the own node, taking it up again"),
            None => std::future::pending().await,
        }
    }
}

/// Beside the reservations: what the folder's addresses belong to.
fn cidr_file(ipam_dir: &Path) -> PathBuf {
    ipam_dir.with_extension("cidr")
}

fn remembered_cidr(ipam_dir: &Path) -> Option<String> {
    std::fs::read_to_string(cidr_file(ipam_dir))
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

fn remember_cidr(ipam_dir: &Path, cidr: &str) {
    let path = cidr_file(ipam_dir);
    if let Some(folder) = path.parent()
        && let Err(error) = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, cidr))
    {
        tracing::warn!(%error, path = %path.display(), "cannot remember the pod addresses");
    }
}

/// Listens for CNI so that pods can be taken off the network, for `reset`. `None` on a node that never had one.
pub(crate) async fn listen_for_removal(
    paths: &NetworkPaths,
) -> Result<Option<xebec_network::Server>, Failure> {
    let Some(text) = remembered_cidr(&paths.ipam_dir) else { return Ok(None) };
    let parse = |text: &str| {
        text.parse().map_err(|error: xebec_network::NetworkError| Failure::part("pod network")(&error))
    };
    let options = Options {
        socket: paths.cni_socket.clone(),
        ipam_dir: paths.ipam_dir.clone(),
        conf_dir: paths.cni_conf_dir.clone(),
        pod_cidr: parse(&text)?,
        cluster_cidr: parse(&paths.cluster_cidr)?,
    };
    xebec_network::start(&options, Hooks::default())
        .await
        .map(Some)
        .map_err(|error| Failure::part("pod network")(&error))
}

/// Removes devices, rules, reservations and the configuration.
pub(crate) async fn remove(paths: &NetworkPaths) -> Result<(), Failure> {
    xebec_network::remove(&paths.ipam_dir, &paths.cni_conf_dir)
        .await
        .map_err(|error| Failure::part("pod network")(&error))?;
    match std::fs::remove_file(cidr_file(&paths.ipam_dir)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::part("pod network")(&error))
        }
        _ => Ok(()),
    }
}
