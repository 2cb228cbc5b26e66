//! GET /openapi/v2: one document in the form the client asks for.
//!
//! Authority: k8s.io/kube-openapi/pkg/handler.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use xebec_api::status::ApiError;
use xebec_kinds::openapi::v2;

use crate::ApiServer;
use crate::serve::respond;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// What older clients call it: not a valid media type, answered under the valid name.
const PROTOBUF_BEFORE: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Answers with the document, 304 for a client that has it, 406 for one that takes neither form.
pub async fn document(State(server): State<Arc<ApiServer>>, headers: HeaderMap) -> Response {
    let Some(content_type) = wanted(&joined(&headers, &header::ACCEPT)) else {
        return respond::text(StatusCode::NOT_ACCEPTABLE, "");
    };
    // The first call after a change builds the document, which takes a while.
    let built = tokio::task::spawn_blocking(move || form(&server, content_type == JSON));
    let Ok(form) = built.await else {
        return respond::failure(&ApiError::internal("the OpenAPI document could not be built"));
    };
    let tag = format!("\"{}\"", form.hash);
    let mut response = if has(&joined(&headers, &header::IF_NONE_MATCH), &tag) {
        respond::bytes(StatusCode::NOT_MODIFIED, content_type, bytes::Bytes::new())
    } else {
        respond::bytes(StatusCode::OK, content_type, form.body)
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// The document with custom resources and other servers' groups.
fn form(server: &ApiServer, as_json: bool) -> v2::Form {
    let custom = server.openapi.v2(&server.registry.resources().snapshot());
    let (json, protobuf) = match custom.as_deref() {
        Some(forms) => (&forms.json, &forms.protobuf),
        None => (server.openapi.built_in().v2_json(), server.openapi.built_in().v2_protobuf()),
    };
    let own = || serde_json::from_slice(&json.body).unwrap_or_default();
    match server.aggregator.openapi_v2(&json.hash, own) {
        Some((tags, merged)) if as_json => v2::form_json(&merged, &tags),
        Some((tags, merged)) => v2::form_protobuf(&merged, &tags),
        None if as_json => json.clone(),
        None => protobuf.clone(),
    }
}

fn joined(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// The content type to answer in: of the clause with the highest quality, the first among equals.
fn wanted(accept: &str) -> Option<&'static str> {
    if accept.trim().is_empty() {
        return Some(JSON);
    }
    let mut best: Option<(f32, &'static str)> = None;
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let content_type = match parts.next() {
            Some("*/*" | "application/*" | JSON) => JSON,
            Some(PROTOBUF | PROTOBUF_BEFORE) => PROTOBUF,
            _ => continue,
        };
        let quality =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if quality > best.map_or(0.0, |(quality, _)| quality) {
            best = Some((quality, content_type));
        }
    }
    best.map(|(_, content_type)| content_type)
}

/// Whether `If-None-Match` names this tag (RFC 9110 section 13.1.2: compared weakly).
fn has(if_none_match: &str, tag: &str) -> bool {
    if_none_match.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_form() {
        for (accept, expected) in [
            ("", Some(JSON)),
            ("*/*", Some(JSON)),
            ("application/json", Some(JSON)),
            (PROTOBUF, Some(PROTOBUF)),
            (PROTOBUF_BEFORE, Some(PROTOBUF)),
            (
                "application/json;q=0.5, application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
                Some(PROTOBUF),
            ),
            ("text/html, application/json", Some(JSON)),
            ("application/json;q=0", None),
            ("text/html", None),
        ] {
            assert_eq!(wanted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn tags_are_compared_one_by_one() {
        assert!(has("\"A\"", "\"A\"") && has("\"B\", W/\"A\"", "\"A\"") && has("*", "\"A\""));
        assert!(!has("", "\"A\"") && !has("\"AB\"", "\"A\""));
    }
}
