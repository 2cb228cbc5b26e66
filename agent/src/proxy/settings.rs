//! Flags and the configuration file to the dataplane's options. PURE but for what it is given. As upstream, a file
//! (`--config`) replaces the flags it has fields for, but `--hostname-override`, `--master` and `-v`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use xebec_dataplane::{NodePorts, PodRanges, SourceRange};
use xebec_program::Failure;

use super::bpf::{HEALTHZ_PORT, METRICS_PORT, listen};
use super::config::FileConfig;

/// Lower than every pod's: the node's services must not be the first to go (pkg/kubelet/qos).
const OOM_SCORE: i64 = -999;

/// kube-proxy's flags, as given.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) kubeconfig: Option<String>,
    pub(super) node_name: Option<String>,
    pub(super) bind_address: Option<String>,
    pub(super) healthz: Option<SocketAddr>,
    pub(super) healthz_port: Option<u16>,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) metrics_port: Option<u16>,
    pub(super) detect_local_mode: Option<String>,
    pub(super) cluster_cidr: Option<String>,
    pub(super) node_port_addresses: Vec<String>,
    pub(super) oom_score_adj: Option<i64>,
}

/// What they come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) kubeconfig: Option<String>,
    pub(super) node_name: String,
    pub(super) node_ips: Vec<IpAddr>,
    pub(super) healthz: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) node_ports: NodePorts,
    pub(super) pod_ranges: PodRanges,
    pub(super) oom_score_adj: i64,
}

impl Settings {
    /// The settings, on a machine with that host name.
    ///
    /// # Errors
    /// A flag or field has a value that cannot be used.
    pub(super) fn new(given: &Given, file: Option<&FileConfig>, hostname: &str) -> Result<Self, Failure> {
        let from_file = file.map(FileConfig::given).transpose()?;
        let base = from_file.as_ref().unwrap_or(given);
        let name = given.node_name.as_ref().or(base.node_name.as_ref());
        let node_name = name.map_or(hostname, |name| name.trim()).to_lowercase();
        if node_name.is_empty() {
            return Err(Failure::Option("--hostname-override: empty; give the name of this node".to_owned()));
        }
        let port = |address: Option<SocketAddr>, port: Option<u16>| match port {
            Some(0) => None,
            Some(port) => address.map(|address| SocketAddr::new(address.ip(), port)),
            None => address,
        };
        let oom_score_adj = base.oom_score_adj.unwrap_or(OOM_SCORE);
        if !(-1000..=1000).contains(&oom_score_adj) {
            return Err(Failure::Option(format!("--oom-score-adj {oom_score_adj}: give -1000 to 1000")));
        }
        Ok(Self {
            kubeconfig: base.kubeconfig.clone(),
            node_name,
            node_ips: base.bind_address.as_deref().map(node_ip).transpose()?.flatten().into_iter().collect(),
            healthz: port(base.healthz, base.healthz_port),
            metrics: port(base.metrics, base.metrics_port),
            node_ports: node_ports(&base.node_port_addresses)?,
            pod_ranges: pod_ranges(base.detect_local_mode.as_deref(), base.cluster_cidr.as_deref())?,
            oom_score_adj,
        })
    }
}

impl FileConfig {
    /// As flags, with the file's defaults.
    fn given(&self) -> Result<Given, Failure> {
        let v6 = self.bind_address.as_deref().is_some_and(|address| address.contains(':'));
        let at = |field, text: &Option<String>, port, default: &'static str| {
            listen(text.as_deref().unwrap_or(default), port)
                .map(|listen| listen.0)
                .map_err(|why| Failure::Option(format!("--config: {field}: {text:?}: {why}")))
        };
        let every = if v6 { "::" } else { "0.0.0.0" };
        let loopback = if v6 { "::1" } else { "127.0.0.1" };
        Ok(Given {
            kubeconfig: self.kubeconfig.clone(),
            node_name: self.hostname_override.clone(),
            bind_address: self.bind_address.clone(),
            healthz: at("healthzBindAddress", &self.healthz_bind_address, HEALTHZ_PORT, every)?,
            healthz_port: None,
            metrics: at("metricsBindAddress", &self.metrics_bind_address, METRICS_PORT, loopback)?,
            metrics_port: None,
            detect_local_mode: self.detect_local_mode.clone(),
            cluster_cidr: self.cluster_cidr.clone(),
            node_port_addresses: self.node_port_addresses.clone(),
            oom_score_adj: self.oom_score_adj,
        })
    }
}

/// The node's address; none if it is the unspecified one.
fn node_ip(text: &str) -> Result<Option<IpAddr>, Failure> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| Failure::Option(format!("--bind-address {text:?}: give an IP address of this node")))?;
    Ok(Some(address).filter(|address| !address.is_unspecified()))
}

