//! A request to a remote API server. Enters: an authorized request of a group and version that has a Service. Leaves:
//! the server's answer. Called by `serve::resource` before anything of this server's own is looked up.
//!
//! Authority: k8s.io/kube-aggregator/pkg/apiserver/handler_proxy.go.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, StatusCode, Uri, header};
use xebec_identity::User;

use super::remote::{Remote, words};
use super::{Route, identity};
use crate::gateway::forward::{exchange, join};
use crate::gateway::{client_of, headers};
use crate::serve::respond;

/// Longest time for discovery (`/apis/G/V`), which clients ask of every server in turn.
const DISCOVERY_PATIENCE: Duration = Duration::from_secs(5);

/// An error of the aggregator is a plain text, as upstream.
fn refused(code: StatusCode, words: impl std::fmt::Display) -> Response {
    let mut response = respond::text(code, format!("{words}\n"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn unavailable() -> Response {
    refused(StatusCode::SERVICE_UNAVAILABLE, "service unavailable")
}

/// Answers for a group and version that is a remote server's.
pub async fn handle(route: Route, user: &User, request: Request) -> Response {
    let remote = match route {
        Route::Remote { remote, available: true } => remote,
        Route::Remote { available: false, .. } => return unavailable(),
        Route::Broken { available: false, .. } => return unavailable(),
        Route::Broken { error, .. } => return refused(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    pass(&remote, user, request).await
}

/// Passes the request on to one of the server's endpoints.
pub async fn pass(remote: &Arc<Remote>, user: &User, request: Request) -> Response {
    let (host, port) = match remote.endpoint() {
        Ok(endpoint) => endpoint,
        Err(error) => {
            tracing::warn!(%error, service = ?remote.spec.service, "no endpoint of a remote API server");
            return unavailable();
        }
    };
    let authority = format!("{}:{port}", crate::gateway::bracketed(&host));
    if headers::is_upgrade(request.headers()) {
        return upgrade(remote, user, request, &host, port, &authority).await;
    }
    let discovery = request.uri().path().trim_matches('/').split('/').count() == 3;
    let outgoing = match outgoing(user, request, &authority, false) {
        Ok(outgoing) => outgoing,
        Err(refusal) => return *refusal,
    };
    let sent = remote.send(outgoing);
    let answer = if discovery {
        match tokio::time::timeout(DISCOVERY_PATIENCE, sent).await {
            Ok(answer) => answer,
            Err(_) => {
                return refused(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "error trying to reach service: context deadline exceeded",
                );
            }
        }
    } else {
        sent.await
    };
    match answer {
        Ok(answer) => homeward(answer.map(Body::new)),
        Err(error) => {
            let words = format!("error trying to reach service: {}", words(&error));
            refused(StatusCode::SERVICE_UNAVAILABLE, words)
        }
    }
}

fn outgoing(
    user: &User,
    request: Request,
    authority: &str,
    upgrading: bool,
) -> Result<http::Request<Body>, Box<Response>> {
    let bad = |error: http::Error| Box::new(refused(StatusCode::BAD_REQUEST, error));
    let mut onward = headers::onward(request.headers(), client_of(&request), upgrading);
    identity::set(&mut onward, user);
    let path = request.uri().path();
    if let Ok(value) = HeaderValue::from_str(path) {
        onward.insert("x-forwarded-uri", value);
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let uri = if upgrading {
        target.parse::<Uri>().map_err(|error| bad(error.into()))?
    } else {
        let builder = Uri::builder().scheme("https").authority(authority).path_and_query(target);
        builder.build().map_err(bad)?
    };
    if upgrading {
        let host = HeaderValue::from_str(authority).map_err(|error| bad(error.into()))?;
        onward.insert(header::HOST, host);
    }
    let (parts, body) = request.into_parts();
    let mut outgoing = http::Request::new(if upgrading { Body::empty() } else { body });
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = onward;
    Ok(outgoing)
}

async fn upgrade(
    remote: &Remote,
    user: &User,
    mut request: Request,
    host: &str,
    port: u16,
    authority: &str,
) -> Response {
    let near = hyper::upgrade::on(&mut request);
    let outgoing = match outgoing(user, request, authority, true) {
        Ok(outgoing) => outgoing,
        Err(refusal) => return *refusal,
    };
    let connection = match remote.connect(host, port).await {
        Ok(connection) => connection,
        Err(error) => {
            return refused(StatusCode::SERVICE_UNAVAILABLE, format!("error dialing backend: {error}"));
        }
    };
    let mut answer = match exchange(connection, outgoing).await {
        Ok(answer) => answer,
        Err(error) => {
            return refused(StatusCode::SERVICE_UNAVAILABLE, format!("error sending request: {error}"));
        }
    };
    match answer.status().as_u16() {
        101 => {
            let far = hyper::upgrade::on(&mut answer);
            tokio::spawn(join(near, far));
            let (parts, _) = answer.into_parts();
            Response::from_parts(parts, Body::empty())
        }
        code @ ..400 => {
            let words = format!("invalid upgrade response: status code {code}");
            refused(StatusCode::SERVICE_UNAVAILABLE, words)
        }
        _ => homeward(answer),
    }
}

/// The answer without what belongs to the connection; redirects lead out of the cluster's control and are refused.
fn homeward(mut answer: Response) -> Response {
    if answer.status().is_redirection() && answer.headers().contains_key(header::LOCATION) {
        let words = "the backend attempted to redirect this request, which is not permitted";
        return respond::text(StatusCode::BAD_GATEWAY, words);
    }
    headers::homeward(answer.headers_mut());
    answer
}
