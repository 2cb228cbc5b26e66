//! Errors become Status objects here and nowhere else.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri, header};
use serde_json::Value;
use xebec_api::gotext::quote;
use xebec_api::status::ApiError;
use xebec_store::StoreError;

/// An error on its way out of a handler.
#[derive(Debug)]
pub struct Failure(pub ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        failure(&self.0)
    }
}

/// The Status response of an error.
#[must_use]
pub fn failure(error: &ApiError) -> Response {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &error.to_value());
    if let Some(seconds) = error.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A JSON response.
#[must_use]
pub fn json(code: StatusCode, value: &Value) -> Response {
    bytes(code, "application/json", value.to_string().into())
}

/// A response of these bytes.
#[must_use]
pub fn bytes(code: StatusCode, content_type: &str, body: bytes::Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// An error in plain text, as Go's `http.Error` writes it.
#[must_use]
pub fn plain(code: StatusCode, words: &str) -> Response {
    let mut response = text(code, format!("{words}\n"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// 500 where there is no resource yet to say it about; what could be read as HTML is not.
///
/// Authority: `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.InternalError`.
#[must_use]
pub fn internal(uri: &Uri, error: &str) -> Response {
    let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let words = format!("Internal Server Error: {}: {error}", quote(asked));
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    plain(StatusCode::INTERNAL_SERVER_ERROR, &words)
}

/// A plain text response.
#[must_use]
pub fn text(code: StatusCode, body: impl Into<String>) -> Response {
    bytes(code, "text/plain; charset=utf-8", body.into().into())
}

/// What a store failure is to a client.
#[must_use]
pub fn store_error(error: &StoreError) -> ApiError {
    match error {
        StoreError::Compacted { oldest } => ApiError::expired(format!(
            "The resourceVersion for the provided watch is too old: the oldest available is {oldest}"
        )),
        StoreError::FutureRevision { requested, head } => {
            ApiError::timeout(format!("Too large resource version: {requested}, current: {head}"))
        }
        StoreError::TooLarge { size, .. } => ApiError::request_entity_too_large(format!(
            "the object is {size} bytes, which is too large to be stored"
        )),
        StoreError::Closed | StoreError::Unavailable(_) => ApiError::service_unavailable(error.to_string()),
        StoreError::Conflict { .. } => ApiError::internal("the stored object changed while it was written"),
        _ => ApiError::internal(error.to_string()),
    }
}

/// Characters of warnings that are sent whole; beyond them each is cut to [`CUT_WARNING`].
const MAX_WARNINGS: usize = 4096;
/// Characters sent of each warning when all of them are too many.
const CUT_WARNING: usize = 256;

/// The warnings that are sent: each once, none empty, within upstream's limits.
fn limited(warnings: &[String]) -> Vec<String> {
    let mut once: Vec<&String> = Vec::new();
    for warning in warnings.iter().filter(|warning| !warning.is_empty()) {
        if !once.contains(&warning) {
            once.push(warning);
        }
    }
    let length = |text: &str| text.chars().count();
    if once.iter().map(|warning| length(warning)).sum::<usize>() <= MAX_WARNINGS {
        return once.into_iter().cloned().collect();
    }
    let mut left = MAX_WARNINGS;
    let cut = |warning: &String| -> Option<String> {
        let cut: String = warning.chars().take(CUT_WARNING).collect();
        // The one that crosses the limit is still sent, as upstream does.
        let fits = left > 0;
        left = left.saturating_sub(length(&cut));
        fits.then_some(cut)
    };
    once.into_iter().map_while(cut).collect()
}

/// Adds Warning headers (RFC 7234 section 5.5, code 299), each text once.
pub fn warn(response: &mut Response, warnings: &[String]) {
    for warning in limited(warnings) {
        let text: String = warning.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_their_retry() {
        let response = failure(&ApiError::too_many_requests("slow down", 7));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    }

    #[test]
    fn many_warnings_are_cut() {
        let long = |c: char| c.to_string().repeat(3000);
        assert_eq!(limited(&[long('a')]), [long('a')]);
        let cut = limited(&[long('a'), String::new(), long('b')]);
        assert_eq!(cut, ["a".repeat(256), "b".repeat(256)]);
        let many: Vec<String> = (0..100).map(|n| format!("{n:300}")).collect();
        assert_eq!(limited(&many).len(), 16);
    }

    #[test]
    fn warnings_are_quoted_and_sent_once() {
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, &["unknown field \"a\"".to_owned(), "unknown field \"a\"".to_owned()]);
        let sent: Vec<_> = response.headers().get_all(header::WARNING).iter().collect();
        assert_eq!(sent, ["299 - \"unknown field \\\"a\\\"\""]);
    }
}
