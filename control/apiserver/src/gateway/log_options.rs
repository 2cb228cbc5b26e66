//! The options of a log request, and what a kubelet's refusal is to the client. Pure.
//!
//! Authority: k8s.io/kubernetes/pkg/apis/core/validation ValidatePodLogOptions;
//! k8s.io/apiserver/pkg/registry/generic/rest/response_checker.go.

use jiff::Timestamp;
use xebec_api::field::{FieldError, Path};
use xebec_api::status::{ApiError, Details, Reason};

use super::address::push;
use crate::serve::query::Query;

/// What is asked of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The container, if named.
    pub container: Option<String>,
    /// Do not look at the kubelet's certificate.
    pub skip_tls_verify: bool,
    /// The query the kubelet gets.
    pub query: String,
}

impl LogOptions {
    /// Reads and checks the options; 400 for what cannot be read, 422 for what cannot be meant.
    ///
    /// `stream` needs the feature PodLogsQuerySplitStreams, which is off by default in 1.36.
    pub fn parse(query: &Query, pod: &str) -> Result<Self, ApiError> {
        let since_seconds = query.number("sinceSeconds")?;
        let (tail_lines, limit_bytes) = (query.number("tailLines")?, query.number("limitBytes")?);
        let since_time = query.get("sinceTime").filter(|text| !text.is_empty());
        let since_time = since_time.map(time).transpose()?;
        let mut errors = Vec::new();
        if let Some(lines) = tail_lines.filter(|lines| *lines < 0) {
            let path = Path::new("tailLines");
            errors.push(FieldError::invalid(&path, lines, "must be greater than or equal to 0"));
        }
        if let Some(bytes) = limit_bytes.filter(|bytes| *bytes < 1) {
            errors.push(FieldError::invalid(&Path::new("limitBytes"), bytes, "must be greater than 0"));
        }
        if since_seconds.is_some() && since_time.is_some() {
            let message = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            let mut error = FieldError::forbidden(&Path::new(""), message);
            error.field.clear();
            errors.push(error);
        } else if let Some(seconds) = since_seconds.filter(|seconds| *seconds < 1) {
            errors.push(FieldError::invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0"));
        }
        if query.get("stream").is_some() {
            errors.push(FieldError::forbidden(&Path::new("stream"), "may not be specified"));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid("", "PodLogOptions", pod, errors));
        }
        // In the order of their names, as Go encodes them: an error shows the whole address.
        let mut out = String::new();
        let flag = |name| query.flag(name).then(|| "true".to_owned());
        let given = [
            ("follow", flag("follow")),
            ("limitBytes", limit_bytes.map(|number| number.to_string())),
            ("previous", flag("previous")),
            ("sinceSeconds", since_seconds.map(|number| number.to_string())),
            ("sinceTime", since_time),
            ("tailLines", tail_lines.map(|number| number.to_string())),
            ("timestamps", flag("timestamps")),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                push(&mut out, name, &value);
            }
        }
        Ok(Self {
            container: query.get("container").map(str::to_owned),
            skip_tls_verify: query.flag("insecureSkipTLSVerifyBackend"),
            query: out,
        })
    }
}

/// RFC 3339 to whole seconds, as clients write and kubelets read it.
fn time(text: &str) -> Result<String, ApiError> {
    let parsed: Timestamp = text.parse().map_err(|_| {
        let layout = "2006-01-02T15:04:05Z07:00";
        ApiError::bad_request(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {text:?} as {layout:?}"
        ))
    })?;
    let whole = Timestamp::from_second(parsed.as_second()).unwrap_or(parsed);
    Ok(whole.to_string())
}

/// The error a kubelet's answer to a log request becomes; `text` is its body.
pub fn refusal(code: u16, pod: &str, text: &str) -> ApiError {
    let (reason, message) = match code {
        500 => return ApiError::internal(text),
        400 => return ApiError::bad_request(text),
        401 => (Reason::Unauthorized, "the server has asked for the client to provide credentials"),
        403 => (Reason::Forbidden, text),
        404 => (Reason::NotFound, "the server could not find the requested resource"),
        429 => (
            Reason::TooManyRequests,
            "the server has received too many requests and has asked us to try again later",
        ),
        503 => (Reason::ServiceUnavailable, "the server is currently unable to handle the request"),
        504 => (
            Reason::Timeout,
            "the server was unable to return a response in the time allotted, but may still be processing the request",
        ),
        code if code > 500 => {
            return generic(
                code,
                Reason::InternalError,
                pod,
                &format!("an error on the server ({text:?}) has prevented the request from succeeding"),
            );
        }
        code => {
            let message = format!(
                "the server responded with the status code {code} but did not return more information"
            );
            return generic(code, Reason::Unknown, pod, &message);
        }
    };
    generic(code, reason, pod, message)
}

fn generic(code: u16, reason: Reason, pod: &str, message: &str) -> ApiError {
    let mut error = ApiError::new(code, reason, format!("{message} ( pods/log {pod})"));
    error.details = Some(Details { name: pod.to_owned(), kind: "pods/log".to_owned(), ..Details::default() });
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<LogOptions, ApiError> {
        LogOptions::parse(&Query::parse(query), "p")
    }

    #[test]
    fn options_are_passed_on_as_kubelets_read_them() {
        let options = ask(
            "follow=true&previous=false&tailLines=0&limitBytes=5&sinceTime=2026-01-02T03:04:05.6%2B01:00\
             &timestamps&container=c&insecureSkipTLSVerifyBackend=true&pretty=1",
        )
        .unwrap();
        let query = "follow=true&limitBytes=5&sinceTime=2026-01-02T02%3A04%3A05Z&tailLines=0&timestamps=true";
        let expected =
            LogOptions { container: Some("c".into()), skip_tls_verify: true, query: query.to_owned() };
        assert_eq!(options, expected);
        assert_eq!(ask("").unwrap(), LogOptions::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_upstreams_words() {
        let invalid = "PodLogOptions \"p\" is invalid: ";
        for (query, words) in [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
            ("stream=Stdout", "stream: Forbidden: may not be specified"),
        ] {
            let error = ask(query).unwrap_err();
            assert_eq!((error.code, error.message), (422, format!("{invalid}{words}")), "{query}");
        }
        let both = ask("sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z").unwrap_err();
        let words = ": Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
        assert_eq!(both.message, format!("{invalid}{words}"));
        for query in ["tailLines=x", "sinceTime=yesterday"] {
            assert_eq!(ask(query).unwrap_err().code, 400, "{query}");
        }
    }

    #[test]
    fn refusals_keep_their_code() {
        assert_eq!(refusal(400, "p", "no").message, "no");
        assert_eq!(refusal(500, "p", "no").message, "Internal error occurred: no");
        let gone = refusal(404, "p", "pod does not exist");
        assert_eq!(
            (gone.code, gone.message.as_str()),
            (404, "the server could not find the requested resource ( pods/log p)")
        );
        assert_eq!(refusal(502, "p", "x").reason, Reason::InternalError);
        assert_eq!(refusal(301, "p", "").code, 301);
    }
}
