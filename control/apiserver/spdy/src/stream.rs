//! One stream: what it is for, and its two halves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::SpdyError;
use crate::codec::DATA_LIMIT;
use crate::connection::Shared;
use crate::frame::{Frame, Headers, RstStatus};
use crate::window;

/// How the peer's half of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By the peer, in good order.
    Finished,
    /// By a reset, which Go servers end every stream with when they are done.
    Reset,
    /// With the connection (or not at all, so far).
    Lost,
}

/// A stream with both halves.
pub struct Stream {
    headers: Headers,
    sender: Sender,
    receiver: Receiver,
}

/// The half that sends. Dropping it leaves the half open; say [`Sender::finish`].
pub struct Sender {
    id: u32,
    shared: Arc<Shared>,
}

/// The half that receives. Once it is dropped, what the peer sends is thrown away.
pub struct Receiver {
    id: u32,
    shared: Arc<Shared>,
    pieces: mpsc::Receiver<Bytes>,
    end: Arc<Mutex<End>>,
    credit: usize,
}

impl Stream {
    pub(crate) fn new(
        id: u32,
        headers: Headers,
        shared: Arc<Shared>,
        pieces: mpsc::Receiver<Bytes>,
        end: Arc<Mutex<End>>,
    ) -> Self {
        let sender = Sender { id, shared: Arc::clone(&shared) };
        Self { headers, sender, receiver: Receiver { id, shared, pieces, end, credit: 0 } }
    }

    pub(crate) fn id(&self) -> u32 {
        self.sender.id
    }

    /// A header the peer opened the stream with; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The two halves.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Sender {
    /// Sends everything, waiting while the connection or the peer's window is full.
    pub async fn send(&mut self, mut data: Bytes) -> Result<(), SpdyError> {
        while !data.is_empty() {
            let granted = self.window(data.len().min(DATA_LIMIT)).await?;
            let piece = data.split_to(granted);
            self.shared.queue(Frame::Data { stream: self.id, fin: false, data: piece }).await?;
        }
        Ok(())
    }

    async fn window(&self, wanted: usize) -> Result<usize, SpdyError> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Listening starts before looking, or a change in between would be missed.
            changed.as_mut().enable();
            {
                let mut state = self.shared.state.lock();
                match state.streams.get(&self.id) {
                    None if self.shared.closed.is_cancelled() => return Err(SpdyError::Closed),
                    None => return Err(SpdyError::Reset),
                    Some(slot) if slot.sent_fin => return Err(SpdyError::Finished),
                    Some(_) => {}
                }
                let granted = state.windows.take(self.id, wanted);
                if granted > 0 {
                    return Ok(granted);
                }
            }
            changed.await;
        }
    }

    /// Ends this half; what was sent still arrives. Again is nothing.
    pub async fn finish(&mut self) -> Result<(), SpdyError> {
        if !self.shared.sent_fin(self.id) {
            return Ok(());
        }
        self.shared.queue(Frame::Data { stream: self.id, fin: true, data: Bytes::new() }).await
    }

    /// Ends both halves at once.
    pub async fn reset(&mut self) -> Result<(), SpdyError> {
        self.shared.reset(self.id);
        self.shared.queue(Frame::RstStream { stream: self.id, status: RstStatus::Cancel }).await
    }
}

impl Receiver {
    /// The next bytes; none at the end, which [`Receiver::end`] tells more about.
    pub async fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.recv().await?;
        self.credit += piece.len();
        self.shared.credit(piece.len());
        let due = u32::try_from(self.credit).unwrap_or(u32::MAX);
        if i64::from(due) >= window::INITIAL / 2
            && self.shared.keeps_windows.load(Ordering::Relaxed)
            && self.shared.answers.try_send(Frame::WindowUpdate { stream: self.id, delta: due }).is_ok()
        {
            self.credit = 0;
        }
        Some(piece)
    }

    /// How the peer's half ended; meaningful once [`Receiver::next`] gave none.
    #[must_use]
    pub fn end(&self) -> End {
        *self.end.lock()
    }
}
