//! What a LIST is compared with: copying as many bytes in memory, and sending them through the same client over TLS on
//! loopback from a server that does nothing else.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Http;
use crate::client::Target;

/// Bytes handed to TLS at once, as a server that streams its cached objects would.
const CHUNK: usize = 256 << 10;

/// The time to copy `bytes` in memory, into pages that exist already.
pub(crate) fn memory(bytes: usize) -> Duration {
    let source = vec![1_u8; bytes];
    let mut target = vec![0_u8; bytes];
    let started = Instant::now();
    target.copy_from_slice(black_box(&source));
    black_box(&target);
    started.elapsed()
}

/// The time to receive `bytes` over TLS (HTTP/1.1, one connection) from a server that only sends: the floor of any LIST.
pub(crate) async fn over_tls(bytes: usize) -> Result<Duration> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key)?;
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let sending = tokio::spawn(send(listener, TlsAcceptor::from(Arc::new(server)), bytes));
    let mut client = Target::new("localhost".to_owned(), port, client, Http::One).client().await?;
    let started = Instant::now();
    let answer = client.send(http::Method::GET, "/", "", Bytes::new()).await?;
    let received = super::list::drain(answer.into_body(), |_| {}).await?;
    let elapsed = started.elapsed();
    sending.abort();
    anyhow::ensure!(received == bytes, "{received} of {bytes} bytes came");
    Ok(elapsed)
}

async fn send(listener: TcpListener, acceptor: TlsAcceptor, bytes: usize) -> Result<()> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut request = [0; 1024];
    let mut length = 0;
    while !request[..length].ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut request[length..]).await?;
        anyhow::ensure!(read > 0, "the request is cut off");
        length += read;
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let chunk = vec![b'x'; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(CHUNK);
        stream.write_all(&chunk[..part]).await?;
        left -= part;
    }
    stream.flush().await?;
    // The client closes; until then the connection must stay.
    let _ = stream.read(&mut request).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_byte_comes_through() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert!(over_tls(3 * CHUNK + 17).await.unwrap() > Duration::ZERO);
        assert!(memory(1 << 20) > Duration::ZERO);
    }
}
