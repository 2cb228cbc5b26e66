//! `xebec-dns`: cluster DNS on its own, for nodes whose agent is another kubelet.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio_util::sync::CancellationToken;
use xebec_dns::{Options, forward};

/// Cluster DNS: Services and pods by name, everything else by the node's resolvers.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Addresses to listen on, UDP and TCP.
    #[arg(long, default_value = "0.0.0.0:53", value_delimiter = ',')]
    listen: Vec<SocketAddr>,
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Whose `nameserver` lines name the resolvers for other names.
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// How to reach the API server; the default is the pod's service account, else KUBECONFIG.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter()).init();
    match start(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tracing::error!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into())
}

async fn start(cli: Cli) -> Result<(), String> {
    let text = std::fs::read_to_string(&cli.resolv_conf)
        .map_err(|error| format!("--resolv-conf {}: {error}", cli.resolv_conf.display()))?;
    let own: Vec<IpAddr> = cli.listen.iter().map(SocketAddr::ip).collect();
    let config = match &cli.kubeconfig {
        None => kube::Config::infer().await.map_err(|error| error.to_string())?,
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path)
                .map_err(|error| format!("--kubeconfig: {error}"))?;
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await
                .map_err(|error| format!("--kubeconfig {}: {error}", path.display()))?
        }
    };
    let client = kube::Client::try_from(config).map_err(|error| error.to_string())?;
    let options = Options {
        listen: cli.listen,
        domain: cli.cluster_domain,
        upstreams: forward::resolvers(&text, &own),
        timeout: Duration::from_secs(2),
    };
    let cancel = CancellationToken::new();
    let ended = cancel.clone();
    tokio::spawn(async move {
        tokio::signal::ctrl_c().await.ok();
        ended.cancel();
    });
    xebec_dns::run(client, options, cancel).await.map_err(|error| error.to_string())
}
