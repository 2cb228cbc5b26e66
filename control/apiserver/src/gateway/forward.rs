//! One request to a backend and its answer back; upgraded connections are joined.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tracing::debug;
use xebec_api::status::ApiError;

use super::address::with_query;
use super::backend::{Backend, Connection, DialError, Dialer};
use super::rewrite::{Place, rewritten};
use super::{failed, headers};

/// Longest time until the backend's response headers of an upgrade.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(60);
/// Buffer of a joined connection, each way.
const BUFFER: usize = 64 * 1024;
/// Buffer of a response's headers.
const HEAD: usize = 64 * 1024;

/// Why a backend gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// There is no connection to it.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The connection ended before the answer came.
    #[error("EOF")]
    Ended,
    /// It speaks something else, or broke off.
    #[error("{0}")]
    Http(hyper::Error),
    /// It did not answer in time.
    #[error("timeout awaiting response headers")]
    Silent,
}

impl From<hyper::Error> for ExchangeError {
    fn from(error: hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_closed() { Self::Ended } else { Self::Http(error) }
    }
}

/// Sends one request on a connection of its own, which lives as long as the answer's body.
pub async fn exchange(
    connection: Box<dyn Connection>,
    request: http::Request<Body>,
) -> Result<Response, ExchangeError> {
    let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(connection))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = driver.with_upgrades().await {
            debug!(%error, "connection to a backend ended");
        }
    });
    let answer = sender.send_request(request).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(Body::new));
    }
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _alive = &sender;
            frame
        }))
    }))
}

/// A request of a client on its way to a backend.
pub struct Errand<'a> {
    /// Where to.
    pub backend: &'a Backend,
    /// The path there, escaped.
    pub path: String,
    /// The query as it came.
    pub query: String,
    /// Who asks, for X-Forwarded-For.
    pub client: Option<IpAddr>,
}

impl Errand<'_> {
    fn outgoing(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Body,
    ) -> Result<http::Request<Body>, ApiError> {
        let mut outgoing = http::Request::new(body);
        *outgoing.method_mut() = method;
        let target = with_query(&self.path, &self.query);
        *outgoing.uri_mut() =
            target.parse().map_err(|error| ApiError::bad_request(format!("{target}: {error}")))?;
        *outgoing.headers_mut() = headers;
        if !outgoing.headers().contains_key(header::HOST) {
            let host = HeaderValue::from_str(&self.backend.authority());
            outgoing.headers_mut().insert(header::HOST, host.map_err(ApiError::internal)?);
        }
        Ok(outgoing)
    }

    /// A GET of this server's own, without anything of the client's request.
    pub async fn fetch(&self, dialer: &Dialer) -> Result<Response, ApiError> {
        let request = self.outgoing(Method::GET, HeaderMap::new(), Body::empty())?;
        let answer = async { exchange(dialer.dial(self.backend).await?, request).await };
        let url = format!("https://{}{}", self.backend.authority(), with_query(&self.path, &self.query));
        answer.await.map_err(|error: ExchangeError| failed(format!("Get {url:?}: {error}")))
    }

    /// The client's request as it came, the answer with its links leading back to `place`; 503 when there is none.
    pub async fn pass(&self, dialer: &Dialer, request: Request, place: Place) -> Result<Response, ApiError> {
        let mut onward = headers::onward(request.headers(), self.client, false);
        if let Some(host) = headers::host(request.headers(), request.uri()) {
            onward.insert(header::HOST, host);
        }
        let seen = format!("{}{}", place.prefix, self.path);
        onward.insert("x-forwarded-uri", HeaderValue::from_str(&seen).map_err(ApiError::internal)?);
        let method = request.method().clone();
        let request = self.outgoing(method, onward, request.into_body())?;
        let answer = async { exchange(dialer.dial(self.backend).await?, request).await };
        let answer = answer.await.map_err(|error: ExchangeError| {
            ApiError::service_unavailable(format!("error trying to reach service: {error}"))
        })?;
        let (mut parts, body) = answer.into_parts();
        headers::homeward(&mut parts.headers);
        Ok(relinked(parts, body, place))
    }

    /// The client's upgrade as it came; once the backend agrees, both connections are one.
    pub async fn upgrade(&self, dialer: &Dialer, mut request: Request) -> Result<Response, ApiError> {
        let mut onward = headers::onward(request.headers(), self.client, true);
        if let Some(host) = headers::host(request.headers(), request.uri()) {
            onward.insert(header::HOST, host);
        }
        let near = hyper::upgrade::on(&mut request);
        let outgoing = self.outgoing(request.method().clone(), onward, Body::empty())?;
        let mut answer = self.ask(dialer, outgoing).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = answer.status();
            headers::homeward(answer.headers_mut());
            if status.as_u16() < 400 {
                return Err(failed(format!("invalid upgrade response: status code {}", status.as_u16())));
            }
            return Ok(answer);
        }
        let far = hyper::upgrade::on(&mut answer);
        tokio::spawn(join(near, far));
        let (parts, _) = answer.into_parts();
        Ok(Response::from_parts(parts, Body::empty()))
    }

    /// Sends an upgrade with these headers and no body; the backend's answer, whatever it is.
    pub async fn ask_upgrade(
        &self,
        dialer: &Dialer,
        method: Method,
        headers: HeaderMap,
    ) -> Result<Response, ApiError> {
        let outgoing = self.outgoing(method, headers, Body::empty())?;
        self.ask(dialer, outgoing).await
    }

    async fn ask(&self, dialer: &Dialer, outgoing: http::Request<Body>) -> Result<Response, ApiError> {
        let connection = dialer
            .dial(self.backend)
            .await
            .map_err(|error| failed(format!("error dialing backend: {error}")))?;
        let asked = tokio::time::timeout(UPGRADE_PATIENCE, exchange(connection, outgoing)).await;
        let asked = asked.unwrap_or(Err(ExchangeError::Silent));
        asked.map_err(|error| failed(format!("error sending request: {error}")))
    }
}

fn relinked(mut parts: http::response::Parts, body: Body, place: Place) -> Response {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    if let Some(location) = parts.headers.get(header::LOCATION).map(text) {
        if let Some(link) = place.link(&location).and_then(|link| HeaderValue::from_str(&link).ok()) {
            parts.headers.insert(header::LOCATION, link);
        }
        return Response::from_parts(parts, body);
    }
    let kind = parts.headers.get(header::CONTENT_TYPE).map(text).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() != "text/html" {
        return Response::from_parts(parts, body);
    }
    let encoding = parts.headers.get(header::CONTENT_ENCODING).map(text).unwrap_or_default();
    match rewritten(body, &encoding, place) {
        Ok(body) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, body)
        }
        Err(body) => {
            debug!(encoding, "links of a page in an unknown encoding stay as they are");
            Response::from_parts(parts, body)
        }
    }
}

/// Joins two upgraded connections until both ended.
pub async fn join(near: hyper::upgrade::OnUpgrade, far: hyper::upgrade::OnUpgrade) {
    let (near, far) = match tokio::try_join!(near, far) {
        Ok(both) => both,
        Err(error) => {
            debug!(%error, "an upgrade did not complete");
            return;
        }
    };
    let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
    match copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await {
        Ok((sent, received)) => debug!(sent, received, "tunnel closed"),
        Err(error) => debug!(%error, "tunnel broke"),
    }
}
