//! The service dataplane alone, in place of kube-proxy. Enters: kube-proxy's flags or its configuration file. Leaves:
//! virtual IPs that lead somewhere, until a signal; they stay when this ends.

mod bpf;
mod config;
pub(crate) mod flags;
mod settings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;
use xebec_program::Failure;

pub(crate) use self::bpf::BpfOptions;
use self::config::FileConfig;
use self::settings::{Given, Settings};
use crate::client::{self, Server};

/// Between two looks at the configuration file.
const LOOK: Duration = Duration::from_secs(10);

/// Of `xebec-agent proxy`.
#[derive(Args)]
pub(crate) struct ProxyArgs {
    /// How to reach the API server; without it and --master, by the pod's service account.
    #[arg(long)]
    kubeconfig: Option<String>,
    /// The API server's URL, in place of the kubeconfig's.
    #[arg(long)]
    master: Option<String>,
    /// This node's name; the default is the machine's host name.
    #[arg(long, visible_alias = "node-name")]
    hostname_override: Option<String>,
    /// A KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1). It replaces the flags that it has fields for; the
    /// proxy ends when its content changes, to be started again.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Remove what Services have in this node's kernel, and end; an agent's policies and ways for its pods stay.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    cleanup: bool,
    /// This node's primary address, in place of its Node object's; where `--nodeport-addresses=primary` answers.
    #[arg(long)]
    bind_address: Option<String>,
    /// Where node ports answer: networks of the node's addresses, or `primary`; everywhere if absent.
    #[arg(long, value_delimiter = ',')]
    nodeport_addresses: Vec<String>,
    /// By what pods are known whose packets reach this node: ClusterCIDR, NodeCIDR; their traffic is never external.
    #[arg(long)]
    detect_local_mode: Option<String>,
    /// The pods' networks, for `--detect-local-mode=ClusterCIDR`, which is the default.
    #[arg(long)]
    cluster_cidr: Option<String>,
    /// Another port of --healthz-bind-address; 0 for none. Deprecated upstream.
    #[arg(long)]
    healthz_port: Option<u16>,
    /// Another port of --metrics-bind-address; 0 for none. Deprecated upstream.
    #[arg(long)]
    metrics_port: Option<u16>,
    /// This process's rank among those that die first when memory is short, -1000 to 1000; -999 if absent.
    #[arg(long, allow_negative_numbers = true)]
    oom_score_adj: Option<i64>,
    /// How much to log: 0 to 3 what happens to the proxy, 4 and more every change. RUST_LOG goes before.
    #[arg(short, long)]
    v: Option<u64>,
    /// text or json.
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    logging_format: String,
    #[command(flatten)]
    bpf: BpfOptions,
    #[command(subcommand)]
    question: Option<Question>,
}

#[derive(Subcommand)]
enum Question {
    /// What a virtual address leads to, as the kernel's maps say it.
    Explain {
        /// Address and port, such as 10.96.0.1:443.
        address: SocketAddr,
        /// TCP or UDP.
        #[arg(long, default_value = "tcp")]
        protocol: String,
    },
}

impl ProxyArgs {
    /// The least that is logged, if the flags or the file say so.
    pub(crate) fn level(&self) -> Option<&'static str> {
        let from_file = || {
            let text = std::fs::read_to_string(self.config.as_ref()?).ok()?;
            FileConfig::parse(&text).ok()?.0.verbosity
        };
        Some(if self.v.or_else(from_file)? >= 4 { "debug" } else { "info" })
    }

    /// Whether a line is to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.logging_format == "json"
    }

    fn given(&self) -> Given {
        Given {
            kubeconfig: self.kubeconfig.clone().filter(|path| !path.is_empty()),
            node_name: self.hostname_override.clone().filter(|name| !name.is_empty()),
            bind_address: self.bind_address.clone(),
            healthz: self.bpf.healthz_bind_address.0,
            healthz_port: self.healthz_port,
            metrics: self.bpf.metrics_bind_address.0,
            metrics_port: self.metrics_port,
            detect_local_mode: self.detect_local_mode.clone(),
            cluster_cidr: self.cluster_cidr.clone(),
            node_port_addresses: self.nodeport_addresses.clone(),
            oom_score_adj: self.oom_score_adj,
        }
    }
}

