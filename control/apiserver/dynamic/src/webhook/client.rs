//! The HTTP side of a webhook: where it is, one pool of connections per configuration, one POST per question.
//!
//! A Service's webhook is asked over HTTP/1.1 at an address found anew for each connection; so is a URL, except on
//! localhost, where HTTP/2 may be negotiated (all of it as upstream: HTTP/2 would pin every question to one backend).
//! Bounds: the answer's size ([`MAX_ANSWER`]), the call's time, the number of pools.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use serde_json::Value;
use xebec_api::gotext::quote;

use super::connect::{self, Connector, Place};
use super::failure;
use crate::Resolver;

/// Largest answer read, in bytes: several times what the largest object with a patch for all of it would take.
pub const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Most configurations whose connections are kept.
const MAX_POOLS: usize = 200;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// Idle connections kept to one webhook.
const MAX_IDLE: usize = 25;
/// Times a webhook may ask to be asked again (429 or 5xx with Retry-After) within the call's time.
const MAX_RETRIES: usize = 10;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    /// A Service of this cluster.
    Service { namespace: String, name: String, port: u16, path: String },
    /// An address anywhere.
    Url(String),
    /// The configuration names neither.
    Missing,
}

/// A webhook's `clientConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    pub(crate) endpoint: Endpoint,
    /// PEM certificates its certificate must come from; empty: what the system trusts.
    pub(crate) ca_bundle: Vec<u8>,
}

impl ClientConfig {
    /// Reads a `clientConfig`. What is missing reads as empty; asking it says so.
    #[must_use]
    pub fn parse(config: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let service = &config["service"];
        let endpoint = if service.is_object() {
            Endpoint::Service {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                port: service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
                path: text(&service["path"]),
            }
        } else {
            config["url"].as_str().map_or(Endpoint::Missing, |url| Endpoint::Url(url.to_owned()))
        };
        let bundle = config["caBundle"].as_str().unwrap_or_default();
        let ca_bundle = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
        Self { endpoint, ca_bundle }
    }
}

/// A call did not bring an answer: the text behind `failed calling webhook "x": `, and the code for the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// What went wrong.
    pub reason: String,
    /// An HTTP status code.
    pub code: u16,
}

/// The connections of one configuration.
struct Pool {
    client: Client<Connector, Full<Bytes>>,
    uri: Uri,
}

/// Asks webhooks: those of admission, and those that convert custom resources.
pub struct WebhookClient {
    resolver: Arc<dyn Resolver>,
    pools: Mutex<Pools>,
}

/// The pools, the one used longest ago goes first.
#[derive(Default)]
struct Pools {
    by_config: HashMap<ClientConfig, (u64, Arc<Pool>)>,
    uses: u64,
}

impl WebhookClient {
    /// A client that finds Services by `resolver`.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, pools: Mutex::default() }
    }

    /// Posts `question`; the decoded JSON of a successful answer.
    pub async fn ask(
        &self,
        config: &ClientConfig,
        question: &Value,
        patience: Duration,
    ) -> Result<Value, CallFailure> {
        let pool = self
            .pool(config)
            .map_err(|why| CallFailure { reason: format!("could not get REST client: {why}"), code: 500 })?;
        let uri = with_timeout(&pool.uri, patience);
        let url = format!("Post {}", quote(&uri.to_string()));
        let body = Bytes::from(question.to_string());
        let answered = tokio::time::timeout(patience, exchange(&pool, uri, body)).await;
        let transport = |text: String| CallFailure {
            reason: format!("failed to call webhook: {url}: {text}"),
            code: 503,
        };
        match answered {
            Err(_) => Err(transport("context deadline exceeded".to_owned())),
            Ok(Err(text)) => Err(transport(text)),
            Ok(Ok((status, headers, body))) => failure::decode(status, &headers, &body).map_err(|error| {
                let reason = format!("failed to call webhook: {}", error.message);
                CallFailure { reason, code: error.code }
            }),
        }
    }

    fn pool(&self, config: &ClientConfig) -> Result<Arc<Pool>, String> {
        let mut pools = self.pools.lock();
        pools.uses += 1;
        let now = pools.uses;
        if let Some((used, pool)) = pools.by_config.get_mut(config) {
            *used = now;
            return Ok(Arc::clone(pool));
        }
        let pool = Arc::new(self.open(config)?);
        if pools.by_config.len() >= MAX_POOLS {
            let oldest = pools.by_config.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(config, _)| config.clone()) {
                pools.by_config.remove(&oldest);
            }
        }
        pools.by_config.insert(config.clone(), (now, Arc::clone(&pool)));
        Ok(pool)
    }

    fn open(&self, config: &ClientConfig) -> Result<Pool, String> {
        let (text, place) = match &config.endpoint {
            Endpoint::Missing => {
                return Err("webhook configuration must have either service or URL".to_owned());
            }
            Endpoint::Service { namespace, name, port, path } => {
                let path = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
                let place = Place::Service {
                    resolver: Arc::clone(&self.resolver),
                    namespace: namespace.clone(),
                    name: name.clone(),
                    port: *port,
                };
                (format!("https://{name}.{namespace}.svc:{port}{path}"), place)
            }
            Endpoint::Url(url) => (url.clone(), Place::Url),
        };
        let uri: Uri = text.parse().map_err(|error| format!("Unparsable URL: {text}: {error}"))?;
        if uri.scheme_str() != Some("https") {
            return Err(format!("webhooks are called over https only, not {text}"));
        }
        let http2 = matches!(place, Place::Url) && uri.host().is_some_and(is_localhost);
        let connector = connect::connector(place, &config.ca_bundle, http2)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector);
        Ok(Pool { client, uri })
    }
}

