//! Questions to servers outside: webhooks named by a kubeconfig, and key sets of token issuers.
//!
//! Enters: a kubeconfig file or an `https` URL, and a JSON body. Leaves: the answer's JSON, at most [`MAX_ANSWER`]
//! bytes of it. Called by the webhooks of authentication and authorization and by the JWT authenticator. Connections
//! are kube-rs's (TLS over rustls, client certificates, bearer tokens and exec plug-ins of the kubeconfig).

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

/// The longest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 1 << 20;
/// Tries of one question; the pause between them starts at [`FIRST_PAUSE`] and grows by half.
///
/// Authority: `k8s.io/apiserver/pkg/util/webhook.DefaultRetryBackoff` (5 steps, 500 ms, factor 1.5).
pub const TRIES: u32 = 5;
/// The pause after the first failed try.
pub const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Why a server outside did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The kubeconfig cannot be used; an operator must correct it.
    #[error("kubeconfig {path}: {reason}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The URL or its CA cannot be used.
    #[error("{url}: {reason}")]
    Address {
        /// The URL.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The server could not be reached; may be retried.
    #[error("{method} {url}: {source}")]
    Transport {
        /// The HTTP method.
        method: Method,
        /// The URL.
        url: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The answer did not arrive whole, or is longer than [`MAX_ANSWER`].
    #[error("{method} {url}: reading the answer: {reason}")]
    Body {
        /// The HTTP method.
        method: Method,
        /// The URL.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server took too long.
    #[error("{method} {url}: no answer within {seconds} s")]
    Timeout {
        /// The HTTP method.
        method: Method,
        /// The URL.
        url: String,
        /// The patience, in seconds.
        seconds: u64,
    },
    /// The server answered with an error.
    #[error("{method} {url}: the server answered {code}")]
    Status {
        /// The HTTP method.
        method: Method,
        /// The URL.
        url: String,
        /// Its code.
        code: StatusCode,
    },
    /// The answer is not the JSON that was asked for.
    #[error("{method} {url}: the answer is not JSON: {source}")]
    Json {
        /// The HTTP method.
        method: Method,
        /// The URL.
        url: String,
        /// The cause.
        source: serde_json::Error,
    },
}

impl RemoteError {
    /// Whether the next try may succeed.
    ///
    /// Authority: `k8s.io/apiserver/pkg/util/webhook.DefaultShouldRetry`.
    fn is_passing(&self) -> bool {
        match self {
            RemoteError::Status { code, .. } => {
                matches!(code.as_u16(), 429 | 500 | 503 | 504)
            }
            RemoteError::Transport { source, .. } => {
                let mut cause = source.source();
                while let Some(error) = cause {
                    if let Some(io) = error.downcast_ref::<std::io::Error>() {
                        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
                        return matches!(io.kind(), ConnectionReset | BrokenPipe | UnexpectedEof);
                    }
                    cause = error.source();
                }
                false
            }
            _ => false,
        }
    }
}

/// One server outside and the path questions go to.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    origin: String,
    path: String,
    patience: Duration,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("url", &self.url()).finish_non_exhaustive()
    }
}

fn path_of(url: &Uri) -> String {
    url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned()
}

/// The URL without its path: kube-rs would put a slash between the path and nothing.
fn origin_of(url: &Uri) -> Option<Uri> {
    let authority = url.authority()?.clone();
    Uri::builder().scheme(url.scheme_str()?).authority(authority).path_and_query("/").build().ok()
}

