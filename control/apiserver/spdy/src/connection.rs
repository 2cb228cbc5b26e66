//! A connection: its streams, and what both of its tasks share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::SpdyError;
use crate::codec::Encoder;
use crate::frame::{Frame, Headers, RstStatus};
use crate::stream::{End, Stream};
use crate::window::Windows;

/// How long the peer may take to answer a new stream, as upstream.
const REPLY_PATIENCE: Duration = Duration::from_secs(30);
/// How long the peer may take to read what is queued before a goodbye.
const FLUSH: Duration = Duration::from_secs(10);
/// How long the peer may take to close after a goodbye.
const LINGER: Duration = Duration::from_secs(1);
/// Frames that wait to be written; each holds up to [`crate::codec::DATA_LIMIT`] bytes.
const WRITE_QUEUE: usize = 16;
/// Answers (pings, windows, resets) that wait to be written; more are dropped, the peer cannot make this end grow.
const ANSWER_QUEUE: usize = 64;
/// Pieces of a stream that wait to be read.
const READ_QUEUE: usize = 16;
/// Streams of the peer that wait to be accepted.
const BACKLOG: usize = 32;
/// Streams open at once.
const STREAM_LIMIT: usize = 256;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asked for the upgrade; its streams have odd numbers.
    Client,
    /// Was asked; even numbers.
    Server,
}

/// One SPDY/3.1 connection. Dropping it closes the connection at once, [`Connection::close`] in good order.
pub struct Connection {
    shared: Arc<Shared>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Stream>>,
    _guard: DropGuard,
}

/// What the connection, its tasks and its streams share.
pub(crate) struct Shared {
    pub(crate) role: Role,
    /// Frames in order; sending waits for room.
    pub(crate) frames: mpsc::Sender<Frame>,
    /// Small frames that must never wait, since whoever sends them reads for everyone.
    pub(crate) answers: mpsc::Sender<Frame>,
    pub(crate) state: Mutex<State>,
    /// Windows or streams changed; waiting writers look again.
    pub(crate) changed: Notify,
    pub(crate) closed: CancellationToken,
    /// Nothing more is written: the goodbye was, or the peer takes nothing.
    written: CancellationToken,
    /// The peer has shown that it keeps windows; others are not bothered with updates.
    pub(crate) keeps_windows: AtomicBool,
    /// Bytes read by their consumers that the peer's session window was not told of yet.
    pub(crate) session_credit: AtomicU32,
    /// The next stream's number; held while a SYN_STREAM is queued, so that numbers are sent in order.
    next: tokio::sync::Mutex<u32>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) streams: HashMap<u32, Slot>,
    pub(crate) windows: Windows,
    newest: u32,
    gone_away: bool,
}

/// What is known of a stream while either half of it is open.
pub(crate) struct Slot {
    data: Option<mpsc::Sender<Bytes>>,
    reply: Option<oneshot::Sender<Result<(), SpdyError>>>,
    pub(crate) sent_fin: bool,
    end: Arc<Mutex<End>>,
}

