//! One request to a backend and its answer back; upgraded connections are joined.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tracing::debug;
use xebec_api::status::ApiError;

use super::{Backend, bracketed};
use crate::serve::resource::Call;

/// Longest time until the backend's response headers of an upgrade.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(60);
/// Buffer of a joined connection, each way.
const BUFFER: usize = 64 * 1024;

/// How the request is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A GET without body or upgrade.
    Plain,
    /// An upgrade.
    Upgrade,
    /// As it came.
    Any,
}

const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// Sends the request to `path` (with query) at the backend.
pub async fn send(
    call: &Call,
    backend: &Backend,
    path: &str,
    mut request: Request,
    mode: Mode,
) -> Result<Response, ApiError> {
    let upgrading = mode != Mode::Plain && request.headers().contains_key(header::UPGRADE);
    let connection = call.server.dialer.dial(backend).await?;
    let failed =
        |error: hyper::Error| ApiError::internal(format!("error sending request to the backend: {error}"));
    let (mut sender, driver) =
        hyper::client::conn::http1::handshake(TokioIo::new(connection)).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = driver.with_upgrades().await {
            debug!(%error, "connection to a backend ended");
        }
    });
    let client = upgrading.then(|| hyper::upgrade::on(&mut request));
    let method = if mode == Mode::Plain { http::Method::GET } else { request.method().clone() };
    let headers = forwarded(request.headers(), backend, upgrading)?;
    let body = if mode == Mode::Any && !upgrading { request.into_body() } else { Body::empty() };
    let mut outgoing = http::Request::new(body);
    *outgoing.method_mut() = method;
    *outgoing.uri_mut() = path.parse().map_err(|error| ApiError::bad_request(format!("{path}: {error}")))?;
    *outgoing.headers_mut() = headers;
    let sent = sender.send_request(outgoing);
    let mut answer = if upgrading {
        tokio::time::timeout(UPGRADE_PATIENCE, sent)
            .await
            .map_err(|_| ApiError::internal("the backend did not answer the upgrade"))?
            .map_err(failed)?
    } else {
        sent.await.map_err(failed)?
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let far = hyper::upgrade::on(&mut answer);
        tokio::spawn(join(client, far));
        let (parts, _) = answer.into_parts();
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    let (mut parts, body) = answer.into_parts();
    for name in HOP_BY_HOP {
        parts.headers.remove(name);
    }
    // The connection lives as long as its sender: it goes with the body.
    let body = body.map_frame(move |frame| {
        let _alive = &sender;
        frame
    });
    Ok(Response::from_parts(parts, Body::new(body)))
}

fn forwarded(headers: &HeaderMap, backend: &Backend, upgrading: bool) -> Result<HeaderMap, ApiError> {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        let dropped = HOP_BY_HOP.contains(name)
            || *name == header::HOST
            || *name == header::AUTHORIZATION
            || name.as_str().starts_with("impersonate-")
            || (upgrading && *name == header::CONTENT_LENGTH);
        if !dropped {
            out.append(name.clone(), value.clone());
        }
    }
    if upgrading {
        out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = headers.get(header::UPGRADE) {
            out.insert(header::UPGRADE, protocol.clone());
        }
    }
    let host = format!("{}:{}", bracketed(&backend.host), backend.port);
    let host = HeaderValue::from_str(&host).map_err(|error| ApiError::internal(error.to_string()))?;
    out.insert(header::HOST, host);
    Ok(out)
}

async fn join(near: hyper::upgrade::OnUpgrade, far: hyper::upgrade::OnUpgrade) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_hops_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("impersonate-user", "u"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("host", "api"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let backend = Backend { host: "10.0.0.1".into(), port: 10250, tls: true };
        let out = forwarded(&headers, &backend, true).unwrap();
        let mut names: Vec<_> = out.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "connection=Upgrade",
                "host=10.0.0.1:10250",
                "upgrade=SPDY/3.1",
                "x-stream-protocol-version=v4.channel.k8s.io"
            ]
        );
        assert!(!forwarded(&headers, &backend, false).unwrap().contains_key("upgrade"));
    }
}
