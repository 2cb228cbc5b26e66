//! Container logs: `GET /containerLogs/<namespace>/<pod>/<container>`.
//!
//! Enters: the query ([`query`]). Leaves: the log's bytes as they come, from a [`LogSource`]. Which instance's log is
//! meant, and the words where there is none, are decided by [`instance`] alone.

mod files;
mod handler;
mod instance;
mod query;

use std::io;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::watch;

pub use files::FileLogs;
pub(crate) use handler::container_logs;

/// The bytes of a log, in order; an error ends it.
pub type LogStream = BoxStream<'static, io::Result<Bytes>>;

/// Which output of a container is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStreams {
    /// Both, in the order they were written.
    #[default]
    All,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What of a log is wanted (core/v1 PodLogOptions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what is written until the container ends.
    pub follow: bool,
    /// Only lines written at this time or later.
    pub since: Option<Timestamp>,
    /// Each line begins with its time (RFC 3339, nanoseconds) and a blank.
    pub timestamps: bool,
    /// At most this many of the last lines; zero gives none of what is there.
    pub tail_lines: Option<u64>,
    /// At most this many bytes.
    pub limit_bytes: Option<u64>,
    /// Which output.
    pub streams: LogStreams,
}

/// Reads log files in the CRI's format.
#[async_trait]
pub trait LogSource: Send + Sync + 'static {
    /// Opens a log; the stream yields what the program wrote. With `follow` it ends once `running` is false, or its
    /// sender gone, and the end of the file is reached; else at the end of the file.
    ///
    /// An error means that the log cannot be read at all, such as a file that is gone.
    async fn open(
        &self,
        path: &Path,
        options: LogOptions,
        running: watch::Receiver<bool>,
    ) -> io::Result<LogStream>;
}
