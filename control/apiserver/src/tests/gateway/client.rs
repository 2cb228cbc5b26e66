//! Connections of an administrator to the API server, for protocols that no client here speaks as wanted.

use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::{Response, generate_key};
use tokio_tungstenite::tungstenite::{Error, Message};
use xebec_identity::pki::tls::client_config;
use xebec_identity::pki::{Leaf, Usage};

use crate::tests::harness::Cluster;

pub async fn tls(cluster: &Cluster) -> TlsStream<TcpStream> {
    let file = |name: &str| cluster.pki.path(name);
    let admin = Leaf::new("kubernetes-admin", Usage::Client).organization("system:masters");
    cluster.pki.ensure_leaf(&file("admin-test"), &admin).unwrap();
    let identity = (file("admin-test.crt"), file("admin-test.key"));
    let config = client_config(&file("ca.crt"), Some((&identity.0, &identity.1)), &["http/1.1"]).unwrap();
    let stream = TcpStream::connect(cluster.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Reads response headers; in lower case.
pub async fn head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

pub struct WebSocket {
    pub stream: WebSocketStream<TlsStream<TcpStream>>,
    pub response: Response,
}

/// Opens a WebSocket of these protocols.
pub async fn websocket(cluster: &Cluster, path: &str, protocols: &str) -> Result<WebSocket, Error> {
    let request = http::Request::get(format!("wss://127.0.0.1{path}"))
        .header("host", "127.0.0.1")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .header("sec-websocket-protocol", protocols)
        .body(())
        .unwrap();
    let (stream, response) = tokio_tungstenite::client_async(request, tls(cluster).await).await?;
    Ok(WebSocket { stream, response })
}

/// What came on each channel until the server closed, and how it closed.
#[derive(Default, Debug)]
pub struct Heard {
    pub channels: [Vec<u8>; 5],
    pub first: Option<Vec<u8>>,
    pub close: Option<u16>,
}

impl Heard {
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.channels[3]).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl WebSocket {
    pub async fn send(&mut self, message: &[u8]) {
        self.stream.send(Message::Binary(message.to_vec().into())).await.unwrap();
    }

    pub async fn listen(&mut self) -> Heard {
        let mut heard = Heard::default();
        while let Some(Ok(message)) = self.stream.next().await {
            match message {
                Message::Binary(bytes) => {
                    heard.first.get_or_insert_with(|| bytes.to_vec());
                    heard.channels[usize::from(bytes[0])].extend_from_slice(&bytes[1..]);
                }
                Message::Close(frame) => heard.close = frame.map(|frame| frame.code.into()),
                _ => {}
            }
        }
        heard
    }
}
