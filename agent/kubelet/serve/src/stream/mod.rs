//! exec, attach and port forward: byte streams between a client and the runtime.
//!
//! Enters: an upgrade request (WebSocket or SPDY/3.1). Leaves: the same request, replayed against the URL that
//! [`Streaming`] got from the runtime ([`dial`]), and the bytes of both sides, untouched ([`copy`]). What the runtime
//! refuses (such as WebSocket v5 by containerd 1.6) is passed on, so that clients fall back to SPDY.

mod copy;
mod dial;
mod handler;
mod query;
mod runtime;

use async_trait::async_trait;

pub(crate) use handler::{attach, exec, port_forward, run};
pub use runtime::RuntimeStreaming;

/// Why the runtime gave no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamingError {
    /// The container or sandbox does not exist: 404.
    #[error("{0}")]
    NotFound(String),
    /// Too many streams wait for their client: 429, retry later.
    #[error("{0}")]
    Exhausted(String),
    /// Anything else, in the runtime's words: 500.
    #[error("{0}")]
    Failed(String),
}

/// Which streams of a process are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Write to its standard input.
    pub stdin: bool,
    /// Read its standard output.
    pub stdout: bool,
    /// Read its standard error; never together with `tty`.
    pub stderr: bool,
    /// It has a terminal.
    pub tty: bool,
}

/// Prepares streams at the runtime; each URL is http on a loopback address, for one connection, for about a minute.
#[async_trait]
pub trait Streaming: Send + Sync + 'static {
    /// A new process in a container.
    async fn exec(
        &self,
        container_id: &str,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<String, StreamingError>;

    /// The container's own process.
    async fn attach(&self, container_id: &str, streams: Streams) -> Result<String, StreamingError>;

    /// Ports of a sandbox; none means that the client names them on the stream (SPDY).
    async fn port_forward(&self, sandbox_id: &str, ports: Vec<u16>) -> Result<String, StreamingError>;

    /// Runs a command to its end; its output and then its errors. A status other than zero is an error.
    async fn run(&self, container_id: &str, command: Vec<String>) -> Result<Vec<u8>, StreamingError>;
}
