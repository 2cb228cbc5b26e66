//! SPDY/3.1 as Kubernetes speaks it: many byte streams over one upgraded connection.
//!
//! Enters: a connection both ends have agreed to speak SPDY/3.1 on. Leaves: [`Stream`]s, opened by this end
//! ([`Connection::open`]) or by the other ([`Connection::accept`]). Called by the API server, which translates exec
//! and attach of WebSocket clients for kubelets that speak SPDY only, and by the tests' kubelets.
//!
//! [`codec`] is pure: bytes to frames and back. Everything is bounded: control frames, inflated headers, the queue of
//! each stream, the streams of a connection and what waits to be written; whoever does not read stops the other end
//! through TCP.
//!
//! Authority: draft-mbelshe-httpbis-spdy-00 (SPDY/3), the SPDY/3.1 addition of a window per session, and for what
//! peers do about windows: github.com/moby/spdystream, which neither sends nor honours WINDOW_UPDATE.

pub mod codec;
mod connection;
mod dictionary;
mod frame;
mod headers;
mod io;
mod stream;
#[cfg(test)]
mod tests;
mod window;

pub use connection::{Connection, Role};
pub use frame::{Frame, Headers, RstStatus};
pub use stream::{End, Receiver, Sender, Stream};

/// Why a connection or a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// The peer does not speak SPDY/3, or sends more than this end takes; the connection is over.
    #[error("SPDY protocol error: {0}")]
    Protocol(&'static str),
    /// The peer reset the stream; the connection goes on.
    #[error("Stream reset")]
    Reset,
    /// This end's half of the stream was closed before.
    #[error("Write on closed stream")]
    Finished,
    /// The peer did not answer a new stream in time.
    #[error("Timeout occurred")]
    Timeout,
    /// The connection is gone.
    #[error("connection closed")]
    Closed,
}
