//! Container log files in CRI's format. Enters: a path and what is wanted. Leaves: bytes for `kubectl logs`, and
//! whether a file is due for rotation. Called by the kubelet's server and its log rotation.
//!
//! A line of the file is `<RFC 3339 time> <stdout|stderr> <P|F> <text>`; P marks a piece that the next line goes on.

mod format;
mod rotate;
mod stream;
mod tail;
mod watch;

use jiff::Timestamp;

pub use format::{Line, Stream, parse_line};
pub use rotate::{RotationPolicy, due, excess, rotate_file, rotated_name};
pub use stream::{Liveness, read_log};
pub use tail::tail_start;

/// Which output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamFilter {
    /// Both.
    #[default]
    All,
    /// Only one.
    Only(Stream),
}

/// What of a log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Only so many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only lines written at or after this time.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
    /// Put each line's time before it.
    pub timestamps: bool,
    /// Go on with what is written later, across rotations, until the container has ended.
    pub follow: bool,
    /// Which output.
    pub stream: StreamFilter,
}
