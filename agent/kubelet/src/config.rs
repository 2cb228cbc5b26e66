//! What the agent is told about its node. Enters: flags and the configuration file, read by the agent binary.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The node's settings; names follow upstream's flags.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Node object's name.
    pub node_name: String,
    /// The node's addresses, the primary first (`--node-ip`).
    pub node_ips: Vec<String>,
    /// The machine's host name.
    pub hostname: String,
    /// Addresses of the cluster DNS (`--cluster-dns`).
    pub cluster_dns: Vec<String>,
    /// The cluster's domain (`--cluster-domain`).
    pub cluster_domain: String,
    /// The resolv.conf that pods inherit from (`--resolv-conf`).
    pub resolv_conf: PathBuf,
    /// Pod directories and the agent's own files (`--root-dir`).
    pub root_dir: PathBuf,
    /// Pod logs (`--pod-logs-dir`).
    pub pod_logs_dir: PathBuf,
    /// Links to pod logs, `/var/log/containers`.
    pub container_logs_dir: PathBuf,
    /// The cgroup below which `kubepods` is made; `/` is the root.
    pub cgroup_root: String,
    /// The most processes a pod may have (`--pod-max-pids`); `None` = no limit.
    pub pod_pids_limit: Option<i64>,
    /// Convert cpu shares to v2 weights as runc before 1.3.2 does, to agree with the runtime.
    pub linear_cpu_weights: bool,
    /// Extra labels of the Node object.
    pub node_labels: BTreeMap<String, String>,
    /// Register the node unschedulable with these taints: (key, value, effect).
    pub register_with_taints: Vec<(String, String, String)>,
    /// By a RuntimeClass's name, an annotation that its pods' sandboxes get where the pods have it not.
    pub runtime_class_annotations: BTreeMap<String, (String, String)>,
    /// The most pods the node takes.
    pub max_pods: u32,
    /// The port of the kubelet's server.
    pub port: u16,
    /// What `nodeInfo.kubeletVersion` says.
    pub version: String,
    /// How often the node's status is worked out.
    pub node_status_update: Duration,
    /// How often it is written even if nothing changed.
    pub node_status_report: Duration,
    /// How long the node's Lease is valid; renewed four times in that time.
    pub lease_duration: Duration,
    /// How often configMaps, secrets and tokens in volumes are brought up to date.
    pub volume_refresh: Duration,
    /// cpu, memory, ephemeral-storage kept back from pods (`--system-reserved` and `--kube-reserved` together).
    pub reserved: BTreeMap<String, String>,
}

impl Config {
    /// Upstream's defaults for a node of this name and address.
    pub fn new(node_name: &str, node_ip: &str) -> Self {
        Config {
            node_name: node_name.to_owned(),
            node_ips: vec![node_ip.to_owned()],
            hostname: node_name.to_owned(),
            cluster_dns: vec!["10.96.0.10".to_owned()],
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: "/etc/resolv.conf".into(),
            root_dir: "/var/lib/kubelet".into(),
            pod_logs_dir: "/var/log/pods".into(),
            container_logs_dir: "/var/log/containers".into(),
            cgroup_root: "/".to_owned(),
            pod_pids_limit: None,
            linear_cpu_weights: false,
            node_labels: BTreeMap::new(),
            register_with_taints: Vec::new(),
            runtime_class_annotations: BTreeMap::new(),
            max_pods: 110,
            port: 10250,
            version: "v1.36.0+xebec".to_owned(),
            node_status_update: Duration::from_secs(10),
            node_status_report: Duration::from_secs(300),
            lease_duration: Duration::from_secs(40),
            volume_refresh: Duration::from_secs(60),
            reserved: BTreeMap::new(),
        }
    }
}
