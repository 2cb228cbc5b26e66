//! The audit filter: every request that has a user, and every one for which none was found, written down.
//!
//! Enters: a request on its way in. Leaves: the same request with its [`Audit`] among the extensions, bodies that are
//! looked at while they pass, and the stages in the log. Called by the authentication filter, since who is written down
//! includes who acts as whom. Without an auditor nothing is looked at.
//!
//! Authority: `k8s.io/apiserver/pkg/endpoints/filters/{audit,authn_audit}.go`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use jiff::Timestamp;
use serde_json::Value;
use xebec_api::status::ApiError;
use xebec_audit::{Audit, Auditor, Subject, source_ips};
use xebec_identity::{Attributes, User};

use super::body;

/// Where the request's connection comes from.
#[derive(Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// The record of a request, among its extensions.
#[derive(Clone)]
pub struct Record(pub Arc<Audit>);

/// Answers of these requests may go on for long.
fn is_long_running(attributes: &Attributes) -> bool {
    matches!(attributes.verb.as_str(), "watch" | "proxy")
        || matches!(attributes.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn subject(request: &Request, attributes: Attributes, impersonator: Option<User>) -> Subject {
    let headers = request.headers();
    let remote = request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip());
    Subject {
        is_long_running: is_long_running(&attributes),
        attributes,
        impersonator,
        uri: request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
        source_ips: source_ips(headers, remote),
        user_agent: text(headers, "user-agent"),
        audit_id: text(headers, "audit-id"),
    }
}

/// Begins the record of a request; its body is then looked at while it is read.
pub(super) fn begin(
    auditor: Option<&Auditor>,
    request: Request,
    attributes: &Attributes,
    impersonator: Option<User>,
) -> Result<(Request, Option<Arc<Audit>>), ApiError> {
    let Some(auditor) = auditor else { return Ok((request, None)) };
    let subject = subject(&request, attributes.clone(), impersonator);
    let begun = auditor.begin(&subject, Timestamp::now());
    let Some(audit) = begun.map_err(|error| ApiError::internal(error.to_string()))? else {
        return Ok((request, None));
    };
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Record(Arc::clone(&audit)));
    let has_object = attributes.is_resource
        && matches!(attributes.verb.as_str(), "create" | "update" | "patch" | "delete");
    let body = if has_object {
        let (headers, is_patch) = (parts.headers.clone(), attributes.verb == "patch");
        let noted = Arc::clone(&audit);
        Body::new(Watched::new(body, Some(body::LIMIT), move |bytes| {
            note_request(&noted, &headers, is_patch, bytes)
        }))
    } else {
        body
    };
    Ok((Request::from_parts(parts, body), Some(audit)))
}

fn note_request(audit: &Audit, headers: &HeaderMap, is_patch: bool, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return };
    if is_patch {
        audit.request_patch(bytes);
    } else if let Ok((object, _)) = body::decode(headers, bytes) {
        audit.request_object(&object);
    }
}

/// Notes the response's head, and its end when the body is sent.
pub(super) fn finish(audit: Option<Arc<Audit>>, response: Response) -> Response {
    let Some(audit) = audit else { return response };
    let status = response.status();
    let is_json = text(response.headers(), header::CONTENT_TYPE.as_str()).starts_with("application/json");
    audit.started(status.as_u16());
    let is_wanted = is_json && (audit.wants_response() || !status.is_success());
    let (parts, body) = response.into_parts();
    let watched = Watched::new(body, is_wanted.then_some(body::LIMIT), move |bytes| {
        if let Some(object) = bytes.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok()) {
            audit.response_object(&object);
        }
        audit.complete();
    });
    Response::from_parts(parts, Body::new(watched))
}

/// Writes down a request nobody could be found for.
pub(super) fn unauthenticated(auditor: Option<&Auditor>, request: &Request, attributes: Attributes) {
    let Some(auditor) = auditor else { return };
    let headers = request.headers();
    let mut tried = Vec::new();
    let authorization = text(headers, "authorization").to_ascii_lowercase();
    for (scheme, name) in [("basic ", "basic"), ("bearer ", "bearer")] {
        if authorization.starts_with(scheme) {
            tried.push(name);
        }
    }
    if request.extensions().get::<super::auth::PeerCertificate>().is_some() {
        tried.push("x509");
    }
    let message = if tried.is_empty() {
        "Authentication failed, no credentials provided".to_owned()
    } else {
        format!("Authentication failed, attempted: {}", tried.join(", "))
    };
    auditor.unauthenticated(&subject(request, attributes, None), Timestamp::now(), &message);
}

/// A body that passes as it is; what has passed is shown when it ends or is dropped.
struct Watched<F: FnOnce(Option<&[u8]>)> {
    inner: Body,
    seen: Vec<u8>,
    /// How much is kept, in bytes; a longer body is not shown.
    limit: Option<usize>,
    shown: Option<F>,
}

impl<F: FnOnce(Option<&[u8]>)> Watched<F> {
    fn new(inner: Body, limit: Option<usize>, shown: F) -> Self {
        Self { inner, seen: Vec::new(), limit, shown: Some(shown) }
    }

    fn end(&mut self, is_whole: bool) {
        if let Some(shown) = self.shown.take() {
            shown((is_whole && self.limit.is_some()).then_some(self.seen.as_slice()));
        }
    }
}

impl<F: FnOnce(Option<&[u8]>) + Unpin> HttpBody for Watched<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(limit)) = (frame.data_ref(), self.limit) {
                    if self.seen.len() + data.len() > limit {
                        self.limit = None;
                        self.seen = Vec::new();
                    } else {
                        let data = data.clone();
                        self.seen.extend_from_slice(&data);
                    }
                }
                if self.inner.is_end_stream() {
                    self.end(true);
                }
            }
            Poll::Ready(Some(Err(_))) => self.end(false),
            Poll::Ready(None) => self.end(true),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<F: FnOnce(Option<&[u8]>)> Drop for Watched<F> {
    fn drop(&mut self) {
        // A body with a known length may be dropped right after its last byte, and an empty one unread.
        let is_whole = self.inner.is_end_stream();
        self.end(is_whole);
    }
}