impl Connection {
    /// Starts speaking SPDY/3.1 on `io`, inside a tokio runtime.
    pub fn new<T>(io: T, role: Role) -> Result<Self, SpdyError>
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (frames, frames_out) = mpsc::channel(WRITE_QUEUE);
        let (answers, answers_out) = mpsc::channel(ANSWER_QUEUE);
        let (accepted, incoming) = mpsc::channel(BACKLOG);
        let (closed, written) = (CancellationToken::new(), CancellationToken::new());
        let first = if role == Role::Client { 1 } else { 2 };
        let shared = Arc::new(Shared {
            role,
            frames,
            answers,
            state: Mutex::default(),
            changed: Notify::new(),
            closed: closed.clone(),
            written: written.clone(),
            keeps_windows: AtomicBool::new(false),
            session_credit: AtomicU32::new(0),
            next: tokio::sync::Mutex::new(first),
        });
        let (read, write) = tokio::io::split(io);
        tokio::spawn(crate::io::read(read, Arc::clone(&shared), accepted));
        tokio::spawn(crate::io::write(
            write,
            Encoder::new()?,
            frames_out,
            answers_out,
            closed.clone(),
            written,
        ));
        Ok(Self { shared, incoming: tokio::sync::Mutex::new(incoming), _guard: closed.drop_guard() })
    }

    /// Opens a stream and waits for the peer's answer, since peers drop what is sent before it.
    pub async fn open(&self, headers: Headers) -> Result<Stream, SpdyError> {
        let (reply, answered) = oneshot::channel();
        let stream = {
            let mut next = self.shared.next.lock().await;
            let id = *next;
            let stream = self.shared.add(id, Headers::new(), Some(reply))?;
            *next += 2;
            self.shared.queue(Frame::SynStream { stream: id, fin: false, headers }).await?;
            stream
        };
        // An answer counts even if the connection ended right behind it: what was sent on the stream is still there.
        let outcome = tokio::select! {
            biased;
            outcome = tokio::time::timeout(REPLY_PATIENCE, answered) => outcome,
            () = self.shared.closed.cancelled() => return Err(SpdyError::Closed),
        };
        match outcome {
            Ok(Ok(answer)) => answer.map(|()| stream),
            Ok(Err(_)) => Err(SpdyError::Closed),
            Err(_) => Err(SpdyError::Timeout),
        }
    }

    /// The next stream the peer opens, answered; none when the connection is over.
    pub async fn accept(&self) -> Option<Stream> {
        let stream = self.incoming.lock().await.recv().await?;
        let reply = Frame::SynReply { stream: stream.id(), fin: false, headers: Headers::new() };
        self.shared.queue(reply).await.ok()?;
        Some(stream)
    }

    /// Sends a ping, which keeps the connection known to what stands between both ends; nobody waits for its answer.
    pub fn ping(&self, number: u32) {
        let id = (number & 0x3fff_ffff) * 2 + u32::from(self.shared.role == Role::Client);
        // A full queue shows that the connection is busy, which is all a ping is for.
        let _ = self.shared.answers.try_send(Frame::Ping(id));
    }

    /// Sends what is queued, says goodbye and closes once the peer did, or after a second.
    ///
    /// A socket closed with unread bytes in it is reset, which takes what was sent last with it.
    pub async fn close(self) {
        let last = self.shared.state.lock().newest;
        if self.shared.queue(Frame::GoAway { last, status: 0 }).await.is_ok() {
            // A peer that reads nothing, or stays open, is left behind.
            let _ = tokio::time::timeout(FLUSH, self.shared.written.cancelled()).await;
            let _ = tokio::time::timeout(LINGER, self.shared.closed.cancelled()).await;
        }
    }

    /// Completes when the connection is over, whoever ended it.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }
}

impl Shared {
    /// Queues a frame behind those queued before.
    pub(crate) async fn queue(&self, frame: Frame) -> Result<(), SpdyError> {
        tokio::select! {
            sent = self.frames.send(frame) => sent.map_err(|_| SpdyError::Closed),
            () = self.closed.cancelled() => Err(SpdyError::Closed),
        }
    }

    fn add(
        self: &Arc<Self>,
        id: u32,
        headers: Headers,
        reply: Option<oneshot::Sender<Result<(), SpdyError>>>,
    ) -> Result<Stream, SpdyError> {
        let (data, pieces) = mpsc::channel(READ_QUEUE);
        let end = Arc::new(Mutex::new(End::Lost));
        let mut state = self.state.lock();
        if self.closed.is_cancelled() || state.gone_away {
            return Err(SpdyError::Closed);
        }
        if state.streams.len() >= STREAM_LIMIT {
            return Err(SpdyError::Protocol("too many streams"));
        }
        let slot = Slot { data: Some(data), reply, sent_fin: false, end: Arc::clone(&end) };
        state.streams.insert(id, slot);
        state.windows.opened(id);
        Ok(Stream::new(id, headers, Arc::clone(self), pieces, end))
    }

