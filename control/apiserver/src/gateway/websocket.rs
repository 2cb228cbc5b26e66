//! The server's side of a WebSocket handshake (RFC 6455 section 4.2).

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use xebec_api::status::ApiError;

use super::headers::is_upgrade;

/// Largest message, as upstream: clients send a whole input in one.
const MESSAGE: usize = 32 * 1024 * 1024;
/// Buffers of a connection, each way.
const BUFFER: usize = 16 * 1024;

/// An upgraded WebSocket.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A request that may become a WebSocket.
pub struct Handshake {
    upgrade: OnUpgrade,
    accept: String,
}

/// Whether the client asks for a WebSocket.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    is_upgrade(headers) && upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// The subprotocols the client offers, best first.
pub fn protocols(headers: &HeaderMap) -> Vec<String> {
    let values =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned()).collect()
}

impl Handshake {
    /// Checks the request; 400 when it cannot become a WebSocket.
    pub fn begin(request: &mut Request) -> Result<Self, ApiError> {
        let headers = request.headers();
        let has = |name, value: &str| headers.get(name).is_some_and(|given: &HeaderValue| given == value);
        if *request.method() != Method::GET || !has(header::SEC_WEBSOCKET_VERSION, "13") {
            return Err(ApiError::bad_request(
                "unable to upgrade: WebSocket version 13 by GET is needed (RFC 6455)",
            ));
        }
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return Err(ApiError::bad_request("unable to upgrade: Sec-WebSocket-Key is missing"));
        };
        let accept = derive_accept_key(key.as_bytes());
        Ok(Self { upgrade: hyper::upgrade::on(request), accept })
    }

    /// 101 with the chosen subprotocol, and the socket there will be once it is sent.
    pub fn accept(self, protocol: Option<&str>) -> Result<(Response, Opening), ApiError> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let text = |text: &str| HeaderValue::from_str(text).map_err(ApiError::internal);
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, text(&self.accept)?);
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, text(protocol)?);
        }
        Ok((response, Opening(self.upgrade)))
    }
}

/// A WebSocket whose 101 is on its way.
pub struct Opening(OnUpgrade);

impl Opening {
    /// Waits for it.
    pub async fn socket(self) -> Result<Socket, hyper::Error> {
        let io = TokioIo::new(self.0.await?);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE))
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(4 * 1024 * 1024);
        Ok(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_checked() {
        let request = |pairs: &[(&str, &str)]| {
            let mut builder = http::Request::get("/x");
            for (name, value) in pairs {
                builder = builder.header(*name, *value);
            }
            builder.body(Body::empty()).unwrap()
        };
        let good = [
            ("connection", "Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
        ];
        let mut asked = request(&good);
        assert!(is_websocket(asked.headers()));
        assert_eq!(protocols(asked.headers()), ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
        let (response, _) = Handshake::begin(&mut asked).unwrap().accept(Some("v5.channel.k8s.io")).unwrap();
        // The example of RFC 6455 section 1.3.
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["sec-websocket-protocol"]),
            (101, &HeaderValue::from_static("v5.channel.k8s.io"))
        );
        assert!(Handshake::begin(&mut request(&good[..2])).is_err());
        assert!(Handshake::begin(&mut request(&good[..3])).is_err());
    }
}
