//! Port-forward over WebSocket: SPDY's bytes in binary messages.
//!
//! Enters: a client's WebSocket of a protocol `SPDY/3.1+...`. Leaves: a SPDY/3.1 upgrade at the kubelet, whose bytes
//! are carried both ways without being understood. Called by `gateway::stream`.
//!
//! Authority: k8s.io/apiserver/pkg/util/proxy/streamtunnel.go, KEP-4006.

use axum::extract::Request;
use axum::response::Response;
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;
use xebec_api::status::ApiError;

use super::backend::Dialer;
use super::forward::Errand;
use super::websocket::{Handshake, Opening, protocols};
use super::{failed, headers};

/// What such a subprotocol begins with; the protocol of the streams inside follows.
const PREFIX: &str = "SPDY/3.1+";
/// What it ends with.
const SUFFIX: &str = "k8s.io";
/// How much goes into one message.
const PIECE: usize = 32 * 1024;
/// The protocol of the streams of a SPDY connection.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// The protocols of the streams that the client offers to tunnel.
pub fn offered(headers: &HeaderMap) -> Vec<String> {
    let inside =
        |name: String| name.strip_prefix(PREFIX).filter(|inside| inside.ends_with(SUFFIX)).map(str::to_owned);
    protocols(headers).into_iter().filter_map(inside).collect()
}

/// Whether the answer agrees to speak SPDY/3.1.
pub fn agreed(answer: &Response) -> bool {
    let says = |name: HeaderName, word: &str| {
        let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "spdy/3.1")
}

/// Opens the tunnel; a refusal of the kubelet is passed on as it is.
pub async fn open(errand: &Errand<'_>, dialer: &Dialer, mut request: Request) -> Result<Response, ApiError> {
    let handshake = Handshake::begin(&mut request)?;
    let mut asked = headers::onward(request.headers(), errand.client, true);
    for name in [header::SEC_WEBSOCKET_PROTOCOL, header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_VERSION] {
        asked.remove(name);
    }
    asked.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    asked.remove(&STREAM_PROTOCOL);
    asked.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    for protocol in offered(request.headers()) {
        let value = HeaderValue::from_str(&protocol).map_err(ApiError::internal)?;
        asked.append(STREAM_PROTOCOL, value);
    }
    let mut answer = errand.ask_upgrade(dialer, Method::POST, asked).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::homeward(answer.headers_mut());
        return Ok(answer);
    }
    if !agreed(&answer) {
        return Err(failed("unable to upgrade: missing upgrade headers in response"));
    }
    let chosen = answer.headers().get(&STREAM_PROTOCOL).and_then(|value| value.to_str().ok());
    let chosen = chosen.map(|inside| format!("{PREFIX}{}", inside.trim()));
    let far = hyper::upgrade::on(&mut answer);
    let (response, opening) = handshake.accept(chosen.as_deref())?;
    tokio::spawn(async move {
        if let Err(error) = carry(opening, far).await {
            debug!(%error, "a tunnel broke");
        }
    });
    Ok(response)
}

/// Why a tunnel ended early.
#[derive(Debug, thiserror::Error)]
enum TunnelError {
    #[error("upgrade: {0}")]
    Upgrade(#[from] hyper::Error),
    #[error("client: {0}")]
    Client(#[from] tokio_tungstenite::tungstenite::Error),
    #[error("kubelet: {0}")]
    Kubelet(#[from] std::io::Error),
    #[error("the client sent a message that is not binary")]
    NotBinary,
}

/// Carries bytes until one side ends, then ends the other in good order.
async fn carry(opening: Opening, far: OnUpgrade) -> Result<(), TunnelError> {
    let (socket, far) = tokio::try_join!(opening.socket(), far)?;
    let (mut sink, mut source) = socket.split();
    let (mut read, mut write) = tokio::io::split(TokioIo::new(far));
    let inward = async {
        while let Some(message) = source.next().await {
            match message? {
                Message::Binary(bytes) => {
                    write.write_all(&bytes).await?;
                    write.flush().await?;
                }
                Message::Text(_) => return Err(TunnelError::NotBinary),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        write.shutdown().await.map_err(TunnelError::from)
    };
    let outward = async {
        let mut buffer = BytesMut::with_capacity(PIECE);
        loop {
            buffer.reserve(PIECE);
            if read.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            sink.send(Message::Binary(buffer.split().freeze())).await?;
        }
    };
    let ended: Result<(), TunnelError> = tokio::select! {
        ended = inward => ended,
        ended = outward => ended,
    };
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    // The client may be gone, which is as good an end.
    let _ = sink.send(Message::Close(Some(close))).await;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kubernetes_protocols_are_tunnelled() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io, SPDY/3.1+x"),
        );
        assert_eq!(offered(&headers), ["portforward.k8s.io"]);
    }
}
