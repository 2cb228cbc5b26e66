//! `xebec-control certs`: what a node needs, issued from the cluster's CA. Enters: names. Leaves: files.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use xebec_identity::pki::{Pki, PkiOptions};
use xebec_program::Failure;

/// What to issue.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// A node's kubeconfig (kubelet.conf) and serving certificate (pki/kubelet.crt, pki/kubelet.key).
    Node(NodeArgs),
}

/// For which node.
#[derive(Args)]
pub(crate) struct NodeArgs {
    /// The cluster's certificates.
    #[arg(long, default_value = "/etc/xebec/pki")]
    cert_dir: PathBuf,
    /// Where the files are written.
    #[arg(long, default_value = "/etc/xebec")]
    kubeconfig_dir: PathBuf,
    /// The node's name.
    #[arg(long)]
    node_name: String,
    /// Addresses that the API server reaches the node at.
    #[arg(long, value_delimiter = ',', required = true)]
    node_ip: Vec<IpAddr>,
    /// The API server's URL, such as https://192.0.2.10:6443.
    #[arg(long)]
    server: String,
}

/// Writes the files; existing ones that are valid stay.
pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Node(args) = command;
    let authority = args.cert_dir.join("ca.crt");
    if !authority.exists() {
        let path = authority.display();
        return Err(Failure::Option(format!(
            "--cert-dir: there is no {path}; start the control plane once, it makes it"
        )));
    }
    let failed = |error: &dyn std::error::Error| Failure::part("certificates")(error);
    let pki = Pki::open(&args.cert_dir).map_err(|error| failed(&error))?;
    pki.ensure_node(&args.kubeconfig_dir, &args.node_name, &args.node_ip, &args.server)
        .map_err(|error| failed(&error))?;
    Ok(())
}

/// The options of the API server's own certificates: for the address that is advertised, and for those that a Service
/// leads from, the first of each range.
pub(crate) fn options(service_ips: &[IpAddr], advertise: IpAddr, domain: &str) -> PkiOptions {
    let (first, others) = service_ips.split_first().unwrap_or((&advertise, &[]));
    let mut options = PkiOptions::new(*first);
    options.ip_addresses = [&[advertise], others].concat();
    options.cluster_domain = domain.to_owned();
    options
}
