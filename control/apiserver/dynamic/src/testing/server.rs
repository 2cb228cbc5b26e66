//! A webhook server on loopback, over TLS with a certificate of its own CA.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// How the server answers.
pub(crate) enum Reply {
    /// An AdmissionReview with this response; its uid is filled in unless given.
    Review(Value),
    /// This JSON as it is.
    Json(Value),
    /// Another status, content type and body.
    Raw(u16, &'static str, String),
    /// Overloaded: 503 with Retry-After.
    RetryAfter(u32),
    /// Nothing, for this long.
    Slow(Duration),
    /// An endless answer of this many bytes.
    Huge(usize),
    /// The connection ends.
    Close,
}

type Handler = dyn Fn(&Value) -> Reply + Send + Sync;

/// One question as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) version: http::Version,
    pub(crate) review: Value,
}

/// A running server; it ends with this value.
pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    /// The CA, base64 of PEM as `caBundle` holds it.
    pub(crate) ca_bundle: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    pub(crate) connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whose certificate the server shows.
pub(crate) enum Identity {
    /// One of a CA, for these names.
    Issued(Vec<String>),
    /// Its own, marked as a CA's, as kopf makes them.
    SelfSigned(Vec<String>),
}

impl Webhook {
    /// A server for localhost.
    pub(crate) async fn start(handler: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "hook.default.svc".to_owned()];
        Self::with_identity(Identity::Issued(names), handler).await
    }

    pub(crate) async fn with_identity(
        identity: Identity,
        handler: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (ca, certificate, key) = certificate(identity);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let connections: Arc<Mutex<usize>> = Arc::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, count) = (asked.clone(), connections.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                *count.lock() += 1;
                let (acceptor, handler, log) = (acceptor.clone(), handler.clone(), log.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(request, handler.clone(), log.clone()));
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        let ca_bundle = base64::engine::general_purpose::STANDARD.encode(ca);
        Self { address, ca_bundle, asked, connections, task }
    }

    /// A `clientConfig` with this server's URL.
    pub(crate) fn url(&self, path: &str) -> Value {
        json!({"url": format!("https://localhost:{}{path}", self.address.port()), "caBundle": self.ca_bundle})
    }

    /// How often it was asked.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().len()
    }

    /// The `request` of each question.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.asked.lock().iter().map(|asked| asked.review["request"].clone()).collect()
    }
}

fn certificate(identity: Identity) -> (String, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    match identity {
        Identity::SelfSigned(names) => {
            let mut params = CertificateParams::new(names).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key).unwrap();
            (certificate.pem(), certificate.der().clone(), private)
        }
        Identity::Issued(names) => {
            let ca_key = KeyPair::generate().unwrap();
            let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
            ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let pem = ca.self_signed(&ca_key).unwrap().pem();
            let issuer = Issuer::new(ca, ca_key);
            let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
            (pem, certificate.der().clone(), private)
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    handler: Arc<Handler>,
    log: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let version = request.version();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    log.lock().push(Asked { path, version, review: review.clone() });
    let (status, content_type, body) = match handler(&review) {
        Reply::Review(mut response) => {
            if response["uid"].is_null() {
                response["uid"] = review["request"]["uid"].clone();
            }
            let answer = json!({
                "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response,
            });
            (200, "application/json", answer.to_string())
        }
        Reply::Json(value) => (200, "application/json", value.to_string()),
        Reply::Raw(status, content_type, body) => (status, content_type, body),
        Reply::RetryAfter(seconds) => {
            let response = Response::builder().status(503).header("Retry-After", seconds);
            return Ok(response.body(Full::default()).unwrap());
        }
        Reply::Slow(pause) => {
            tokio::time::sleep(pause).await;
            (200, "application/json", "{}".to_owned())
        }
        Reply::Huge(size) => (200, "application/json", " ".repeat(size)),
        Reply::Close => return Err(std::io::Error::other("closed")),
    };
    let response = Response::builder().status(status).header("Content-Type", content_type);
    Ok(response.body(Full::from(body)).unwrap())
}
