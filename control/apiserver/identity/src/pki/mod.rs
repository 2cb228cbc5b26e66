//! The cluster's certificates: made once, renewed in time, laid out as kubeadm lays them out.
//!
//! Enters: a directory and the names and addresses of the API server ([`PkiOptions`]). Leaves: `ca`, `apiserver`,
//! `apiserver-kubelet-client`, `front-proxy-ca`, `front-proxy-client` (`.crt`, `.key`) and `sa.key`, `sa.pub` in it,
//! and kubeconfigs where the caller wants them. Called by `xebec-control` and `cargo xtask up`; calling it again is
//! cheap and changes nothing until a certificate has less than 30 days left or lacks a name. [`tls`] serves the
//! files and follows their renewal without a restart.
//!
//! Keys are ECDSA P-256, files with keys have mode 0600.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

mod authority;
mod files;
mod kubeconfig;
mod leaf;
pub mod outbound;
pub mod tls;

pub use authority::Authority;
pub use kubeconfig::kubeconfig;
pub use leaf::{Issued, Leaf, Usage};

/// Where kubeadm would say /etc/kubernetes/pki.
pub const DEFAULT_DIR: &str = "/etc/xebec/pki";
/// Lifetime of a leaf certificate, in days.
pub const LEAF_DAYS: i64 = 365;
/// A leaf with fewer days left is renewed.
pub const RENEW_BELOW_DAYS: i64 = 30;
/// Lifetime of a certificate authority, in days.
pub const CA_DAYS: i64 = 3650;

/// Why the certificates are not in order.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Reading or writing a file failed.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file does not hold what its name says.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Making a certificate failed.
    #[error("certificate for {subject:?}: {source}")]
    Issue {
        /// The common name.
        subject: String,
        /// The cause.
        source: rcgen::Error,
    },
}

/// The API server's names and addresses.
#[derive(Clone, Debug)]
pub struct PkiOptions {
    /// DNS names besides `kubernetes`, `kubernetes.default`, `.svc`, `.svc.<domain>` and `localhost`.
    pub dns_names: Vec<String>,
    /// Addresses besides 127.0.0.1, ::1 and the service address.
    pub ip_addresses: Vec<IpAddr>,
    /// The address of the Service `kubernetes` (first of the service range).
    pub service_ip: IpAddr,
    /// The cluster's DNS domain, without a leading dot.
    pub cluster_domain: String,
}

impl PkiOptions {
    /// Options with only a service address, domain `cluster.local`.
    pub fn new(service_ip: IpAddr) -> PkiOptions {
        PkiOptions {
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            service_ip,
            cluster_domain: "cluster.local".to_owned(),
        }
    }

    fn server_leaf(&self) -> Leaf {
        let mut leaf = Leaf::new("kube-apiserver", Usage::Server);
        let own = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
        leaf.dns_names = own.iter().map(|name| (*name).to_owned()).collect();
        leaf.dns_names.push(format!("kubernetes.default.svc.{}", self.cluster_domain));
        leaf.dns_names.extend(self.dns_names.iter().cloned());
        leaf.ip_addresses =
            vec![self.service_ip, IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        leaf.ip_addresses.extend(&self.ip_addresses);
        leaf
    }
}

/// The files a node's agent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFiles {
    /// Its kubeconfig (user `system:node:<name>`).
    pub kubeconfig: PathBuf,
    /// Serving certificate of its port 10250.
    pub serving_cert: PathBuf,
    /// Key of the serving certificate.
    pub serving_key: PathBuf,
    /// The CA that client certificates at port 10250 are checked against.
    pub client_ca: PathBuf,
}

/// The cluster's certificate authorities and the directory they live in.
pub struct Pki {
    dir: PathBuf,
    ca: Authority,
}

impl Pki {
    /// Makes or checks everything in `dir` (see the module's description).
    ///
    /// Existing authorities and `sa.key` are never replaced: a damaged one is an error an operator must resolve.
    pub fn ensure(dir: &Path, options: &PkiOptions) -> Result<Pki, PkiError> {
        Pki::ensure_at(dir, options, Timestamp::now())
    }

