//! Joins two byte streams. Enters: both ends, after their upgrades. Leaves: every byte, in order, until both ended.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// How much is on the way in each direction.
const BUFFER: usize = 64 * 1024;

/// How one direction came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The reader's side closed in good order.
    Closed,
    /// The writer's side takes no more; what it still sends shall arrive.
    Unwanted,
}

/// Copies both ways without any time limit; returns the bytes sent and received, as seen from `near`.
///
/// When one side ends, the other's write half is shut down; the call returns when both have ended, or with an error
/// as soon as a read fails, since that peer is gone.
pub(super) async fn join<N, F>(near: N, far: F) -> io::Result<(u64, u64)>
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let (sent, received) = tokio::try_join!(one_way(near_read, far_write), one_way(far_read, near_write))?;
    tracing::trace!(sent_end = ?sent.1, received_end = ?received.1, "both directions ended");
    Ok((sent.0, received.0))
}

async fn one_way<R, W>(mut from: ReadHalf<R>, mut to: WriteHalf<W>) -> io::Result<(u64, End)>
where
    R: AsyncRead,
    W: AsyncWrite,
{
    let mut buffer = vec![0; BUFFER];
    let mut total = 0_u64;
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(length) => length,
            // TLS peers that close without saying so
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        if length == 0 {
            // a peer that is gone already needs no end
            let _ = to.shutdown().await;
            return Ok((total, End::Closed));
        }
        let written = async {
            to.write_all(&buffer[..length]).await?;
            to.flush().await
        };
        if written.await.is_err() {
            return Ok((total, End::Unwanted));
        }
        total += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::duplex;

    #[tokio::test(start_paused = true)]
    async fn each_half_ends_alone_and_nothing_is_lost() {
        let (client, near) = duplex(1000);
        let (far, server) = duplex(1000);
        let joined = tokio::spawn(join(near, far));
        let (mut client_read, mut client_write) = tokio::io::split(client);
        let (mut server_read, mut server_write) = tokio::io::split(server);
        let up: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let sent = up.clone();
        tokio::spawn(async move {
            client_write.write_all(&sent).await.unwrap();
            client_write.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        server_read.read_to_end(&mut got).await.unwrap();
        assert!(got == up);
        // a day of silence, then the other half still speaks
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert!(!joined.is_finished());
        server_write.write_all(b"late").await.unwrap();
        server_write.shutdown().await.unwrap();
        let mut late = Vec::new();
        client_read.read_to_end(&mut late).await.unwrap();
        assert_eq!(late, b"late");
        assert_eq!(joined.await.unwrap().unwrap(), (300_000, 4));
    }

    /// A peer that has said something, refuses every write, and then ends.
    struct Deaf(&'static [u8]);

    impl AsyncRead for Deaf {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let n = self.0.len().min(1);
            into.put_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            std::task::Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Deaf {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::task::Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_side_that_takes_no_more_is_still_heard() {
        let (mut client, near) = duplex(1000);
        client.write_all(b"unwanted input").await.unwrap();
        let joined = tokio::spawn(join(near, Deaf(b"last words")));
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last words");
        drop(client);
        assert_eq!(joined.await.unwrap().unwrap(), (0, 10));
    }
}
