//! Errors become Status objects here and nowhere else.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
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

/// Adds Warning headers (RFC 7234 section 5.5, code 299), each text once.
pub fn warn(response: &mut Response, warnings: &[String]) {
    let mut sent: Vec<&String> = Vec::new();
    for warning in warnings {
        if sent.contains(&warning) {
            continue;
        }
        sent.push(warning);
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
    fn warnings_are_quoted_and_sent_once() {
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, &["unknown field \"a\"".to_owned(), "unknown field \"a\"".to_owned()]);
        let sent: Vec<_> = response.headers().get_all(header::WARNING).iter().collect();
        assert_eq!(sent, ["299 - \"unknown field \\\"a\\\"\""]);
    }
}
