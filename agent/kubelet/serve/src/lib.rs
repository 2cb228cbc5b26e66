//! The kubelet's own HTTPS server, port 10250.
//!
//! Enters: requests of the API server, of metrics scrapers and of operators. Leaves: container logs ([`LogSource`]),
//! byte streams of exec, attach and port forward ([`Streaming`]), pods and their usage ([`PodSource`]). Who may ask
//! is decided by the API server ([`Access`]). Called by the agent binary through [`Server`].
//!
//! Paths, query parameters and texts are those of the upstream kubelet (pkg/kubelet/server, v1.36).

pub mod access;
mod files;
mod logs;
mod metrics;
mod pods;
mod respond;
mod router;
mod server;
pub mod stats;
mod stream;
mod tls;

pub use access::{Access, AccessError, Attributes, KubeAccess, User, Verdict};
pub use logs::{FileLogs, LogOptions, LogSource, LogStream, LogStreams};
pub use pods::{LogFile, PodSource, SourceError};
pub use server::{Options, ServeError, Server, TlsError};
pub use stream::{RuntimeStreaming, Streaming, StreamingError, Streams};

#[cfg(test)]
mod tests;
