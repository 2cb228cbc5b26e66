//! Options, with upstream's names where the meaning is the same. They may also stand in a YAML file (`--config`), keyed
//! by the same names in camel case; the command line wins.

mod alone;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use xebec_api::config_file;
use xebec_apiserver::resources::RuntimeConfig;
use xebec_program::Failure;

pub(crate) use alone::{ControllerOptions, PodRanges, SchedulerOptions};

use crate::ranges::ServiceRanges;
use crate::security::SecurityOptions;

/// Of the API server, alone or with everything.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServerOptions {
    /// A YAML file with these options in camel case (`dataDir: ...`); unknown keys are refused.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    security: SecurityOptions,
}

/// What may be given on the command line and in the file; everything has a default.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Given {
    /// Where the embedded store keeps its file [default: /var/lib/xebec].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// etcd endpoints, separated by commas, instead of the embedded store (http:// or https://).
    #[arg(long, value_delimiter = ',')]
    etcd_servers: Option<Vec<String>>,
    /// CA of etcd's certificates.
    #[arg(long)]
    etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd.
    #[arg(long, requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Key of the client certificate for etcd.
    #[arg(long, requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// The cluster's certificates; made when missing [default: /etc/xebec/pki].
    #[arg(long)]
    cert_dir: Option<PathBuf>,
    /// Where admin.conf, controller-manager.conf and scheduler.conf are written [default: /etc/xebec].
    #[arg(long)]
    kubeconfig_dir: Option<PathBuf>,
    /// Address to listen on; 0.0.0.0 and :: are all addresses of both families [default: 0.0.0.0].
    #[arg(long)]
    bind_address: Option<IpAddr>,
    /// Port to listen on [default: 6443].
    #[arg(long)]
    secure_port: Option<u16>,
    /// Address that nodes and pods reach this server at, of the family of the first range of Services.
    #[arg(long)]
    advertise_address: Option<IpAddr>,
    /// Share the server by FlowSchemas and PriorityLevelConfigurations [default: true].
    #[arg(long)]
    enable_priority_and_fairness: Option<bool>,
    /// Reads worked on at once; its sum with the next one is what priority levels share [default: 400].
    #[arg(long)]
    max_requests_inflight: Option<usize>,
    /// Writes worked on at once [default: 200].
    #[arg(long)]
    max_mutating_requests_inflight: Option<usize>,
    /// How long events are kept, such as 1h [default: 1h].
    #[arg(long)]
    event_ttl: Option<String>,
    /// How long history is kept at least for watches that begin in the past, such as 5m [default: 5m].
    #[arg(long)]
    etcd_compaction_interval: Option<String>,
    /// Addresses of Services: a network, or one of each family separated by a comma, the primary family's first
    /// [default: 10.96.0.0/12].
    #[arg(long)]
    service_cluster_ip_range: Option<String>,
    /// Addresses of pods, as above; each node gets a part [default: 10.244.0.0/16].
    #[arg(long)]
    cluster_cidr: Option<String>,
    /// Prefix length of a node's part of --cluster-cidr; not with two networks.
    #[arg(long)]
    node_cidr_mask_size: Option<u8>,
    /// Prefix length of a node's part of an IPv4 network [default: 24].
    #[arg(long)]
    node_cidr_mask_size_ipv4: Option<u8>,
    /// Prefix length of a node's part of an IPv6 network, at most 16 longer than the network's [default: 64].
    #[arg(long)]
    node_cidr_mask_size_ipv6: Option<u8>,
    /// Addresses of the cluster DNS, separated by commas, at most one of each range of Services
    /// [default: the tenth of each].
    #[arg(long)]
    cluster_dns: Option<String>,
    /// The cluster's domain [default: cluster.local].
    #[arg(long)]
    cluster_domain: Option<String>,
    /// Built-in APIs to turn on or off, separated by commas: GROUP/VERSION[/RESOURCE][=true|false], where /v1 is the
    /// core group, or all of a kind: api/all, api/ga, api/beta, api/alpha (=true|false).
    #[arg(long, value_delimiter = ',')]
    runtime_config: Option<Vec<String>>,
    /// Admission plug-ins to run besides the default ones, separated by commas.
    #[arg(long, value_delimiter = ',')]
    enable_admission_plugins: Option<Vec<String>>,
    /// Default admission plug-ins not to run, separated by commas.
    #[arg(long, value_delimiter = ',')]
    disable_admission_plugins: Option<Vec<String>>,
    /// An AdmissionConfiguration with the settings of plug-ins (YAML or JSON).
    #[arg(long)]
    admission_control_config_file: Option<PathBuf>,
    /// How many seconds pods stay on a node that is not ready [default: 300].
    #[arg(long)]
    default_not_ready_toleration_seconds: Option<i64>,
    /// How many seconds pods stay on a node that cannot be reached [default: 300].
    #[arg(long)]
    default_unreachable_toleration_seconds: Option<i64>,
    #[arg(skip)]
    security: SecurityOptions,
}

