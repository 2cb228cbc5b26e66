//! What an operator can say about the API server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use xebec_audit::Auditor;

use crate::identity::IdentityOptions;
use crate::resources::RuntimeConfig;

/// Configuration of the API server; the names follow upstream's flags.
#[derive(Clone)]
pub struct Config {
    /// Address and port of the TLS listener (`--bind-address`, `--secure-port`).
    pub bind: SocketAddr,
    /// Address other machines reach this server at; goes into the endpoints of the `kubernetes` Service.
    pub advertise_address: IpAddr,
    /// Port that goes with it.
    pub advertise_port: u16,
    /// Address ranges of Services, the first one is the default family (`--service-cluster-ip-range`).
    pub service_cluster_ip_range: Vec<String>,
    /// Ports of NodePort Services (`--service-node-port-range`).
    pub service_node_port_range: RangeInclusive<u16>,
    /// Directory with the files [`xebec_identity::pki::Pki::ensure`] makes.
    pub pki_dir: PathBuf,
    /// Issuer of service account tokens (`--service-account-issuer`).
    pub service_account_issuer: String,
    /// Whether requests without credentials become `system:anonymous` (`--anonymous-auth`).
    pub anonymous_auth: bool,
    /// How requests are authenticated and authorized, beyond what stands here.
    pub identity: IdentityOptions,
    /// What writes requests down (`--audit-*`).
    pub audit: Option<Arc<Auditor>>,
    /// Which built-in resources are served (`--runtime-config`).
    pub runtime_config: RuntimeConfig,
    /// Whether requests share the server by FlowSchemas and PriorityLevelConfigurations, whose seats are the sum of the
    /// two limits below (`--enable-priority-and-fairness`).
    pub priority_and_fairness: bool,
    /// Reads worked on at once (`--max-requests-inflight`).
    pub max_requests_in_flight: usize,
    /// Writes worked on at once (`--max-mutating-requests-inflight`).
    pub max_mutating_requests_in_flight: usize,
    /// Admission plug-ins to run besides the default ones (`--enable-admission-plugins`).
    pub enable_admission_plugins: Vec<String>,
    /// Default admission plug-ins not to run (`--disable-admission-plugins`).
    pub disable_admission_plugins: Vec<String>,
    /// An AdmissionConfiguration, YAML or JSON (`--admission-control-config-file`).
    pub admission_control_config_file: Option<PathBuf>,
    /// How long pods stay on a node that is not ready, in seconds (`--default-not-ready-toleration-seconds`).
    pub default_not_ready_toleration_seconds: i64,
    /// How long pods stay on a node that cannot be reached (`--default-unreachable-toleration-seconds`).
    pub default_unreachable_toleration_seconds: i64,
    /// How long events are kept (`--event-ttl`).
    pub event_ttl: Duration,
    /// How long history is kept for watches that start in the past (`--etcd-compaction-interval`).
    pub compaction_interval: Duration,
    /// How long requests may go on after a stop was asked for (`--shutdown-grace-period`).
    pub shutdown_grace: Duration,
}

impl Config {
    /// The defaults over a PKI directory, advertised at `advertise_address`.
    #[must_use]
    pub fn new(pki_dir: PathBuf, advertise_address: IpAddr) -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 6443)),
            advertise_address,
            advertise_port: 6443,
            service_cluster_ip_range: vec!["10.96.0.0/12".to_owned()],
            service_node_port_range: 30000..=32767,
            pki_dir,
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            anonymous_auth: true,
            identity: IdentityOptions::default(),
            audit: None,
            runtime_config: RuntimeConfig::default(),
            priority_and_fairness: true,
            max_requests_in_flight: 400,
            max_mutating_requests_in_flight: 200,
            enable_admission_plugins: Vec::new(),
            disable_admission_plugins: Vec::new(),
            admission_control_config_file: None,
            default_not_ready_toleration_seconds: 300,
            default_unreachable_toleration_seconds: 300,
            event_ttl: Duration::from_secs(3600),
            compaction_interval: Duration::from_secs(300),
            shutdown_grace: Duration::from_secs(10),
        }
    }

    /// `host:port` of the advertised address.
    #[must_use]
    pub fn advertise_host(&self) -> String {
        SocketAddr::new(self.advertise_address, self.advertise_port).to_string()
    }
}
