//! Replays an upgrade at the runtime. Enters: the client's request and the runtime's URL. Leaves: the runtime's answer;
//! after 101 the two connections are joined. Called by the streaming handlers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::copy;
use crate::respond;

/// How long the runtime may take to accept and to answer; the stream itself has no limit.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a request could not be replayed; all are the node's fault (500), a redirect is 502.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the runtime's streaming URL {0:?} is not http on a loopback address")]
    Address(String),
    #[error("dialing the runtime's streaming server: {0}")]
    Connect(std::io::Error),
    #[error("the runtime's streaming server: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("the runtime's streaming server did not answer within {PATIENCE:?}")]
    Silent,
    #[error("the backend attempted to redirect this request, which is not permitted")]
    Redirect,
}

/// True if the request asks for another protocol on its connection.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(header::UPGRADE)
        && named.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

/// True if the other protocol is WebSocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    is_upgrade(headers) && upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Sends the request to `url`; the streams end with `cancel` at the latest.
pub(super) async fn replay(mut request: Request, url: &str, cancel: CancellationToken) -> Response {
    let near = hyper::upgrade::on(&mut request);
    let mut answer = match ask(request, url).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(%error, "a stream could not be opened at the runtime");
            let redirected = matches!(error, DialError::Redirect);
            let status = if redirected { StatusCode::BAD_GATEWAY } else { StatusCode::INTERNAL_SERVER_ERROR };
            return respond::text(status, error.to_string());
        }
    };
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return answer;
    }
    let far = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let joined = async {
            let (near, far) = tokio::try_join!(near, far).map_err(std::io::Error::other)?;
            copy::join(TokioIo::new(near), TokioIo::new(far)).await
        };
        tokio::select! {
            ended = joined => match ended {
                Ok((sent, received)) => tracing::debug!(sent, received, "stream closed"),
                Err(error) => tracing::debug!(%error, "stream broke"),
            },
            () = cancel.cancelled() => tracing::debug!("stream ended with the server"),
        }
    });
    let (parts, _) = answer.into_parts();
    Response::from_parts(parts, Body::empty())
}

async fn ask(request: Request, url: &str) -> Result<Response, DialError> {
    let (address, authority, path) = target(url)?;
    let connect = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
    let stream = connect.map_err(|_| DialError::Silent)?.map_err(DialError::Connect)?;
    // a latency hint only
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to the runtime's streaming server ended");
        }
    });
    let mut outgoing = http::Request::new(Empty::<bytes::Bytes>::new());
    *outgoing.method_mut() = request.method().clone();
    *outgoing.uri_mut() = path;
    *outgoing.headers_mut() = passed_on(request.headers(), &authority);
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(outgoing)).await;
    let mut answer = answer.map_err(|_| DialError::Silent)??;
    if answer.status().is_redirection() {
        return Err(DialError::Redirect);
    }
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(Body::new));
    }
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        answer.headers_mut().remove(name);
    }
    // the connection lives as long as its sender, which goes with the body
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _alive = &sender;
            frame
        }))
    }))
}

/// Everything but credentials, which are not the runtime's, and what belongs to the old connection.
fn passed_on(headers: &HeaderMap, authority: &HeaderValue) -> HeaderMap {
    const KEPT_BACK: [HeaderName; 6] = [
        header::AUTHORIZATION,
        header::COOKIE,
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::EXPECT,
    ];
    let mut out = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !KEPT_BACK.contains(name)) {
        out.append(name.clone(), value.clone());
    }
    out.insert(header::HOST, authority.clone());
    out
}

/// Where to dial, the Host header and the path with its query.
fn target(url: &str) -> Result<(SocketAddr, HeaderValue, Uri), DialError> {
    let refused = || DialError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| refused())?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(refused()) };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse::<IpAddr>().map_err(|_| refused())?,
    };
    if !ip.is_loopback() || authority.as_str().contains('@') {
        return Err(refused());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path: Uri = path.parse().map_err(|_| refused())?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| refused())?;
    Ok((SocketAddr::new(ip, authority.port_u16().unwrap_or(80)), host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_on_loopback_is_dialled() {
        let (address, host, path) = target("http://127.0.0.1:4321/exec/to-ken?x=1").unwrap();
        assert_eq!(address, "127.0.0.1:4321".parse().unwrap());
        assert_eq!(
            (host.to_str().unwrap(), path.to_string().as_str()),
            ("127.0.0.1:4321", "/exec/to-ken?x=1")
        );
        assert_eq!(target("http://[::1]:9/a").unwrap().0, "[::1]:9".parse().unwrap());
        assert_eq!(target("http://localhost:9/a").unwrap().0, "127.0.0.1:9".parse().unwrap());
        let bad = [
            "http://10.0.0.1:80/exec/t",
            "http://169.254.169.254/",
            "http://0.0.0.0:80/",
            "https://127.0.0.1:80/",
            "http://127.0.0.1.example.org/",
            "http://127.0.0.1@10.0.0.1/",
            "http://[::ffff:10.0.0.1]:80/",
            "/exec/t",
            "",
        ];
        for url in bad {
            assert!(matches!(target(url), Err(DialError::Address(_))), "{url}");
        }
    }

    #[test]
    fn credentials_stay_and_protocols_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("cookie", "a=b"),
            ("host", "node:10250"),
            ("content-length", "0"),
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert!(is_upgrade(&headers) && !is_websocket(&headers));
        let out = passed_on(&headers, &HeaderValue::from_static("127.0.0.1:1"));
        let mut shown: Vec<String> =
            out.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        shown.sort();
        let want = [
            "connection=Upgrade",
            "host=127.0.0.1:1",
            "upgrade=SPDY/3.1",
            "x-stream-protocol-version=v3.channel.k8s.io",
            "x-stream-protocol-version=v4.channel.k8s.io",
        ];
        assert_eq!(shown, want);
    }
}