/// Every option with its value.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) data_dir: PathBuf,
    pub(crate) etcd_servers: Vec<String>,
    pub(crate) etcd_cafile: Option<PathBuf>,
    pub(crate) etcd_client: Option<(PathBuf, PathBuf)>,
    pub(crate) cert_dir: PathBuf,
    pub(crate) kubeconfig_dir: PathBuf,
    pub(crate) bind_address: IpAddr,
    pub(crate) secure_port: u16,
    pub(crate) advertise_address: IpAddr,
    pub(crate) priority_and_fairness: bool,
    pub(crate) max_requests_inflight: usize,
    pub(crate) max_mutating_requests_inflight: usize,
    pub(crate) event_ttl: Duration,
    pub(crate) compaction_interval: Duration,
    pub(crate) service_ranges: ServiceRanges,
    pub(crate) pod_ranges: PodRanges,
    pub(crate) cluster_dns: Vec<IpAddr>,
    pub(crate) cluster_domain: String,
    pub(crate) runtime_config: RuntimeConfig,
    pub(crate) enable_admission_plugins: Vec<String>,
    pub(crate) disable_admission_plugins: Vec<String>,
    pub(crate) admission_control_config_file: Option<PathBuf>,
    pub(crate) default_not_ready_toleration_seconds: i64,
    pub(crate) default_unreachable_toleration_seconds: i64,
    pub(crate) security: SecurityOptions,
}

impl ServerOptions {
    /// Command line over file over defaults.
    pub(crate) fn resolved(self) -> Result<Server, Failure> {
        let file = match &self.config {
            None => Given::default(),
            Some(path) => read(path)?,
        };
        let given = self.given;
        macro_rules! pick {
            ($field:ident) => {
                given.$field.or(file.$field)
            };
            ($field:ident, $default:expr) => {
                given.$field.or(file.$field).unwrap_or_else(|| $default.into())
            };
        }
        let service_ranges = ServiceRanges::parse(&pick!(service_cluster_ip_range, "10.96.0.0/12"))?;
        let pod_ranges = PodRanges {
            cluster_cidr: pick!(cluster_cidr, "10.244.0.0/16"),
            node_cidr_mask_size: pick!(node_cidr_mask_size),
            node_cidr_mask_size_ipv4: pick!(node_cidr_mask_size_ipv4),
            node_cidr_mask_size_ipv6: pick!(node_cidr_mask_size_ipv6),
        };
        let missing = "advertise address: not given; it is the address of this machine that nodes reach, for example \
                       --advertise-address 192.0.2.10";
        let advertise_address =
            pick!(advertise_address).ok_or_else(|| Failure::Option(missing.to_owned()))?;
        service_ranges.agree_with(advertise_address)?;
        Ok(Server {
            data_dir: pick!(data_dir, "/var/lib/xebec"),
            etcd_servers: pick!(etcd_servers, Vec::new()),
            etcd_cafile: pick!(etcd_cafile),
            etcd_client: pick!(etcd_certfile).zip(pick!(etcd_keyfile)),
            cert_dir: pick!(cert_dir, "/etc/xebec/pki"),
            kubeconfig_dir: pick!(kubeconfig_dir, "/etc/xebec"),
            bind_address: pick!(bind_address, [0, 0, 0, 0]),
            secure_port: pick!(secure_port, 6443_u16),
            advertise_address,
            priority_and_fairness: pick!(enable_priority_and_fairness, true),
            max_requests_inflight: pick!(max_requests_inflight, 400_usize),
            max_mutating_requests_inflight: pick!(max_mutating_requests_inflight, 200_usize),
            event_ttl: duration("--event-ttl", &pick!(event_ttl, "1h"))?,
            compaction_interval: duration(
                "--etcd-compaction-interval",
                &pick!(etcd_compaction_interval, "5m"),
            )?,
            cluster_dns: service_ranges.dns(pick!(cluster_dns).as_deref())?,
            service_ranges,
            pod_ranges,
            cluster_domain: pick!(cluster_domain, "cluster.local"),
            runtime_config: runtime_config(&pick!(runtime_config, Vec::new()))?,
            enable_admission_plugins: pick!(enable_admission_plugins, Vec::new()),
            disable_admission_plugins: pick!(disable_admission_plugins, Vec::new()),
            admission_control_config_file: pick!(admission_control_config_file),
            default_not_ready_toleration_seconds: pick!(default_not_ready_toleration_seconds, 300_i64),
            default_unreachable_toleration_seconds: pick!(default_unreachable_toleration_seconds, 300_i64),
            security: self.security.or(file.security),
        })
    }
}

/// A duration as upstream's flags take it: `90s`, `5m`, `1h30m`; more than nothing.
fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    let nanos = xebec_api::time::parse_go_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.filter(|nanos| *nanos > 0).map(Duration::from_nanos).ok_or_else(|| {
        Failure::Option(format!("{option} {text:?}: not a duration above zero such as 90s, 5m or 1h30m"))
    })
}

fn runtime_config(pairs: &[String]) -> Result<RuntimeConfig, Failure> {
    RuntimeConfig::parse(pairs.iter().map(String::as_str))
        .map_err(|error| Failure::Option(format!("--runtime-config: {error}")))
}

fn read(path: &Path) -> Result<Given, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Option(format!("--config {}: {error}", path.display())))?;
    config_file::decode(&text)
        .map_err(|error| Failure::Option(format!("--config {}: {error}", path.display())))
}
