//! Why a webhook's HTTP call failed, in the words of Go's HTTP and Kubernetes clients. Pure.
//!
//! Authority: net/http, crypto/tls, crypto/x509; k8s.io/client-go/rest transformResponse,
//! k8s.io/apimachinery/pkg/api/errors NewGenericServerResponse.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use rustls::CertificateError;
use serde_json::Value;
use xebec_api::gotext::quote;
use xebec_api::status::{ApiError, Reason};

use super::connect::DialError;

/// Longest pause a webhook can ask for with Retry-After; the call's own time ends it anyway.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longest text of an answer that is repeated in an error, in bytes.
const MAX_SHOWN: usize = 2048;

/// What went wrong before an answer began.
pub(super) fn transport(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    let mut last = error.to_string();
    while let Some(error) = next {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return dial.to_string();
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return tls_text(tls);
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            // An io::Error hides what it wraps from `source`.
            if let Some(inner) = io.get_ref() {
                next = Some(inner);
                continue;
            }
            match io.kind() {
                ErrorKind::UnexpectedEof => return "EOF".to_owned(),
                ErrorKind::ConnectionReset => return "read: connection reset by peer".to_owned(),
                _ => {}
            }
        }
        if let Some(http) = error.downcast_ref::<hyper::Error>() {
            if http.is_incomplete_message() || http.is_closed() {
                return "EOF".to_owned();
            }
            if http.is_parse() {
                return format!("net/http: HTTP/1.x transport connection broken: {http}");
            }
        }
        last = error.to_string();
        next = error.source();
    }
    last
}

/// What went wrong while the answer was read; `limit` is its largest size.
pub(super) fn reading(error: &(dyn Error + 'static), limit: usize) -> String {
    if error.downcast_ref::<http_body_util::LengthLimitError>().is_some() {
        return format!("the answer is larger than {limit} bytes");
    }
    let text = transport(error);
    if text == "EOF" { "unexpected EOF".to_owned() } else { text }
}

fn tls_text(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return format!("tls: {error}");
    };
    let why = match certificate {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("certificate has expired or is not yet valid: {certificate}")
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// The pause a webhook asks for before it is asked again.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_PAUSE))
}

/// The JSON of a successful answer, or the error an unsuccessful one stands for.
pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    let value = serde_json::from_slice::<Value>(body);
    if let Ok(error) = &value
        && let Some(error) = ApiError::from_value(error)
    {
        return Err(error);
    }
    if !(200..=206).contains(&status.as_u16()) {
        return Err(unexpected(status.as_u16(), &shown(headers, body)));
    }
    let unreadable = |why: String| ApiError::new(503, Reason::ServiceUnavailable, why);
    match value {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(unreadable(
            "couldn't get version/kind; json parse error: json: cannot unmarshal the answer into Go value of type \
             struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }"
                .to_owned(),
        )),
        Err(error) => Err(unreadable(format!("couldn't get version/kind; json parse error: {error}"))),
    }
}

/// The text of an answer, where it is text.
fn shown(headers: &HeaderMap, body: &[u8]) -> String {
    let is_text = headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|value| value.to_str().is_ok_and(|value| value.trim().starts_with("text/")));
    if !is_text {
        return "unknown".to_owned();
    }
    String::from_utf8_lossy(&body[..body.len().min(MAX_SHOWN)]).trim().to_owned()
}

fn unexpected(code: u16, text: &str) -> ApiError {
    let (reason, message) = match code {
        400 => (Reason::BadRequest, "the server rejected our request for an unknown reason".to_owned()),
        401 => (Reason::Unauthorized, "the server has asked for the client to provide credentials".to_owned()),
        403 => (Reason::Forbidden, text.to_owned()),
        404 => (Reason::NotFound, "the server could not find the requested resource".to_owned()),
        405 => (
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource".to_owned(),
        ),
        406 => (Reason::NotAcceptable, text.to_owned()),
        409 => (Reason::AlreadyExists, "the server reported a conflict".to_owned()),
        415 => (Reason::UnsupportedMediaType, text.to_owned()),
        422 => {
            (Reason::Invalid, "the server rejected our request due to an error in our request".to_owned())
        }
        429 => (
            Reason::TooManyRequests,
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => {
            (Reason::ServiceUnavailable, "the server is currently unable to handle the request".to_owned())
        }
        504 => (
            Reason::Timeout,
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned(),
        ),
        500.. => {
            let message = format!("an error on the server ({}) has prevented the request from succeeding", quote(text));
            (Reason::InternalError, message)
        }
        _ => (
            Reason::Unknown,
            format!("the server responded with the status code {code} but did not return more information"),
        ),
    };
    ApiError::new(code, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn typed(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn unsuccessful_answers() {
        let cases = [
            (
                500,
                "text/plain",
                "boom\n",
                "an error on the server (\"boom\") has prevented the request from succeeding",
            ),
            (
                502,
                "application/json",
                "{}",
                "an error on the server (\"unknown\") has prevented the request from succeeding",
            ),
            (404, "text/plain", "404 page not found", "the server could not find the requested resource"),
            (403, "text/plain", "go away", "go away"),
            (
                302,
                "text/html",
                "",
                "the server responded with the status code 302 but did not return more information",
            ),
        ];
        for (code, content_type, body, expected) in cases {
            let status = StatusCode::from_u16(code).unwrap();
            let error = decode(status, &typed(content_type), body.as_bytes()).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (code, expected));
        }
    }

    #[test]
    fn a_status_speaks_for_itself() {
        let body = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"m","code":429}"#;
        let error = decode(StatusCode::OK, &typed("application/json"), body).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (429, "m"));
    }

    #[test]
    fn only_overload_is_asked_again() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        let pause = |code| retry_after(StatusCode::from_u16(code).unwrap(), &headers);
        assert_eq!(pause(429), Some(Duration::from_secs(2)));
        assert_eq!(pause(503), Some(Duration::from_secs(2)));
        assert_eq!(pause(404), None);
        assert_eq!(retry_after(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new()), None);
    }
}
