//! The service dataplane alone, and what it can tell.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;
use xebec_dataplane::Options;

use crate::client;
use crate::failure::Failure;

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
    /// The devices that traffic from outside passes; the default is every Ethernet device with an address of the node.
    #[arg(long, value_delimiter = ',')]
    bpf_devices: Option<Vec<String>>,
    /// Let the programs log every translation.
    #[arg(long)]
    bpf_log: bool,
    /// Where /healthz and /livez tell of the service virtual IPs: an address, with a port other than 10256 after it;
    /// empty for nowhere.
    #[arg(long, default_value = "0.0.0.0:10256", value_parser = healthz)]
    healthz_bind_address: Healthz,
}

/// The port of the proxy's health checks, as upstream.
const HEALTHZ_PORT: u16 = 10256;

/// An address to listen on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Healthz(Option<SocketAddr>);

fn healthz(text: &str) -> Result<Healthz, String> {
    if text.is_empty() {
        return Ok(Healthz(None));
    }
    let with_port = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, HEALTHZ_PORT));
    match with_port.or_else(alone) {
        Some(address) => Ok(Healthz(Some(address))),
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
        options.devices.clone_from(&self.bpf_devices);
        options.log_programs = self.bpf_log;
        options.healthz = self.healthz_bind_address.0;
        options
    }
}

/// Of `xebec-agent proxy`.
#[derive(Args)]
pub(crate) struct ProxyArgs {
    /// How to reach the API server.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// This node's name.
    #[arg(long, default_value_t = crate::options::hostname())]
    node_name: String,
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

/// Runs the dataplane, or answers a question about a running one.
pub(crate) async fn run(args: ProxyArgs, stop: CancellationToken) -> Result<(), Failure> {
    match args.question {
        None => {
            let client = client::from(args.kubeconfig.as_deref()).await?;
            let options = args.bpf.options(&args.node_name);
            xebec_dataplane::run(client, options, stop)
                .await
                .map_err(|error| Failure::part("service dataplane")(&error))
        }
        Some(Question::Explain { address, protocol }) => explain(&args.bpf, address, &protocol),
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn explain(bpf: &BpfOptions, address: SocketAddr, protocol: &str) -> Result<(), Failure> {
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => xebec_dataplane::Protocol::Tcp,
        "udp" => xebec_dataplane::Protocol::Udp,
        other => return Err(Failure::Option(format!("--protocol {other:?}: give tcp or udp"))),
    };
    let found = xebec_dataplane::explain(&bpf.bpf_pin_dir, address.ip(), address.port(), protocol)
        .map_err(|error| Failure::part("service dataplane")(&error))?;
    println!("{found}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_are_at_an_address_or_nowhere() {
        let at = |text: &str| healthz(text).map(|Healthz(address)| address.map(|a| a.to_string()));
        assert_eq!(at(""), Ok(None));
        for (text, address) in [
            ("0.0.0.0:10256", "0.0.0.0:10256"),
            ("10.0.0.1", "10.0.0.1:10256"),
            ("::", "[::]:10256"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(at(text), Ok(Some(address.to_owned())), "{text}");
        }
        for bad in ["localhost", "10.0.0.1:0", "10.0.0.1:65536", ":10256", "10256"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
