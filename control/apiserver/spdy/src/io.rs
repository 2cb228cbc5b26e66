//! The two tasks of a connection. Enters: bytes of the peer, frames of this end. Leaves: the other way round.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::codec::{Decoder, Encoder};
use crate::connection::Shared;
use crate::frame::Frame;
use crate::stream::Stream;

/// How much is read at once.
const READ: usize = 16 * 1024;
/// Frames are gathered into one write up to this many bytes.
const GATHER: usize = 64 * 1024;

/// Reads until the peer or this end closes.
pub(crate) async fn read<T: AsyncRead>(
    mut io: ReadHalf<T>,
    shared: Arc<Shared>,
    accepted: mpsc::Sender<Stream>,
) {
    let mut decoder = Decoder::default();
    let mut bytes = BytesMut::with_capacity(READ);
    let ended = async {
        loop {
            loop {
                match decoder.decode(&mut bytes) {
                    Ok(Some(frame)) => shared.receive(frame, &accepted).await,
                    Ok(None) => break,
                    Err(error) => return debug!(%error, "a SPDY connection breaks the rules"),
                }
            }
            bytes.reserve(READ);
            match io.read_buf(&mut bytes).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return debug!(%error, "a SPDY connection broke"),
            }
        }
    };
    tokio::select! {
        () = ended => {}
        () = shared.closed.cancelled() => {}
    }
    shared.lost();
}

/// Writes until this end says goodbye or the connection is over.
pub(crate) async fn write<T: AsyncWrite>(
    mut io: WriteHalf<T>,
    mut encoder: Encoder,
    mut frames: mpsc::Receiver<Frame>,
    mut answers: mpsc::Receiver<Frame>,
    closed: CancellationToken,
    written: CancellationToken,
) {
    let writing = async {
        let mut out = BytesMut::with_capacity(GATHER);
        loop {
            let frame = tokio::select! {
                biased;
                Some(answer) = answers.recv() => answer,
                Some(frame) = frames.recv() => frame,
                else => return Ok(()),
            };
            let mut last = put(&mut encoder, &frame, &mut out)?;
            while !last && out.len() < GATHER {
                let Ok(frame) = frames.try_recv() else { break };
                last = put(&mut encoder, &frame, &mut out)?;
            }
            io.write_all(&out).await?;
            io.flush().await?;
            out.clear();
            if last {
                return io.shutdown().await;
            }
        }
    };
    let outcome: std::io::Result<()> = tokio::select! {
        outcome = writing => outcome,
        () = closed.cancelled() => Ok(()),
    };
    if let Err(error) = outcome {
        // What the peer sent before it closed is still to be read: only the reader ends a connection.
        debug!(%error, "a SPDY connection takes nothing more");
    }
    written.cancel();
}

/// Encodes a frame; true for a goodbye, after which nothing is sent.
fn put(encoder: &mut Encoder, frame: &Frame, out: &mut BytesMut) -> std::io::Result<bool> {
    encoder.encode(frame, out).map_err(std::io::Error::other)?;
    Ok(matches!(frame, Frame::GoAway { .. }))
}
