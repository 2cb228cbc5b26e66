//! Options, with upstream's names where the meaning is the same. They may also stand in a YAML file (`--config`), keyed
//! by the same names in camel case; the command line wins.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use xebec_api::config_file;
use xebec_apiserver::resources::RuntimeConfig;
use xebec_controllers::Options as Controllers;
use xebec_program::Failure;

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

/// Where pods' addresses come from.
#[derive(Args, Clone, Debug)]
pub(crate) struct PodRanges {
    /// Addresses of pods: a network, or one of each family separated by a comma, the primary family's first; each node
    /// gets a part.
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: String,
    /// Prefix length of a node's part of --cluster-cidr; not with two networks.
    #[arg(long)]
    node_cidr_mask_size: Option<u8>,
    /// Prefix length of a node's part of an IPv4 network [default: 24].
    #[arg(long)]
    node_cidr_mask_size_ipv4: Option<u8>,
    /// Prefix length of a node's part of an IPv6 network, at most 16 longer than the network's [default: 64].
    #[arg(long)]
    node_cidr_mask_size_ipv6: Option<u8>,
}

impl PodRanges {
    /// The controllers' options with these and the ranges of Services, which no node gets a part of.
    pub(crate) fn controllers(&self, services: &ServiceRanges) -> Result<Controllers, Failure> {
        let options = Controllers {
            cluster_cidr: self.cluster_cidr.clone(),
            node_cidr_mask_size: self.node_cidr_mask_size,
            node_cidr_mask_size_ipv4: self.node_cidr_mask_size_ipv4,
            node_cidr_mask_size_ipv6: self.node_cidr_mask_size_ipv6,
            service_cidr: services.texts().join(","),
            ..Controllers::default()
        };
        options.check().map_err(|error| Failure::Option(error.to_string()))?;
        Ok(options)
    }
}

/// Of the controllers alone.
#[derive(Args, Clone, Debug)]
pub(crate) struct ControllerOptions {
    /// How to reach the API server.
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// The CA certificate that goes into each namespace's kube-root-ca.crt.
    #[arg(long)]
    pub(crate) root_ca_file: PathBuf,
    #[command(flatten)]
    pub(crate) pod_ranges: PodRanges,
    /// Addresses of Services: a network, or one of each family separated by a comma.
    #[arg(long, default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: String,
}

/// Of the scheduler alone.
#[derive(Args, Clone, Debug)]
pub(crate) struct SchedulerOptions {
    /// How to reach the API server.
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// Pods with this `spec.schedulerName` are scheduled.
    #[arg(long, default_value = "default-scheduler")]
    pub(crate) scheduler_name: String,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: ServerOptions,
    }

    fn resolve(arguments: &[&str]) -> Result<Server, String> {
        let line = Line::try_parse_from([&["x"], arguments].concat()).map_err(|error| error.to_string())?;
        line.options.resolved().map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.yaml");
        std::fs::write(&path, "securePort: 7443\ndataDir: /srv/x\nadvertiseAddress: 192.0.2.1\n").unwrap();
        let file = path.to_str().unwrap();
        let server = resolve(&["--config", file, "--secure-port", "8443"]).unwrap();
        assert_eq!(server.secure_port, 8443);
        assert_eq!(server.data_dir, Path::new("/srv/x"));
        assert_eq!(server.cluster_domain, "cluster.local");
    }

    #[test]
    fn both_families_by_the_line_or_the_file() {
        let one = resolve(&["--advertise-address", "192.0.2.1"]).unwrap();
        assert_eq!(one.cluster_dns, [IpAddr::from([10, 96, 0, 10])]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.yaml");
        let text = "advertiseAddress: 192.0.2.1\nclusterCidr: 10.244.0.0/16,fd00:10:244::/56\n\
                    serviceClusterIpRange: 10.96.0.0/12,fd00:10:96::/112\nnodeCidrMaskSizeIpv6: 72\n";
        std::fs::write(&path, text).unwrap();
        let two = resolve(&["--config", path.to_str().unwrap()]).unwrap();
        assert_eq!(two.cluster_dns.len(), 2);
        let controllers = two.pod_ranges.controllers(&two.service_ranges).unwrap();
        assert_eq!(controllers.service_cidr, "10.96.0.0/12,fd00:10:96::/112");
        assert_eq!(controllers.node_cidr_mask_size_ipv6, Some(72));

        let six = ["--service-cluster-ip-range", "fd00:10:96::/112"];
        assert!(resolve(&[&six[..], &["--advertise-address", "2001:db8::1"]].concat()).is_ok());
        let error = resolve(&[&six[..], &["--advertise-address", "192.0.2.1"]].concat()).unwrap_err();
        assert!(error.contains("--advertise-address \"192.0.2.1\""), "{error}");
        let size = ["--config", path.to_str().unwrap(), "--node-cidr-mask-size", "24"];
        let server = resolve(&size).unwrap();
        let error = server.pod_ranges.controllers(&server.service_ranges).unwrap_err().to_string();
        assert!(error.contains("--node-cidr-mask-size is not allowed with dual-stack"), "{error}");
    }

    #[test]
    fn durations_are_read_as_upstream_writes_them() {
        let given = ["--advertise-address", "192.0.2.1", "--event-ttl", "1h30m"];
        let server = resolve(&given).unwrap();
        assert_eq!((server.event_ttl.as_secs(), server.compaction_interval.as_secs()), (5400, 300));
        for wrong in ["", "5", "-3s", "0s", "soon"] {
            let given = format!("--event-ttl={wrong}");
            let error = resolve(&["--advertise-address", "192.0.2.1", &given]).unwrap_err();
            assert!(error.contains("--event-ttl") && error.contains("1h30m"), "{wrong}: {error}");
        }
    }

    #[test]
    fn apis_are_turned_on_by_the_line_or_the_file() {
        let beta = |server: &Server| {
            server.runtime_config.served().iter().filter(|row| row.version == "v1beta1").count()
        };
        let address = ["--advertise-address", "192.0.2.1"];
        let given = |more: &[&str]| resolve(&[&address, more].concat());
        assert_eq!(beta(&given(&[]).unwrap()), 0);
        assert_eq!(beta(&given(&["--runtime-config=policy/v1beta1=true,batch/v1beta1"]).unwrap()), 2);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.yaml");
        std::fs::write(&path, "runtimeConfig: [api/beta=true]\n").unwrap();
        assert_eq!(beta(&given(&["--config", path.to_str().unwrap()]).unwrap()), 3);
        let error = given(&["--runtime-config=policy/v1beta9=true"]).unwrap_err();
        assert!(
            error.contains("--runtime-config: group version policy/v1beta9 that has not been registered"),
            "{error}"
        );
    }

    #[test]
    fn bad_input_is_named() {
        assert!(resolve(&[]).unwrap_err().contains("--advertise-address 192.0.2.10"));
        assert!(resolve(&["--secure-port", "99999"]).unwrap_err().contains("99999"));
        assert!(resolve(&["--config", "/nowhere.yaml"]).unwrap_err().contains("/nowhere.yaml"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.yaml");
        std::fs::write(&path, "securePorts: 7443\n").unwrap();
        let error = resolve(&["--config", path.to_str().unwrap()]).unwrap_err();
        assert!(error.contains("securePorts"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
