//! Options of `xebec-agent run`, with upstream's kubelet names where the meaning is the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use xebec_program::Failure;

use crate::network::NetworkPaths;
use crate::proxy::BpfOptions;

/// Of a whole node.
#[derive(Args)]
pub(crate) struct RunOptions {
    /// How to reach the API server, as the user system:node:<name>.
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// This node's name.
    #[arg(long, default_value_t = hostname())]
    pub(crate) node_name: String,
    /// This node's address, or one of each family, the primary family's first.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) node_ip: Vec<IpAddr>,
    /// The container runtime's socket (CRI v1).
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    pub(crate) container_runtime_endpoint: PathBuf,
    /// Serving certificate of port 10250.
    #[arg(long)]
    pub(crate) tls_cert_file: PathBuf,
    /// Its key.
    #[arg(long)]
    pub(crate) tls_private_key_file: PathBuf,
    /// The CA that client certificates at port 10250 are checked against.
    #[arg(long)]
    pub(crate) client_ca_file: PathBuf,
    /// Address of port 10250; 0.0.0.0 and :: are all addresses of both families.
    #[arg(long, default_value = "0.0.0.0")]
    pub(crate) address: IpAddr,
    /// The kubelet's port.
    #[arg(long, default_value_t = 10250)]
    pub(crate) port: u16,
    /// Addresses of the cluster DNS; this agent serves them on this node.
    #[arg(long, default_value = "10.96.0.10", value_delimiter = ',')]
    pub(crate) cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// Where pods and the DNS get the node's resolvers from.
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub(crate) resolv_conf: PathBuf,
    /// Pod folders.
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub(crate) root_dir: PathBuf,
    /// The cgroup below which `kubepods` is made.
    #[arg(long, default_value = "/")]
    pub(crate) cgroup_root: String,
    /// Labels that the node registers with: key=value,...
    #[arg(long, value_delimiter = ',')]
    node_labels: Vec<String>,
    /// RuntimeClasses whose pods call no socket of this node's kernel: they reach Services packet by packet, at their devices,
    /// as pods with the annotation network.xebec.dev/service-path=packet do.
    #[arg(long, value_delimiter = ',', default_value = "kata,kata-qemu,kata-clh,kata-fc,gvisor,runsc")]
    packet_runtime_classes: Vec<String>,
    /// The most pods.
    #[arg(long, default_value_t = 110)]
    pub(crate) max_pods: u32,
    /// Leave the pod network to a foreign CNI plugin.
    #[arg(long)]
    pub(crate) no_network: bool,
    /// Let packets between pods of this node take the node's IP stack, where its packet filter sees them.
    #[arg(long)]
    pub(crate) no_pod_path: bool,
    /// Leave service virtual IPs to somebody else, such as kube-proxy or the pod of deploy/proxy.yaml. Host ports go with
    /// them (a portmap plugin in a CNI configuration of one's own), and so do load balancers' addresses and the metrics of
    /// network policies; pod network, policies, ways between pods and cluster DNS are the agent's all the same. What the
    /// agent made for Services before stays in the kernel for a proxy to take over, or for `proxy --cleanup` to remove.
    #[arg(long)]
    pub(crate) no_proxy: bool,
    /// Answer for no load balancer's address on the node's networks (ARP, neighbour discovery); so does --no-proxy.
    #[arg(long)]
    pub(crate) no_announce: bool,
    /// Leave the cluster DNS to somebody else, such as CoreDNS.
    #[arg(long)]
    pub(crate) no_dns: bool,
    #[command(flatten)]
    pub(crate) network: NetworkPaths,
    #[command(flatten)]
    pub(crate) bpf: BpfOptions,
}

impl RunOptions {
    /// The kubelet's settings.
    pub(crate) fn kubelet(&self) -> Result<xebec_kubelet::Config, Failure> {
        let primary = primary(&self.node_ip)?.to_string();
        let mut config = xebec_kubelet::Config::new(&self.node_name, &primary);
        config.node_ips = self.node_ip.iter().map(ToString::to_string).collect();
        config.hostname = hostname();
        config.cluster_dns = self.cluster_dns.iter().map(ToString::to_string).collect();
        config.cluster_domain.clone_from(&self.cluster_domain);
        config.resolv_conf.clone_from(&self.resolv_conf);
        config.root_dir.clone_from(&self.root_dir);
        config.cgroup_root.clone_from(&self.cgroup_root);
        config.node_labels = labels(&self.node_labels)?;
        config.runtime_class_annotations = by_packets(&self.packet_runtime_classes);
        config.max_pods = self.max_pods;
        config.port = self.port;
        Ok(config)
    }
}

/// What sandboxes of pods of these classes say, unless the pods say otherwise.
fn by_packets(classes: &[String]) -> BTreeMap<String, (String, String)> {
    let said = || (xebec_network::SERVICE_PATH.to_owned(), "packet".to_owned());
    classes.iter().filter(|class| !class.is_empty()).map(|class| (class.clone(), said())).collect()
}

/// The first of one address or of one of each family; what else is given is no node's.
fn primary(given: &[IpAddr]) -> Result<IpAddr, Failure> {
    match given {
        [only] => Ok(*only),
        [first, second] if first.is_ipv4() != second.is_ipv4() => Ok(*first),
        _ => {
            let text = given.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let right = "must contain either a single IP or a dual-stack pair of IPs, such as 192.0.2.10,2001:db8::10";
            Err(Failure::Option(format!("--node-ip {text:?}: {right}")))
        }
    }
}

fn labels(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        let split = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        split.ok_or_else(|| Failure::Option(format!("--node-labels {text:?}: not of the form key=value")))
    };
    given.iter().map(pair).collect()
}

/// The machine's host name in lower case, as a node name.
pub(crate) fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_address_of_each_family() {
        let of = |text: &str| {
            let given: Vec<IpAddr> = text.split(',').map(|ip| ip.parse().unwrap()).collect();
            primary(&given).map_err(|error| error.to_string())
        };
        assert_eq!(of("192.0.2.1,2001:db8::1"), Ok("192.0.2.1".parse().unwrap()));
        assert_eq!(of("2001:db8::1,192.0.2.1"), Ok("2001:db8::1".parse().unwrap()));
        for wrong in ["192.0.2.1,192.0.2.2", "192.0.2.1,2001:db8::1,2001:db8::2"] {
            assert!(of(wrong).unwrap_err().contains("--node-ip"), "{wrong}");
        }
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(labels(&["a=b".to_owned(), "c=".to_owned()]).unwrap().len(), 2);
        let error = labels(&["nope".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("\"nope\""), "{error}");
    }
}
