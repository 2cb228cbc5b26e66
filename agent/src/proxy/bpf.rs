//! Options of the service dataplane that `run` and `proxy` share.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use xebec_dataplane::{Capacity, Options};

/// Where the programs come from and go.
#[derive(Args, Clone, Debug)]
pub(crate) struct BpfOptions {
    /// The eBPF object; the default is xebec.bpf.o beside the program, else /usr/lib/xebec/xebec.bpf.o.
    #[arg(long)]
    bpf_object: Option<PathBuf>,
    /// Where maps and links are pinned.
    #[arg(long, default_value = xebec_dataplane::DEFAULT_PIN_DIR)]
    pub(crate) bpf_pin_dir: PathBuf,
    /// The cgroup2 folder to attach to; the default is the root of the hierarchy.
    #[arg(long)]
    bpf_cgroup: Option<PathBuf>,
    /// The devices that traffic from outside enters by; the default is every Ethernet device with an address of the node. Its
    /// way on to pods of other nodes may be the pod network's tunnel in any case.
    #[arg(long, value_delimiter = ',')]
    bpf_devices: Option<Vec<String>>,
    /// Send packets between outside clients and endpoints on other nodes on in the devices' drivers (XDP), once their flow is
    /// answered. A driver may set its device up anew for it; one that cannot run programs goes without.
    #[arg(long)]
    bpf_xdp: bool,
    /// The UDP port of VXLAN by which nodes send each other packets of Services with the annotation
    /// network.xebec.dev/forwarding-mode: dsr. The same on every node, free, and open between them.
    #[arg(long, default_value_t = xebec_dataplane::DEFAULT_TUNNEL_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    bpf_tunnel_port: u16,
    /// How many endpoints of Services the maps have room for when they are made; maps that are pinned keep their size until
    /// `--cleanup`. Every thousand takes 0.2 MB.
    #[arg(long, default_value_t = Capacity::ENDPOINTS, value_parser = clap::value_parser!(u32).range(1..=Capacity::MOST_ENDPOINTS.into()))]
    bpf_max_endpoints: u32,
    /// Let the programs log every translation.
    #[arg(long)]
    bpf_log: bool,
    /// Where /healthz and /livez tell of the service virtual IPs: an address, with a port other than 10256 after it;
    /// 0.0.0.0 and :: are every address of both families; empty for nowhere.
    #[arg(long, default_value = "0.0.0.0:10256", value_parser = healthz)]
    pub(super) healthz_bind_address: Listen,
    /// Where /metrics, /proxyMode and the names for `xebec-agent dataplane` are answered: an address, with a port other
    /// than 10249 after it; empty for nowhere.
    #[arg(long, default_value = "127.0.0.1:10249", value_parser = metrics)]
    pub(super) metrics_bind_address: Listen,
}

/// The port of the proxy's health checks, as upstream.
pub(super) const HEALTHZ_PORT: u16 = 10256;
/// The port of the proxy's metrics, as upstream.
pub(super) const METRICS_PORT: u16 = 10249;

/// An address to listen on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listen(pub(super) Option<SocketAddr>);

fn healthz(text: &str) -> Result<Listen, String> {
    listen(text, HEALTHZ_PORT)
}

fn metrics(text: &str) -> Result<Listen, String> {
    listen(text, METRICS_PORT)
}

/// An address with or without a port. PURE.
pub(super) fn listen(text: &str, port: u16) -> Result<Listen, String> {
    if text.is_empty() {
        return Ok(Listen(None));
    }
    let with_port = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port));
    match with_port.or_else(alone) {
        Some(address) => Ok(Listen(Some(address))),
        None => Err("give an IP address, with or without a port from 1 to 65535, or nothing".to_owned()),
    }
}

impl BpfOptions {
    /// For a node of this name.
    pub(crate) fn options(&self, node_name: &str) -> Options {
        let mut options = Options::new(node_name);
        options.bpf_object.clone_from(&self.bpf_object);
        options.pin_dir.clone_from(&self.bpf_pin_dir);
        options.cgroup_path.clone_from(&self.bpf_cgroup);
        options.capacity = Capacity::of_endpoints(self.bpf_max_endpoints);
        options.devices.clone_from(&self.bpf_devices);
        options.xdp = self.bpf_xdp;
        options.tunnel_port = self.bpf_tunnel_port;
        options.log_programs = self.bpf_log;
        options.healthz = self.healthz_bind_address.0;
        options.metrics = self.metrics_bind_address.0;
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_are_at_an_address_or_nowhere() {
        let at = |text: &str| healthz(text).map(|Listen(address)| address.map(|a| a.to_string()));
        assert_eq!(at(""), Ok(None));
        for (text, address) in [
            ("0.0.0.0:10256", "0.0.0.0:10256"),
            ("10.0.0.1", "10.0.0.1:10256"),
            ("::", "[::]:10256"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(at(text), Ok(Some(address.to_owned())), "{text}");
        }
        assert_eq!(metrics("127.0.0.1"), Ok(Listen(Some(([127, 0, 0, 1], 10249).into()))));
        for bad in ["localhost", "10.0.0.1:0", "10.0.0.1:65536", ":10256", "10256"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
