//! Writes of one connection, put together: what is written while the connection is polled leaves as one.
//!
//! HTTP/2 flushes after every DATA frame. A thousand watchers on ten connections would cost a TLS record and a system
//! call for each event of each of them, and a large list one for every 16 KiB. Here flushing only notes the bytes; they
//! go out when the connection has nothing more to do. And a connection that is woken lets those who are
//! awake go first, once: they are mostly its own streams, with more to send.
//!
//! Enters: a stream. Leaves: the stream for hyper ([`Cork`]) and the future that polls hyper and sends ([`Driver`]).
//! Called by `listener`.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that wait. It is what rustls takes at once.
const LIMIT: usize = 64 << 10;
/// A connection that writes no more than this keeps no larger buffer.
const KEPT: usize = 4 << 10;

/// The stream to write to. Bytes leave it when [`LIMIT`] are there, or when [`Driver`] has polled the connection.
pub(super) struct Cork<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    stream: T,
    waiting: Vec<u8>,
    /// How much of what waits has been sent.
    sent: usize,
    /// Whether a write leaves at once: nobody polls the connection any more.
    open: bool,
    /// Why sending failed when nobody was there to hear of it.
    failed: Option<io::Error>,
}

impl<T> Cork<T> {
    /// Takes the stream over.
    pub(super) fn new(stream: T) -> Self {
        let shared = Shared { stream, waiting: Vec::new(), sent: 0, open: false, failed: None };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// The future that polls a connection and sends what it has written to this stream.
    pub(super) fn driver(&self) -> Driver<T> {
        Driver { shared: Arc::clone(&self.shared) }
    }
}

/// Sends what a connection writes to its [`Cork`].
pub(super) struct Driver<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T: AsyncWrite + Unpin> Driver<T> {
    /// Polls the connection until it ends. Who takes the stream over then (an upgrade) finds everything sent, and writes
    /// without a detour.
    pub(super) async fn run<O, E>(self, connection: impl Future<Output = Result<O, E>>) -> Result<O, E> {
        let mut connection = pin!(connection);
        let mut yielded = false;
        let outcome = poll_fn(|context| {
            if !std::mem::replace(&mut yielded, true) {
                // Woken by itself a task goes to the end of the queue.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            yielded = false;
            let outcome = connection.as_mut().poll(context);
            self.shared.lock().send_written(context);
            outcome
        });
        let outcome = outcome.await?;
        self.shared.lock().open = true;
        // An error here is one the stream's next owner gets as well.
        let _ = poll_fn(|context| self.shared.lock().poll_send(context)).await;
        Ok(outcome)
    }
}

impl<T: AsyncWrite + Unpin> Shared<T> {
    /// Hands everything that waits to the stream, and on to the wire.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        self.sent = 0;
        self.waiting.clear();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Sends what was written during a poll; a failure is the next write's, which comes at once.
    fn send_written(&mut self, context: &mut Context<'_>) {
        if self.failed.is_some() {
            return;
        }
        let little = self.waiting.len() <= KEPT;
        match self.poll_send(context) {
            // A busy connection goes on with the memory it has; the pings of one at rest give it back.
            Poll::Ready(Ok(())) if little && self.waiting.capacity() > KEPT => self.waiting = Vec::new(),
            Poll::Ready(Err(error)) => {
                self.failed = Some(error);
                context.waker().wake_by_ref();
            }
            _ => {}
        }
    }

    /// Waits until there is room, at most [`LIMIT`].
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.waiting.len() >= LIMIT {
            ready!(self.poll_send(context))?;
        }
        Poll::Ready(Ok(LIMIT - self.waiting.len()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Cork<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.shared.lock().stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Cork<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut shared = self.shared.lock();
        if shared.open {
            // Who took the stream over need not flush what it was used to see leave at once.
            ready!(shared.poll_send(context))?;
            return Pin::new(&mut shared.stream).poll_write_vectored(context, slices);
        }
        let room = ready!(shared.poll_room(context))?;
        let mut left = room;
        for slice in slices {
            let part = slice.len().min(left);
            shared.waiting.extend_from_slice(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(room - left))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.lock();
        match shared.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if shared.open => shared.poll_send(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.lock();
        ready!(shared.poll_send(context))?;
        Pin::new(&mut shared.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Counts the writes.
    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    fn corked(room: usize) -> (Cork<Counted>, DuplexStream, Arc<AtomicUsize>) {
        let (ours, theirs) = duplex(room);
        let writes = Arc::new(AtomicUsize::new(0));
        (Cork::new(Counted(ours, Arc::clone(&writes))), theirs, writes)
    }

    #[tokio::test]
    async fn what_one_poll_writes_leaves_together_and_before_the_next() {
        let (mut cork, mut peer, writes) = corked(1 << 20);
        let driver = cork.driver();
        let connection = async move {
            for number in 0..100_u8 {
                cork.write_all(&[number; 10]).await?;
                cork.flush().await?;
            }
            // Nothing is left to do, but the connection lives.
            pending::<io::Result<()>>().await
        };
        let running = tokio::spawn(driver.run(connection));
        let mut received = vec![0; 1000];
        peer.read_exact(&mut received).await.unwrap();
        assert!(received.chunks(10).enumerate().all(|(at, chunk)| chunk == [at as u8; 10]));
        assert_eq!(writes.load(Ordering::Relaxed), 1);
        running.abort();
    }

    #[tokio::test]
    async fn a_full_peer_holds_the_writer_back_and_nothing_is_lost() {
        let (mut cork, mut peer, _) = corked(1000);
        let driver = cork.driver();
        let total = 5 * LIMIT + 17;
        let connection = async move {
            let bytes: Vec<u8> = (0..total).map(|at| (at % 251) as u8).collect();
            for part in bytes.chunks(16 << 10) {
                cork.write_all(part).await?;
                assert!(cork.shared.lock().waiting.len() <= LIMIT);
            }
            cork.shutdown().await
        };
        let running = tokio::spawn(driver.run(connection));
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        running.await.unwrap().unwrap();
        assert_eq!(received.len(), total);
        assert!(received.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    }

    #[tokio::test]
    async fn who_takes_the_stream_over_gets_everything_sent_and_writes_at_once() {
        let (mut cork, mut peer, _) = corked(8);
        let driver = cork.driver();
        let connection = async move {
            cork.write_all(b"HTTP/1.1 101 Switching Protocols").await?;
            Ok::<_, io::Error>(cork)
        };
        let running = tokio::spawn(driver.run(connection));
        let mut received = [0; 32];
        peer.read_exact(&mut received).await.unwrap();
        let mut upgraded = running.await.unwrap().unwrap();
        let mut received = [0; 5];
        let (written, read) = tokio::join!(upgraded.write_all(b"hello"), peer.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
        assert_eq!(&received, b"hello");
    }

    #[tokio::test]
    async fn a_peer_that_has_gone_is_told_to_the_connection_once() {
        let (mut cork, peer, _) = corked(8);
        drop(peer);
        let driver = cork.driver();
        let connection = async move {
            cork.write_all(b"x").await?;
            tokio::task::yield_now().await;
            cork.flush().await
        };
        let error = driver.run(connection).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
