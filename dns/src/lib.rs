//! Cluster DNS: the names of Services and pods, and everything else by the node's resolvers.
//!
//! Enters: Services, EndpointSlices and Namespaces (kube-rs reflectors), DNS queries over UDP and TCP. Leaves: answers.
//! The agent embeds this library on the cluster DNS address; `xebec-dns` runs it alone.
//! Authority: Kubernetes DNS-Based Service Discovery 1.1.0 (the dns repository's specification); where that leaves room,
//! CoreDNS's kubernetes plugin, since that is what programs were tested against.
//!
//! `world` (objects in, an index) -> `answer` (PURE: a query in, records or "not ours") -> `server` (sockets),
//! beside it `forward` (other names).

pub mod answer;
pub mod forward;
mod records;
mod server;
mod sync;
pub mod world;

use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use server::Server;

/// Why the DNS server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The address is taken or not on this machine.
    #[error("cannot listen on {address} ({protocol}): {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The cluster domain is no domain name.
    #[error("cluster domain {domain:?} is not a domain name: {reason}")]
    Domain {
        /// The text given.
        domain: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, UDP and TCP each.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain, `cluster.local` by default.
    pub domain: String,
    /// Resolvers for all other names, asked in order; none: such names get REFUSED.
    pub upstreams: Vec<SocketAddr>,
    /// How long one resolver may take.
    pub timeout: Duration,
}

/// Serves until cancelled.
///
/// Losing the API server is no error: the names known last are served until it is back.
///
/// # Errors
/// [`DnsError`] when an address cannot be bound or the domain is none; nothing is served then.
pub async fn run(client: kube::Client, options: Options, cancel: CancellationToken) -> Result<(), DnsError> {
    let world = world::Shared::default();
    let server = Server::bind(&options, world.clone()).await?;
    tracing::info!(listen = ?options.listen, domain = options.domain, upstreams = ?options.upstreams, "DNS serving");
    tokio::select! {
        () = sync::follow(client, world) => {}
        () = server.serve() => {}
        () = cancel.cancelled() => {}
    }
    Ok(())
}
