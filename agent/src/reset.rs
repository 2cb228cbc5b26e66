//! `xebec-agent reset`: takes back everything the agent made on this node. Enters: where things are. Leaves: lines that
//! say what was removed. Runs while the agent does not; calling it again continues where it failed.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use xebec_cri::messages::PodSandboxFilter;
use xebec_cri::{Client as Cri, Runtime};
use xebec_program::Failure;

use crate::kubelet;
use crate::network::{self, NetworkPaths};

/// How long the runtime may take for one pod.
const POD_PATIENCE: Duration = Duration::from_secs(30);

/// Where to look.
#[derive(Args)]
pub(crate) struct ResetArgs {
    /// The container runtime's socket; without it pods are left to whoever stops the runtime.
    #[arg(long)]
    container_runtime_endpoint: Option<PathBuf>,
    /// Where maps and links are pinned.
    #[arg(long, default_value = xebec_dataplane::DEFAULT_PIN_DIR)]
    bpf_pin_dir: PathBuf,
    /// Pod folders.
    #[arg(long, default_value = "/var/lib/kubelet")]
    root_dir: PathBuf,
    /// The cgroup below which `kubepods` was made.
    #[arg(long, default_value = "/")]
    cgroup_root: String,
    /// Addresses of the cluster DNS.
    #[arg(long, default_value = "10.96.0.10", value_delimiter = ',')]
    cluster_dns: Vec<IpAddr>,
    #[command(flatten)]
    network: NetworkPaths,
}

/// Removes pods first, since they use all the rest.
pub(crate) async fn run(args: &ResetArgs) -> Result<(), Failure> {
    if let Some(socket) = &args.container_runtime_endpoint {
        let removed = remove_pods(args, socket).await?;
        say(&format!("removed {removed} pods"));
    }
    network::remove(&args.network).await?;
    say("removed the pods' devices, routes to them here and on other nodes, and address reservations");
    for address in &args.cluster_dns {
        xebec_network::remove_local_address(*address)
            .await
            .map_err(|error| Failure::part("DNS address")(&error))?;
    }
    xebec_dataplane::detach(&args.bpf_pin_dir).map_err(|error| Failure::part("service dataplane")(&error))?;
    say("removed the eBPF programs and maps and the tables of SCTP, gave back their ports");
    kubelet::remove_leftovers(&args.root_dir, &args.cgroup_root).await?;
    say("removed pod folders and cgroups");
    Ok(())
}

async fn remove_pods(args: &ResetArgs, socket: &Path) -> Result<usize, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::part("container runtime")(error);
    let runtime = Arc::new(Cri::new(socket));
    let sandboxes =
        runtime.list_pod_sandboxes(PodSandboxFilter::default()).await.map_err(|error| failed(&error))?;
    if sandboxes.is_empty() {
        return Ok(0);
    }
    // Taking a pod's network back is a call of the CNI plugin, which needs its server: it listens before the first pod.
    let stop = CancellationToken::new();
    let server = network::listen_for_removal(&args.network).await?;
    let served = tokio::spawn({
        let stop = stop.clone();
        async move {
            if let Some(server) = server {
                server.serve(stop).await;
            }
        }
    });
    let mut outcome = Ok(());
    for sandbox in &sandboxes {
        let removed = async {
            runtime.stop_pod_sandbox(&sandbox.id).await?;
            runtime.remove_pod_sandbox(&sandbox.id).await
        };
        let result = match tokio::time::timeout(POD_PATIENCE, removed).await {
            Ok(result) => result.map_err(|error| failed(&error)),
            Err(_) => Err(Failure::Part {
                part: "container runtime",
                reason: format!("pod {} does not end", sandbox.id),
            }),
        };
        outcome = outcome.and(result);
    }
    stop.cancel();
    served.await.map_err(|error| failed(&error))?;
    outcome.map(|()| sandboxes.len())
}

#[expect(clippy::print_stdout, reason = "the report of a command")]
fn say(line: &str) {
    println!("      {line}");
}