fn range(flag: &str, text: &str) -> Result<SourceRange, Failure> {
    let bad = || Failure::Option(format!("{flag} {text:?}: give networks such as 10.0.0.0/8"));
    SourceRange::parse(text).ok_or_else(bad)
}

fn node_ports(given: &[String]) -> Result<NodePorts, Failure> {
    match given {
        [] => Ok(NodePorts::Everywhere),
        [one] if one == "primary" => Ok(NodePorts::Primary),
        ranges => {
            let ranges = ranges.iter().map(|text| range("--nodeport-addresses", text));
            ranges.collect::<Result<_, _>>().map(NodePorts::Within)
        }
    }
}

fn pod_ranges(mode: Option<&str>, cidr: Option<&str>) -> Result<PodRanges, Failure> {
    match mode.filter(|mode| !mode.is_empty()) {
        None | Some("ClusterCIDR") => {
            let texts = cidr.unwrap_or_default().split(',').filter(|text| !text.is_empty());
            let ranges: BTreeSet<_> =
                texts.map(|text| range("--cluster-cidr", text)).collect::<Result<_, _>>()?;
            Ok(if ranges.is_empty() { PodRanges::Unknown } else { PodRanges::These(ranges) })
        }
        Some("NodeCIDR") => Ok(PodRanges::OfNode),
        Some("BridgeInterface" | "InterfaceNamePrefix") => Ok(PodRanges::Unknown),
        Some(other) => Err(Failure::Option(format!(
            "--detect-local-mode {other:?}: give ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(given: &Given, file: Option<&FileConfig>) -> Settings {
        Settings::new(given, file, "Host").unwrap()
    }

    #[test]
    fn flags_have_upstreams_meaning() {
        let plain = settings(&Given::default(), None);
        assert_eq!((plain.node_name.as_str(), plain.oom_score_adj), ("host", -999));
        let address = |text: &str| text.parse::<SocketAddr>().ok();
        let given = Given {
            node_name: Some(" Node-A ".to_owned()),
            bind_address: Some("10.0.0.5".to_owned()),
            healthz: address("0.0.0.0:10256"),
            healthz_port: Some(0),
            metrics: address("127.0.0.1:10249"),
            metrics_port: Some(9000),
            cluster_cidr: Some("10.244.0.0/16,fd44::/48".to_owned()),
            node_port_addresses: vec!["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()],
            ..Given::default()
        };
        let found = settings(&given, None);
        assert_eq!(found.node_name, "node-a");
        assert_eq!(found.node_ips, ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!((found.healthz, found.metrics), (None, address("127.0.0.1:9000")));
        assert!(matches!(&found.node_ports, NodePorts::Within(ranges) if ranges.len() == 2));
        assert!(matches!(&found.pod_ranges, PodRanges::These(ranges) if ranges.len() == 2));
        let mode = |mode: &str| pod_ranges(Some(mode), Some("10.244.0.0/16"));
        assert_eq!(mode("NodeCIDR").unwrap(), PodRanges::OfNode);
        assert_eq!(mode("BridgeInterface").unwrap(), PodRanges::Unknown);
        assert!(mode("Other").unwrap_err().to_string().contains("\"Other\""));
        assert_eq!(node_ports(&["primary".to_owned()]).unwrap(), NodePorts::Primary);
        assert!(node_ports(&["primary".to_owned(), "10.0.0.0/8".to_owned()]).is_err());
        assert_eq!(node_ip("0.0.0.0").unwrap(), None);
        assert!(node_ip("node").is_err());
    }

    #[test]
    fn a_file_replaces_the_flags_but_the_name() {
        let given = Given {
            node_name: Some("flag".to_owned()),
            kubeconfig: Some("/flag".to_owned()),
            cluster_cidr: Some("10.0.0.0/8".to_owned()),
            ..Given::default()
        };
        let file = FileConfig {
            hostname_override: Some("file".to_owned()),
            bind_address: Some("::".to_owned()),
            metrics_bind_address: Some("10.0.0.5".to_owned()),
            ..FileConfig::default()
        };
        let found = settings(&given, Some(&file));
        assert_eq!((found.node_name.as_str(), found.kubeconfig.as_deref()), ("flag", None));
        assert_eq!(found.pod_ranges, PodRanges::Unknown);
        assert_eq!(found.healthz, "[::]:10256".parse().ok());
        assert_eq!(found.metrics, "10.0.0.5:10249".parse().ok());
        assert_eq!(settings(&Given { node_name: None, ..given }, Some(&file)).node_name, "file");
        let bad = FileConfig { healthz_bind_address: Some("here".to_owned()), ..FileConfig::default() };
        let error = Settings::new(&Given::default(), Some(&bad), "h").unwrap_err().to_string();
        assert!(error.contains("healthzBindAddress") && error.contains("here"), "{error}");
    }
}