/// Runs the dataplane, or answers a question about a running one.
pub(crate) async fn run(args: ProxyArgs, stop: CancellationToken) -> Result<(), Failure> {
    if let Some(Question::Explain { address, protocol }) = args.question {
        return explain(&args.bpf, address, &protocol);
    }
    if args.cleanup {
        xebec_dataplane::detach_services(&args.bpf.bpf_pin_dir)
            .map_err(|error| Failure::part("service dataplane")(&error))?;
        tracing::info!(pins = %args.bpf.bpf_pin_dir.display(), "removed the eBPF programs and maps of Services and the tables of SCTP, gave back their ports");
        return Ok(());
    }
    let text = args.config.as_deref().map(read_config).transpose()?;
    let file = args.config.as_deref().zip(text.as_deref());
    let file = file.map(|(path, text)| parse_config(path, text)).transpose()?;
    let settings = Settings::new(&args.given(), file.as_ref(), &crate::options::hostname())?;
    set_oom_score(settings.oom_score_adj);
    let kubeconfig = settings.kubeconfig.as_deref().map(Path::new);
    let server = Server { kubeconfig, url: args.master.as_deref().filter(|url| !url.is_empty()) };
    let (client, requests) = client::measured(server).await?;
    let mut options = args.bpf.options(&settings.node_name);
    options.node_ips = settings.node_ips;
    options.healthz = settings.healthz;
    options.metrics = settings.metrics;
    options.node_ports = settings.node_ports;
    options.pod_ranges = settings.pod_ranges;
    options.more_metrics = requests;
    let dataplane = xebec_dataplane::run(client, options, stop);
    tokio::select! {
        ended = dataplane => ended.map_err(|error| Failure::part("service dataplane")(&error)),
        failure = config_changes(args.config.as_deref(), text) => Err(failure),
    }
}

fn read_config(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Option(format!("--config {}: {error}", path.display())))
}

fn parse_config(path: &Path, text: &str) -> Result<FileConfig, Failure> {
    let (config, notes) = FileConfig::parse(text)
        .map_err(|why| Failure::Option(format!("--config {}: {why}", path.display())))?;
    for note in notes {
        tracing::warn!(config = %path.display(), "{note}");
    }
    Ok(config)
}

/// Ends when the file's content is another: whoever supervises this process starts it again, as with kube-proxy. A file
/// that cannot be read for a while is no change.
async fn config_changes(path: Option<&Path>, text: Option<String>) -> Failure {
    let Some(path) = path else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK).await;
        if read_config(path).is_ok_and(|now| Some(now) != text) {
            return Failure::Option(format!("--config {}: its content was changed", path.display()));
        }
    }
}

fn set_oom_score(score: i64) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::debug!(%error, score, "cannot set the process's rank for lack of memory");
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn explain(bpf: &BpfOptions, address: SocketAddr, protocol: &str) -> Result<(), Failure> {
    let found =
        xebec_dataplane::explain(&bpf.bpf_pin_dir, address.ip(), address.port(), transport(protocol)?)
            .map_err(|error| Failure::part("service dataplane")(&error))?;
    println!("{found}");
    Ok(())
}

/// A transport by name.
pub(crate) fn transport(name: &str) -> Result<xebec_dataplane::Protocol, Failure> {
    match name.to_ascii_lowercase().as_str() {
        "tcp" => Ok(xebec_dataplane::Protocol::Tcp),
        "udp" => Ok(xebec_dataplane::Protocol::Udp),
        "sctp" => Ok(xebec_dataplane::Protocol::Sctp),
        other => Err(Failure::Option(format!("--protocol {other:?}: give tcp, udp or sctp"))),
    }
}
