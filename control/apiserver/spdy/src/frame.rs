//! What travels on a connection.

use bytes::Bytes;

/// Names (lower case) and values of a stream; several values of one name are joined by NUL.
pub type Headers = Vec<(String, String)>;

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RstStatus {
    /// The peer broke the rules.
    ProtocolError,
    /// There is no such stream.
    InvalidStream,
    /// The stream is not wanted.
    RefusedStream,
    /// Whoever wanted the stream does not want it any more.
    Cancel,
    /// Anything else, by number.
    Other(u32),
}

impl RstStatus {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::ProtocolError => 1,
            Self::InvalidStream => 2,
            Self::RefusedStream => 3,
            Self::Cancel => 5,
            Self::Other(code) => code,
        }
    }

    /// The status of a number on the wire.
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        match code {
            1 => Self::ProtocolError,
            2 => Self::InvalidStream,
            3 => Self::RefusedStream,
            5 => Self::Cancel,
            code => Self::Other(code),
        }
    }
}

/// A frame. Stream numbers are below 2^31; client's are odd, server's even.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A new stream.
    SynStream {
        /// The stream.
        stream: u32,
        /// The sender sends nothing more on it.
        fin: bool,
        /// What it is for.
        headers: Headers,
    },
    /// The stream is taken.
    SynReply {
        /// The stream.
        stream: u32,
        /// The sender sends nothing on it.
        fin: bool,
        /// The answer's headers.
        headers: Headers,
    },
    /// The stream ends here and now.
    RstStream {
        /// The stream.
        stream: u32,
        /// Why.
        status: RstStatus,
    },
    /// Settings by number; flags are not kept.
    Settings(Vec<(u32, u32)>),
    /// To be sent back by the other end.
    Ping(u32),
    /// No more new streams.
    GoAway {
        /// The newest stream that was taken.
        last: u32,
        /// 0: in good order.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: u32,
        /// The sender sends nothing more on it.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// So many bytes more may be sent; stream 0 is the whole session.
    WindowUpdate {
        /// The stream.
        stream: u32,
        /// Bytes.
        delta: u32,
    },
    /// Bytes. A long frame of the peer arrives as several of these, the last with its `fin`.
    Data {
        /// The stream.
        stream: u32,
        /// The sender sends nothing more on it.
        fin: bool,
        /// The bytes.
        data: Bytes,
    },
}