    /// [`Pki::ensure`] at a given time.
    pub fn ensure_at(dir: &Path, options: &PkiOptions, now: Timestamp) -> Result<Pki, PkiError> {
        files::make_dir(dir)?;
        let ca = Authority::ensure(&dir.join("ca"), "kubernetes", now)?;
        let front_proxy = Authority::ensure(&dir.join("front-proxy-ca"), "front-proxy-ca", now)?;
        leaf::ensure(&ca, &dir.join("apiserver"), &options.server_leaf(), now)?;
        let kubelet_client =
            Leaf::new("kube-apiserver-kubelet-client", Usage::Client).organization("kubeadm:cluster-admins");
        leaf::ensure(&ca, &dir.join("apiserver-kubelet-client"), &kubelet_client, now)?;
        let proxy_client = Leaf::new("front-proxy-client", Usage::Client);
        leaf::ensure(&front_proxy, &dir.join("front-proxy-client"), &proxy_client, now)?;
        leaf::ensure_key_pair(dir, "sa")?;
        Ok(Pki { dir: dir.to_owned(), ca })
    }

    /// Opens a directory that [`Pki::ensure`] made, to issue from its CA; its other files are not looked at.
    pub fn open(dir: &Path) -> Result<Pki, PkiError> {
        let ca = Authority::ensure(&dir.join("ca"), "kubernetes", Timestamp::now())?;
        Ok(Pki { dir: dir.to_owned(), ca })
    }

    /// The CA certificate (PEM), as it goes into kubeconfigs and kube-root-ca.crt.
    pub fn ca_pem(&self) -> &str {
        self.ca.pem()
    }

    /// A file of the directory, such as `apiserver.crt`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// A new certificate of the cluster's CA, not written anywhere.
    pub fn issue(&self, leaf: &Leaf) -> Result<Issued, PkiError> {
        self.ca.issue(leaf, Timestamp::now())
    }

    /// Makes or renews `<stem>.crt` and `<stem>.key`; true if they were written.
    pub fn ensure_leaf(&self, stem: &Path, leaf: &Leaf) -> Result<bool, PkiError> {
        leaf::ensure(&self.ca, stem, leaf, Timestamp::now())
    }

    /// Makes or renews a kubeconfig with an embedded client certificate; true if it was written.
    pub fn ensure_kubeconfig(&self, path: &Path, server: &str, leaf: &Leaf) -> Result<bool, PkiError> {
        kubeconfig::ensure(&self.ca, path, server, leaf, Timestamp::now())
    }

    /// Makes or renews `admin.conf`, `controller-manager.conf` and `scheduler.conf` in `dir` for the API server at
    /// `server` (`https://host:port`).
    pub fn ensure_kubeconfigs(&self, dir: &Path, server: &str) -> Result<(), PkiError> {
        let users = [
            ("admin.conf", Leaf::new("kubernetes-admin", Usage::Client).organization("system:masters")),
            ("controller-manager.conf", Leaf::new("system:kube-controller-manager", Usage::Client)),
            ("scheduler.conf", Leaf::new("system:kube-scheduler", Usage::Client)),
        ];
        for (file, leaf) in users {
            self.ensure_kubeconfig(&dir.join(file), server, &leaf)?;
        }
        Ok(())
    }

    /// Makes or renews what the agent of `node` needs, in `dir`: `kubelet.conf`, `pki/kubelet.crt`,
    /// `pki/kubelet.key` and `pki/ca.crt`. `addresses` are the addresses the API server reaches it at.
    pub fn ensure_node(
        &self,
        dir: &Path,
        node: &str,
        addresses: &[IpAddr],
        server: &str,
    ) -> Result<NodeFiles, PkiError> {
        let pki = dir.join("pki");
        files::make_dir(&pki)?;
        let user = format!("system:node:{node}");
        let client = Leaf::new(&user, Usage::Client).organization("system:nodes");
        let mut serving = Leaf::new(&user, Usage::Server).organization("system:nodes");
        serving.dns_names.push(node.to_owned());
        serving.ip_addresses.extend_from_slice(addresses);
        let node_files = NodeFiles {
            kubeconfig: dir.join("kubelet.conf"),
            serving_cert: pki.join("kubelet.crt"),
            serving_key: pki.join("kubelet.key"),
            client_ca: pki.join("ca.crt"),
        };
        self.ensure_kubeconfig(&node_files.kubeconfig, server, &client)?;
        self.ensure_leaf(&pki.join("kubelet"), &serving)?;
        files::write_if_changed(&node_files.client_ca, self.ca_pem(), 0o644)?;
        Ok(node_files)
    }
}

#[cfg(test)]
mod tests;