/// One request and its whole answer, asked again while the webhook says so; errors in the words of Go's client.
async fn exchange(pool: &Pool, uri: Uri, body: Bytes) -> Result<(StatusCode, HeaderMap, Bytes), String> {
    let mut retries = 0;
    loop {
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body.clone()))
            .map_err(|error| error.to_string())?;
        let response = pool.client.request(request).await.map_err(|error| failure::transport(&error))?;
        let (parts, stream) = response.into_parts();
        let collected = Limited::new(stream, MAX_ANSWER).collect().await;
        let bytes = collected.map_err(|error| failure::reading(error.as_ref(), MAX_ANSWER))?.to_bytes();
        match failure::retry_after(parts.status, &parts.headers) {
            Some(pause) if retries < MAX_RETRIES => {
                retries += 1;
                tokio::time::sleep(pause).await;
            }
            _ => return Ok((parts.status, parts.headers, bytes)),
        }
    }
}

/// The URL with the `timeout` parameter that tells the webhook how long it has, whole seconds rounded up.
fn with_timeout(uri: &Uri, patience: Duration) -> Uri {
    let seconds = patience.as_secs() + u64::from(patience.subsec_nanos() > 0);
    let mut parts = uri.clone().into_parts();
    let path_and_query = format!("{}?timeout={seconds}s", uri.path());
    parts.path_and_query = path_and_query.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

fn is_localhost(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn client_configs() {
        let service = json!({"service": {"namespace": "n", "name": "s", "path": "/x"}, "caBundle": "cGVt"});
        let config = ClientConfig::parse(&service);
        let Endpoint::Service { namespace, name, port, path } = config.endpoint else { panic!("a service") };
        assert_eq!((namespace.as_str(), name.as_str(), port, path.as_str()), ("n", "s", 443, "/x"));
        assert_eq!(config.ca_bundle, b"pem");
        assert_eq!(
            ClientConfig::parse(&json!({"url": "https://a"})).endpoint,
            Endpoint::Url("https://a".into())
        );
        assert_eq!(ClientConfig::parse(&json!({})).endpoint, Endpoint::Missing);
    }

    #[test]
    fn the_timeout_is_told_in_whole_seconds() {
        let uri: Uri = "https://s.n.svc:443/x".parse().unwrap();
        assert_eq!(
            with_timeout(&uri, Duration::from_millis(1500)).to_string(),
            "https://s.n.svc:443/x?timeout=2s"
        );
        assert_eq!(with_timeout(&uri, Duration::from_secs(10)).query(), Some("timeout=10s"));
        let bare: Uri = "https://s.n.svc:443".parse().unwrap();
        assert_eq!(
            with_timeout(&bare, Duration::from_secs(1)).to_string(),
            "https://s.n.svc:443/?timeout=1s"
        );
    }

    #[test]
    fn localhost() {
        for (host, expected) in
            [("localhost", true), ("127.0.0.9", true), ("[::1]", true), ("10.0.0.1", false), ("a.b", false)]
        {
            assert_eq!(is_localhost(host), expected, "{host}");
        }
    }
}
