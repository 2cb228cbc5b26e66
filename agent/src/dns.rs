//! The cluster DNS: alone, or inside the node's agent on the cluster DNS address.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use xebec_program::Failure;

use crate::client;

/// How long one of the node's resolvers may take.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Of `xebec-agent dns`.
#[derive(Args)]
pub(crate) struct DnsArgs {
    /// How to reach the API server.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Addresses to serve on, port 53; those not on this machine yet are put on its loopback device.
    #[arg(long, default_value = "10.96.0.10", value_delimiter = ',')]
    cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Whose `nameserver` lines name the resolvers for other names.
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
}

/// Serves DNS alone.
pub(crate) async fn alone(args: DnsArgs, stop: CancellationToken) -> Result<(), Failure> {
    let client = client::from(args.kubeconfig.as_deref()).await?;
    serve(client, &args.cluster_dns, &args.cluster_domain, &args.resolv_conf, stop).await
}

/// Puts the addresses on this node and serves on them.
pub(crate) async fn serve(
    client: kube::Client,
    addresses: &[IpAddr],
    domain: &str,
    resolv_conf: &Path,
    stop: CancellationToken,
) -> Result<(), Failure> {
    for address in addresses {
        xebec_network::add_local_address(*address).await.map_err(|error| Failure::part("DNS")(&error))?;
    }
    let text = std::fs::read_to_string(resolv_conf)
        .map_err(|error| Failure::Option(format!("--resolv-conf {}: {error}", resolv_conf.display())))?;
    let options = xebec_dns::Options {
        listen: addresses.iter().map(|address| SocketAddr::new(*address, 53)).collect(),
        domain: domain.to_owned(),
        upstreams: xebec_dns::forward::resolvers(&text, addresses),
        timeout: RESOLVER_TIMEOUT,
    };
    xebec_dns::run(client, options, stop).await.map_err(|error| Failure::part("DNS")(&error))
}
