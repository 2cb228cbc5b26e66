//! Connections and requests. Enters: a target. Leaves: answers, of which everything but success is an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Common, Http, kubeconfig};

/// Clients that share one HTTP/2 connection unless `--connections` says otherwise; servers allow at least 100 streams.
const CLIENTS_PER_CONNECTION: usize = 100;
/// The flow-control windows of Go's HTTP/2 client, which is what nearly every Kubernetes client uses.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;
/// An answer that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause after a 429. Servers say "in one second", which would measure that second; this is long enough to let others
/// have their turn.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// JSON, the body of most requests.
pub(crate) const JSON: &str = "application/json";

/// A server and how to speak to it.
pub(crate) struct Target {
    /// The namespace of the load.
    pub(crate) namespace: String,
    /// The HTTP version.
    pub(crate) http: Http,
    connections: Option<usize>,
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    token: Option<HeaderValue>,
}

/// One client: a connection of its own, or a share of an HTTP/2 connection.
pub(crate) struct Client {
    sender: Sender,
    authority: HeaderValue,
    origin: String,
    token: Option<HeaderValue>,
    /// How often the server refused a request with 429.
    pub(crate) refused: u64,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Target {
    /// From the command line's kubeconfig.
    pub(crate) fn load(common: &Common) -> Result<Self> {
        let access = kubeconfig::read(&common.kubeconfig, common.server.as_deref())?;
        let token = access.token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))).transpose()?;
        let mut target = Self::new(access.host, access.port, access.tls, common.http);
        target.namespace = common.namespace.clone();
        target.connections = common.connections;
        target.token = token;
        Ok(target)
    }

    /// A server without credentials beyond those in `tls`.
    pub(crate) fn new(host: String, port: u16, mut tls: ClientConfig, http: Http) -> Self {
        tls.alpn_protocols = vec![match http {
            Http::One => b"http/1.1".to_vec(),
            Http::Two => b"h2".to_vec(),
        }];
        let (namespace, tls) = (String::new(), Arc::new(tls));
        Self { namespace, http, connections: None, host, port, tls, token: None }
    }

    /// Connects `count` clients.
    pub(crate) async fn clients(&self, count: usize) -> Result<Vec<Client>> {
        let mut clients: Vec<Client> = Vec::with_capacity(count);
        let connections = match self.http {
            Http::One => count,
            Http::Two => self.connections.unwrap_or(count.div_ceil(CLIENTS_PER_CONNECTION)).clamp(1, count),
        };
        for index in 0..count {
            let sender = match clients.get(index % connections).filter(|_| index >= connections) {
                Some(Client { sender: Sender::Two(shared), .. }) => Sender::Two(shared.clone()),
                _ => self.connect().await?,
            };
            let authority = if self.host.contains(':') {
                format!("[{}]:{}", self.host, self.port)
            } else {
                format!("{}:{}", self.host, self.port)
            };
            clients.push(Client {
                sender,
                origin: format!("https://{authority}"),
                authority: HeaderValue::try_from(authority)?,
                token: self.token.clone(),
                refused: 0,
            });
        }
        Ok(clients)
    }

    /// Connects one client.
    pub(crate) async fn client(&self) -> Result<Client> {
        self.clients(1).await?.pop().context("no client")
    }

    async fn connect(&self) -> Result<Sender> {
        let shown = format!("{}:{}", self.host, self.port);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.with_context(|| format!("connecting to {shown}"))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        let stream = stream.with_context(|| format!("TLS with {shown}"))?;
        if self.http == Http::Two {
            ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "{shown} does not speak HTTP/2");
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(Sender::Two(sender));
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Sender::One(sender))
    }
}

impl Client {
    /// Sends a request and returns the head of the answer, whatever its status.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut request =
            Request::builder().method(method).header(ACCEPT, JSON).header(USER_AGENT, "xebec-load");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let body = Full::new(body);
        let answer = match &mut self.sender {
            Sender::One(sender) => {
                let request = request.uri(path).header(HOST, &self.authority).body(body)?;
                sender.ready().await?;
                tokio::time::timeout(PATIENCE, sender.send_request(request)).await
            }
            Sender::Two(sender) => {
                let request = request.uri(format!("{}{path}", self.origin)).body(body)?;
                sender.ready().await?;
                tokio::time::timeout(PATIENCE, sender.send_request(request)).await
            }
        };
        let late = || format!("{path}: no answer within {} s", PATIENCE.as_secs());
        answer.with_context(late)?.with_context(|| path.to_owned())
    }

    /// Sends a request until it is not refused with 429 (the server sheds load; the time it takes is part of what is
    /// measured), and returns status and body.
    async fn answered(
        &mut self,
        method: &Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let started = Instant::now();
        loop {
            let answer = self.send(method.clone(), path, content_type, body.clone()).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await.with_context(|| format!("{method} {path}"))?;
            if status != StatusCode::TOO_MANY_REQUESTS || started.elapsed() > PATIENCE {
                return Ok((status, body.to_bytes()));
            }
            self.refused += 1;
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    }

    /// Sends a request and returns the body of its answer, which must be a success.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Bytes> {
        let (status, body) = self.answered(&method, path, content_type, body).await?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
            bail!("{method} {path}: {status}: {text}");
        }
        Ok(body)
    }

    /// GET.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes> {
        self.call(Method::GET, path, JSON, Bytes::new()).await
    }

    /// POST of a JSON body; 409 (it exists already) is no error if `existing_is_fine`.
    pub(crate) async fn create(&mut self, path: &str, body: Bytes, existing_is_fine: bool) -> Result<()> {
        let (status, body) = self.answered(&Method::POST, path, JSON, body).await?;
        if status.is_success() || existing_is_fine && status == StatusCode::CONFLICT {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
        bail!("POST {path}: {status}: {text}")
    }
}
