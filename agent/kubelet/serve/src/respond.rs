//! Plain answers. Enters: a status and words. Leaves: the response, as the upstream kubelet writes it (text, no Status).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

/// Text with a status.
pub(crate) fn text(status: StatusCode, words: impl Into<String>) -> Response {
    with_type(status, "text/plain; charset=utf-8", words.into())
}

/// A JSON document, 200.
pub(crate) fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(StatusCode::OK, "application/json", bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// A body of a media type.
pub(crate) fn with_type(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