impl Remote {
    /// The current context's server of a kubeconfig file, as `--authentication-token-webhook-config-file` names it.
    pub async fn from_kubeconfig(path: &Path, patience: Duration) -> Result<Remote, RemoteError> {
        let bad = |reason: String| RemoteError::Kubeconfig { path: path.to_owned(), reason };
        let file = Kubeconfig::read_from(path).map_err(|error| bad(error.to_string()))?;
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(|error| bad(error.to_string()))?;
        // The webhook's own retries below are upstream's; kube-rs's would multiply them.
        config.default_retry = false;
        let url = config.cluster_url.clone();
        config.cluster_url = origin_of(&url)
            .ok_or_else(|| bad(format!("server {url}: not a URL such as https://host/path")))?;
        let origin = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| bad(error.to_string()))?;
        Ok(Remote { client, origin, path: path_of(&url), patience })
    }

    /// A URL without credentials; trusted is the CA bundle (PEM), or the system's authorities.
    pub fn from_url(url: &str, ca: Option<&str>, patience: Duration) -> Result<Remote, RemoteError> {
        let bad = |reason: String| RemoteError::Address { url: url.to_owned(), reason };
        let parsed: Uri = url.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        let origin =
            origin_of(&parsed).ok_or_else(|| bad("not a URL such as https://host/path".to_owned()))?;
        let mut config = Config::new(origin.clone());
        config.default_retry = false;
        if let Some(pem) = ca {
            let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let certs = certs.map_err(|error| bad(format!("certificate authority: {error}")))?;
            if certs.is_empty() {
                return Err(bad("certificate authority: no certificate in it".to_owned()));
            }
            config.root_cert = Some(certs.iter().map(|cert| cert.as_ref().to_vec()).collect());
        }
        let client = Client::try_from(config).map_err(|error| bad(error.to_string()))?;
        Ok(Remote { client, origin: origin.to_string(), path: path_of(&parsed), patience })
    }

    /// Where questions go.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin.trim_end_matches('/'), self.path)
    }

    /// Asks for a document, once.
    pub async fn get(&self) -> Result<Vec<u8>, RemoteError> {
        self.ask(Method::GET, Vec::new()).await
    }

    /// Posts a review and returns the answered one; passing failures are tried again.
    pub async fn post(&self, review: &Value) -> Result<Value, RemoteError> {
        let answer = self.deliver(review).await?;
        let json = |source| RemoteError::Json { method: Method::POST, url: self.url(), source };
        serde_json::from_slice(&answer).map_err(json)
    }

    /// Posts a document whose answer means nothing but success; passing failures are tried again.
    pub async fn send(&self, document: &Value) -> Result<(), RemoteError> {
        self.deliver(document).await.map(drop)
    }

    async fn deliver(&self, document: &Value) -> Result<Vec<u8>, RemoteError> {
        let body = document.to_string().into_bytes();
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.ask(Method::POST, body.clone()).await {
                Err(error) if error.is_passing() => {
                    tracing::debug!(%error, "webhook failed, trying again");
                    tokio::time::sleep(pause).await;
                    pause = pause * 3 / 2;
                }
                done => return done,
            }
        }
        self.ask(Method::POST, body).await
    }

    async fn ask(&self, method: Method, body: Vec<u8>) -> Result<Vec<u8>, RemoteError> {
        let asked = tokio::time::timeout(self.patience, self.exchange(method.clone(), body));
        asked.await.unwrap_or_else(|_| {
            Err(RemoteError::Timeout { method, url: self.url(), seconds: self.patience.as_secs() })
        })
    }

    async fn exchange(&self, method: Method, body: Vec<u8>) -> Result<Vec<u8>, RemoteError> {
        let url = self.url();
        let transport = |source| RemoteError::Transport {
            method: method.clone(),
            url: url.clone(),
            source: Box::new(source),
        };
        let mut request =
            Request::builder().method(&method).uri(&self.path).header("accept", "application/json");
        if method == Method::POST {
            request = request.header("content-type", "application/json");
        }
        let request =
            request.body(Body::from(body)).map_err(|error| transport(kube::Error::HttpError(error)))?;
        let response = self.client.send(request).await.map_err(transport)?;
        let code = response.status();
        if !code.is_success() {
            return Err(RemoteError::Status { method, url, code });
        }
        let whole = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let whole = whole.map_err(|error| RemoteError::Body { method, url, reason: error.to_string() })?;
        Ok(whole.to_bytes().to_vec())
    }
}
