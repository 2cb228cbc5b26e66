//! A remote API server: whom to trust, where it is, and a pool of connections to it.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection as Pooled};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::RwLock;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xebec_identity::pki::outbound::{Trust, client_config_trusting};
use xebec_identity::pki::tls::{TlsError, roots_from_pem};
use xebec_identity::{ObjectReader, User};

use super::available::ServiceRef;
use super::identity;
use crate::gateway::backend::{Connection, DialError, Dialer, secure};
use crate::gateway::resolve::{endpoint, none_available, port_name, slices};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why a remote server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Its APIService names a CA that is none, or this server's own certificate is missing.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// Nobody answers behind its Service.
    #[error("{0}")]
    Endpoint(String),
    /// It does not answer.
    #[error("Get {url:?}: {why}")]
    Request {
        /// What was asked.
        url: String,
        /// Why there is no answer.
        why: String,
    },
    /// It answers with more than is taken.
    #[error("the answer from {0} is larger than {1} bytes")]
    TooLarge(String, usize),
}

/// What makes a remote server another one when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The Service.
    pub service: ServiceRef,
    /// Group it serves.
    pub group: String,
    /// Version it serves.
    pub version: String,
    /// PEM, or empty.
    ca_bundle: Vec<u8>,
    insecure: bool,
}

impl Spec {
    /// Of an APIService; none for a local one.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let text = |key: &str| object["spec"][key].as_str().unwrap_or_default().to_owned();
        Some(Self {
            service: ServiceRef::of(object)?,
            group: text("group"),
            version: text("version"),
            ca_bundle: STANDARD.decode(text("caBundle")).unwrap_or_default(),
            insecure: object["spec"]["insecureSkipTLSVerify"] == true,
        })
    }

    fn trust(&self) -> Result<Trust, TlsError> {
        Ok(match (self.insecure, self.ca_bundle.is_empty()) {
            (true, _) => Trust::Anyone,
            (false, true) => Trust::System,
            (false, false) => Trust::Roots(roots_from_pem(&self.ca_bundle)?),
        })
    }
}

/// What a remote server told about itself.
#[derive(Default)]
pub struct Known {
    /// Its versions by group and version (aggregated discovery).
    pub versions: super::merge::Versions,
    /// Whether the newest attempt succeeded.
    pub current: bool,
    /// Its index of /openapi/v3.
    pub openapi_v3: Option<Value>,
    /// Its /openapi/v2 and what names its content.
    pub openapi_v2: Option<(String, Arc<Value>)>,
}

/// One remote API server as one APIService describes it.
pub struct Remote {
    /// The description.
    pub spec: Spec,
    /// What it told.
    pub known: RwLock<Known>,
    reader: Arc<dyn ObjectReader>,
    connector: Connector,
    client: Client<Connector, Body>,
}

/// An answer read to its end.
pub struct Fetched {
    /// Status code.
    pub code: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: bytes::Bytes,
}

impl Remote {
    /// A client of the server; `identity` are certificate and key it knows this server by.
    pub fn new(
        spec: Spec,
        identity: (&Path, &Path),
        dialer: Arc<Dialer>,
        reader: Arc<dyn ObjectReader>,
    ) -> Result<Self, RemoteError> {
        let config = |alpn: &[&str]| client_config_trusting(spec.trust()?, Some(identity), alpn);
        let connector = Connector {
            dialer,
            pooled: TlsConnector::from(Arc::new(config(&["h2", "http/1.1"])?)),
            single: TlsConnector::from(Arc::new(config(&["http/1.1"])?)),
            name: spec.service.server_name().into(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector.clone());
        Ok(Self { spec, known: RwLock::default(), reader, connector, client })
    }

    /// An address and port of a ready endpoint.
    pub fn endpoint(&self) -> Result<(String, u16), RemoteError> {
        let ServiceRef { namespace, name, port } = &self.spec.service;
        let failed = |error: xebec_api::status::ApiError| RemoteError::Endpoint(error.message);
        let Some(service) = self.reader.get("", "services", namespace, name) else {
            return Err(RemoteError::Endpoint(format!("service {name:?} not found")));
        };
        if service["spec"]["type"] == "ExternalName" {
            return Err(RemoteError::Endpoint("unsupported service type \"ExternalName\"".to_owned()));
        }
        let port = port_name(&service, u64::from(*port)).map_err(failed)?;
        let slices = slices(&*self.reader, namespace, name);
        endpoint(&slices, &service, &port, &mut rand::rng(), &|_| true)
            .ok_or_else(|| failed(none_available(name)))
    }

    /// Sends a request whose URI is complete.
    pub async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        self.client.request(request).await
    }

    /// A connection of its own that speaks HTTP/1.1, for upgrades.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Connection>, DialError> {
        let stream = self.connector.dialer.tcp(host, port).await?;
        secure(&self.connector.single, &self.connector.name, stream).await
    }

    /// GETs a document as `user`, of at most `limit` bytes.
    pub async fn fetch(
        &self,
        path: &str,
        user: &User,
        headers: &[(header::HeaderName, &str)],
        limit: usize,
    ) -> Result<Fetched, RemoteError> {
        let (host, port) = self.endpoint()?;
        let url = format!("https://{}:{port}{path}", crate::gateway::bracketed(&host));
        let failed = |why: String| RemoteError::Request { url: url.clone(), why };
        let mut request = Request::builder().method(Method::GET).uri(&url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let mut request = request.body(Body::empty()).map_err(|error| failed(error.to_string()))?;
        identity::set(request.headers_mut(), user);
        let answer = self.send(request).await.map_err(|error| failed(words(&error)))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|_| RemoteError::TooLarge(url.clone(), limit))?;
        Ok(Fetched { code: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() })
    }
}

/// The innermost reason of a client's error, which is the one that says something.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Opens connections to the endpoints a URI names, each for the name of the Service.
#[derive(Clone)]
struct Connector {
    dialer: Arc<Dialer>,
    pooled: TlsConnector,
    single: TlsConnector,
    name: Arc<str>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> io::Result<Stream> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let stream = self.dialer.tcp(host, uri.port_u16().unwrap_or(443)).await.map_err(io::Error::other)?;
        let server = ServerName::try_from(self.name.to_string()).map_err(io::Error::other)?;
        let handshake = tokio::time::timeout(HANDSHAKE, self.pooled.connect(server, stream)).await;
        let handshake = handshake.map_err(|_| io::Error::other("net/http: TLS handshake timeout"))?;
        let stream = handshake.map_err(|error| io::Error::other(DialError::tls(&error)))?;
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Stream { io: TokioIo::new(stream), two })
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection of the pool.
struct Stream {
    io: TokioIo<TlsStream<TcpStream>>,
    two: bool,
}

impl Pooled for Stream {
    fn connected(&self) -> Connected {
        if self.two { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