    /// Acts on a frame of the peer.
    pub(crate) async fn receive(self: &Arc<Self>, frame: Frame, accepted: &mpsc::Sender<Stream>) {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                if let Err(status) = self.opened(stream, headers, accepted) {
                    let _ = self.answers.try_send(Frame::RstStream { stream, status });
                } else if fin {
                    self.finish(stream, End::Finished);
                }
            }
            Frame::SynReply { stream, fin, .. } => {
                let reply = self.state.lock().streams.get_mut(&stream).and_then(|slot| slot.reply.take());
                if let Some(reply) = reply {
                    // An opener that gave up waiting does not mind.
                    let _ = reply.send(Ok(()));
                }
                if fin {
                    self.finish(stream, End::Finished);
                }
            }
            Frame::Data { stream, fin, data } => {
                self.deliver(stream, data).await;
                if fin {
                    self.finish(stream, End::Finished);
                }
            }
            Frame::Headers { stream, fin: true, .. } => self.finish(stream, End::Finished),
            Frame::RstStream { stream, .. } => self.reset(stream),
            Frame::GoAway { .. } => self.state.lock().gone_away = true,
            Frame::Ping(id) if (id % 2 == 1) != (self.role == Role::Client) => {
                let _ = self.answers.try_send(Frame::Ping(id));
            }
            Frame::Settings(entries) => {
                let mut state = self.state.lock();
                state.windows.settings(&entries);
                self.keeps_windows.store(state.windows.kept(), Ordering::Relaxed);
                drop(state);
                self.changed.notify_waiters();
            }
            Frame::WindowUpdate { stream, delta } => {
                self.state.lock().windows.update(stream, delta);
                self.keeps_windows.store(true, Ordering::Relaxed);
                self.changed.notify_waiters();
            }
            Frame::Ping(_) | Frame::Headers { .. } => {}
        }
    }

    fn opened(
        self: &Arc<Self>,
        id: u32,
        headers: Headers,
        accepted: &mpsc::Sender<Stream>,
    ) -> Result<(), RstStatus> {
        if self.role == Role::Client {
            return Err(RstStatus::RefusedStream);
        }
        {
            let mut state = self.state.lock();
            if id & 1 == 0 || id <= state.newest {
                return Err(RstStatus::ProtocolError);
            }
            state.newest = id;
        }
        let stream = self.add(id, headers, None).map_err(|_| RstStatus::RefusedStream)?;
        accepted.try_send(stream).map_err(|_| {
            self.reset(id);
            RstStatus::RefusedStream
        })
    }

    async fn deliver(&self, id: u32, data: Bytes) {
        let length = data.len();
        let queue = self.state.lock().streams.get(&id).and_then(|slot| slot.data.clone());
        let delivered = match queue {
            Some(queue) if length > 0 => tokio::select! {
                sent = queue.send(data) => sent.is_ok(),
                () = self.closed.cancelled() => true,
            },
            _ => false,
        };
        if !delivered {
            // Nobody wants it, but the session's window has to go on.
            self.credit(length);
        }
    }

    /// Tells the peer's session window that `bytes` are consumed, now and then.
    pub(crate) fn credit(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let due = self.session_credit.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if i64::from(due) >= crate::window::INITIAL / 2
            && self.keeps_windows.load(Ordering::Relaxed)
            && self.answers.try_send(Frame::WindowUpdate { stream: 0, delta: due }).is_ok()
        {
            self.session_credit.fetch_sub(due, Ordering::Relaxed);
        }
    }

    /// The peer sends nothing more on a stream.
    fn finish(&self, id: u32, how: End) {
        let mut state = self.state.lock();
        let Some(slot) = state.streams.get_mut(&id) else { return };
        *slot.end.lock() = how;
        slot.data = None;
        if slot.sent_fin {
            state.streams.remove(&id);
            state.windows.closed(id);
        }
    }

    /// Both halves of a stream are over.
    pub(crate) fn reset(&self, id: u32) {
        let slot = {
            let mut state = self.state.lock();
            state.windows.closed(id);
            state.streams.remove(&id)
        };
        if let Some(mut slot) = slot {
            *slot.end.lock() = End::Reset;
            if let Some(reply) = slot.reply.take() {
                let _ = reply.send(Err(SpdyError::Reset));
            }
        }
        self.changed.notify_waiters();
    }

    /// This end sends nothing more on a stream; false if that was so before.
    pub(crate) fn sent_fin(&self, id: u32) -> bool {
        let mut state = self.state.lock();
        let Some(slot) = state.streams.get_mut(&id) else { return false };
        let first = !std::mem::replace(&mut slot.sent_fin, true);
        if slot.data.is_none() {
            state.streams.remove(&id);
            state.windows.closed(id);
        }
        first
    }

    /// The connection is over: every reader comes to its end.
    pub(crate) fn lost(&self) {
        self.closed.cancel();
        self.state.lock().streams.clear();
        self.changed.notify_waiters();
    }
}
