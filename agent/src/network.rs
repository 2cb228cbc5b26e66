//! The pod network: waits for the node's share of the pod addresses, then serves CNI and keeps the routes to other nodes'
//! pods.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use xebec_dataplane::SourceRange;
use xebec_network::peers::Routing;
use xebec_network::{Hooks, IpNet, NetworkError, Options, cidr};
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
    /// Addresses of all pods, one network of a family; traffic to them is not masqueraded.
    #[arg(long, default_value = "10.244.0.0/16", value_delimiter = ',')]
    cluster_cidr: Vec<String>,
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
    pub(crate) fn pod_ranges(&self) -> Result<BTreeSet<SourceRange>, Failure> {
        let networks = self.cluster_cidrs()?;
        Ok(networks.iter().filter_map(|network| SourceRange::parse(&network.to_string())).collect())
    }

    fn cluster_cidrs(&self) -> Result<Vec<IpNet>, Failure> {
        cidr::networks(&self.cluster_cidr)
            .map_err(|error| Failure::Option(format!("--cluster-cidr: {error}")))
    }

    fn options(&self, pod_cidrs: Vec<IpNet>) -> Result<Options, Failure> {
        Ok(Options {
            socket: self.cni_socket.clone(),
            ipam_dir: self.ipam_dir.clone(),
            conf_dir: self.cni_conf_dir.clone(),
            pod_cidrs,
            cluster_cidrs: self.cluster_cidrs()?,
        })
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

/// Waits until the node has `spec.podCIDRs`, then serves.
pub(crate) async fn serve(
    client: Client,
    node_name: &str,
    paths: &NetworkPaths,
    hooks: Hooks,
    stop: CancellationToken,
) -> Result<(), Failure> {
    paths.cluster_cidrs()?;
    // After a restart the pods' network must be there at once, even while the API server is away.
    let remembered = remembered_cidrs(&paths.ipam_dir);
    let texts = match remembered {
        Some(texts) => texts,
        None => tokio::select! {
            () = stop.cancelled() => return Ok(()),
            texts = pod_cidrs(client.clone(), node_name) => texts,
        },
    };
    let options = paths.options(cidr::networks(&texts).map_err(failed)?)?;
    remember_cidrs(&paths.ipam_dir, &texts);
    let settings = peers::Settings {
        routing: paths.pod_routing,
        port: paths.pod_vxlan_port,
        pods: options.pod_cidrs.clone(),
    };
    let served = xebec_network::run(options, hooks, stop.clone());
    // The routes are kept for as long as it is served: without it, this ends.
    tokio::select! {
        result = served => result.map_err(failed),
        () = peers::follow(client, node_name, settings, stop.clone()) => {
            stop.cancelled().await;
            Ok(())
        }
    }
}

fn failed(error: NetworkError) -> Failure {
    Failure::part("pod network")(&error)
}

/// The node's shares as the control plane assigned them.
async fn pod_cidrs(client: Client, node_name: &str) -> Vec<String> {
    let only = watcher::Config::default().fields(&format!("metadata.name={node_name}"));
    let nodes = watcher::watcher(Api::<Node>::all(client), only).default_backoff().applied_objects();
    let mut nodes = std::pin::pin!(nodes.into_stream());
    loop {
        match nodes.next().await {
            Some(Ok(node)) => {
                let shares = peers::pod_cidrs(&node);
                if !shares.is_empty() {
                    return shares;
                }
                tracing::info!(node_name, "waiting for the node's pod addresses (spec.podCIDRs)");
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

fn remembered_cidrs(ipam_dir: &Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(cidr_file(ipam_dir)).ok()?;
    let texts: Vec<String> =
        text.trim().split(',').filter(|text| !text.is_empty()).map(str::to_owned).collect();
    (!texts.is_empty()).then_some(texts)
}

fn remember_cidrs(ipam_dir: &Path, cidrs: &[String]) {
    let path = cidr_file(ipam_dir);
    if let Some(folder) = path.parent()
        && let Err(error) =
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, cidrs.join(",")))
    {
        tracing::warn!(%error, path = %path.display(), "cannot remember the pod addresses");
    }
}

/// Listens for CNI so that pods can be taken off the network, for `reset`. `None` on a node that never had one.
pub(crate) async fn listen_for_removal(
    paths: &NetworkPaths,
) -> Result<Option<xebec_network::Server>, Failure> {
    let Some(texts) = remembered_cidrs(&paths.ipam_dir) else { return Ok(None) };
    let pods = cidr::networks(&texts).map_err(failed)?;
    // Nobody is told where the cluster ends: what the node's pods still send is on its way out.
    let options = Options { cluster_cidrs: pods.clone(), ..paths.options(pods)? };
    xebec_network::start(&options, Hooks::default()).await.map(Some).map_err(failed)
}

/// Removes devices, rules, reservations and the configuration.
pub(crate) async fn remove(paths: &NetworkPaths) -> Result<(), Failure> {
    xebec_network::remove(&paths.ipam_dir, &paths.cni_conf_dir).await.map_err(failed)?;
    match std::fs::remove_file(cidr_file(&paths.ipam_dir)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::part("pod network")(&error))
        }
        _ => Ok(()),
    }
}
