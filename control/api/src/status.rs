//! The API's Status error: codes, reasons and messages as upstream gives them.
//!
//! Enters: what went wrong. Leaves: an [`ApiError`], which the server writes with [`ApiError::to_value`].
//! Called by the registry, admission and authorization; clients read it back with [`ApiError::from_value`].
//! Authority: k8s.io/apimachinery/pkg/api/errors and pkg/apis/meta/v1 `StatusReason`.

use crate::field::FieldError;
use crate::gotext::{aggregate, quote};
use serde_json::{Map, Value, json};
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Why a request failed, in one word a program can match.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// The word in the Status object; empty for [`Reason::Unknown`].
            pub fn as_str(self) -> &'static str {
                match self { Self::Unknown => "", $(Self::$name => stringify!($name)),+ }
            }

            /// The reason for a word; an unlisted word is [`Reason::Unknown`].
            pub fn parse(word: &str) -> Self {
                match word { $(stringify!($name) => Self::$name,)+ _ => Self::Unknown }
            }
        }
    };
}

mod reason_list {
    #![expect(unreachable_patterns, reason = "the macro lists Unknown again after its special case")]
    reasons! {
        /// No reason is given.
        Unknown,
        /// 401.
        Unauthorized,
        /// 403.
        Forbidden,
        /// 404.
        NotFound,
        /// 409: the name is taken.
        AlreadyExists,
        /// 409: a newer version exists, or a precondition failed; read again and retry.
        Conflict,
        /// 410: gone for good.
        Gone,
        /// 422.
        Invalid,
        /// 500: could not be done in time; retry.
        ServerTimeout,
        /// 504.
        Timeout,
        /// 429: retry later.
        TooManyRequests,
        /// 400.
        BadRequest,
        /// 405.
        MethodNotAllowed,
        /// 406.
        NotAcceptable,
        /// 413.
        RequestEntityTooLarge,
        /// 415.
        UnsupportedMediaType,
        /// 500.
        InternalError,
        /// 410: the resourceVersion or continue token is too old; list again.
        Expired,
        /// 503: retry.
        ServiceUnavailable,
    }
}
pub use reason_list::Reason;

/// One cause in a Status' details.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// A machine-readable word, e.g. `FieldValueInvalid`.
    pub reason: String,
    /// A text for people.
    pub message: String,
    /// The field's path; may be empty.
    pub field: String,
}

/// What the error is about. `kind` holds the plural resource name, except in an Invalid error, where it is the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// The API group; empty is core.
    pub group: String,
    /// The resource, or the kind.
    pub kind: String,
    /// The object's uid, when there is one.
    pub uid: String,
    /// Further causes.
    pub causes: Vec<Cause>,
}

impl Details {
    fn about(group: &str, kind: &str, name: &str) -> Self {
        Self { name: name.to_owned(), group: group.to_owned(), kind: kind.to_owned(), ..Self::default() }
    }
}

/// A failed request as the API reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason.
    pub reason: Reason,
    /// The text for people.
    pub message: String,
    /// What the error is about.
    pub details: Option<Details>,
    /// When to try again, in seconds; also sent as the Retry-After header.
    pub retry_after_seconds: Option<u32>,
    /// Continue token of a list that expired: goes on without fitting to the pages before.
    pub resume: Option<String>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// `pods` or `deployments.apps`: a resource or kind with its group, as messages name it.
pub fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

impl ApiError {
    /// An error from its parts, without details.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, retry_after_seconds: None, resume: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = Some(Details::about(group, kind, name));
        self
    }

    /// 404 `deployments.apps "x" not found`.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(plural, group), quote(name));
        Self::new(404, Reason::NotFound, message).about(group, plural, name)
    }

    /// 404 for a path no resource is served at.
    pub fn generic_404() -> Self {
        let mut e = Self::new(404, Reason::NotFound, "the server could not find the requested resource");
        e.details = Some(Details::default());
        e
    }

    /// 409 `pods "x" already exists`.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(plural, group), quote(name));
        Self::new(409, Reason::AlreadyExists, message).about(group, plural, name)
    }

    /// 409 for a generated name that is taken; the client should retry after a second.
    pub fn generate_name_conflict(group: &str, plural: &str, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(plural, group),
            quote(name)
        );
        let mut e = Self::new(409, Reason::AlreadyExists, message).about(group, plural, name);
        e.retry_after_seconds = Some(1);
        e
    }

    /// 409 `Operation cannot be fulfilled on pods "x": message`.
    pub fn conflict(group: &str, plural: &str, name: &str, message: impl fmt::Display) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {message}",
            qualified(plural, group),
            quote(name)
        );
        Self::new(409, Reason::Conflict, message).about(group, plural, name)
    }

    /// 409 for a lost update: the stored object is newer than the one sent.
    pub fn stale(group: &str, plural: &str, name: &str) -> Self {
        Self::conflict(
            group,
            plural,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422 `Deployment.apps "x" is invalid: [a, b]`; each error becomes a cause. `kind` is the kind, not the plural.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Self {
        let subject = format!("{} {} is invalid", qualified(kind, group), quote(name));
        let message = if errors.is_empty() {
            subject
        } else {
            format!("{subject}: {}", aggregate(errors.iter().map(ToString::to_string)))
        };
        let mut e = Self::new(422, Reason::Invalid, message).about(group, kind, name);
        if let Some(details) = &mut e.details {
            details.causes = errors
                .iter()
                .map(|f| Cause {
                    reason: f.kind.reason().to_owned(),
                    message: f.body(),
                    field: f.field.clone(),
                })
                .collect();
        }
        e
    }

    /// 400 with the message as it is.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 401 with the message as it is; an empty one becomes `not authorized`.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::new(
            401,
            Reason::Unauthorized,
            if message.is_empty() { "not authorized".to_owned() } else { message },
        )
    }

    /// 403 `pods "x" is forbidden: message`; without a name or a resource those parts fall away.
    pub fn forbidden(group: &str, plural: &str, name: &str, message: impl fmt::Display) -> Self {
        let text = match (plural, name) {
            ("", _) => format!("forbidden: {message}"),
            (_, "") => format!("{} is forbidden: {message}", qualified(plural, group)),
            _ => format!("{} {} is forbidden: {message}", qualified(plural, group), quote(name)),
        };
        Self::new(403, Reason::Forbidden, text).about(group, plural, name)
    }

    /// 405 `create is not supported on resources of kind "pods"`.
    pub fn method_not_supported(group: &str, plural: &str, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind {}", quote(&qualified(plural, group)));
        Self::new(405, Reason::MethodNotAllowed, message).about(group, plural, "")
    }

    /// 405 for an HTTP method no verb stands for.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )
    }

    /// 410 Expired: the resourceVersion or continue token is too old; the client lists again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// 410 Gone.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Gone, message)
    }

    /// 429; the client retries after `seconds` (0: at its own pace).
    pub fn too_many_requests(message: impl Into<String>, seconds: u32) -> Self {
        let mut e = Self::new(429, Reason::TooManyRequests, message);
        e.details = Some(Details::default());
        e.retry_after_seconds = (seconds > 0).then_some(seconds);
        e
    }

    /// 413 `Request entity is too large: message`.
    pub fn request_entity_too_large(message: impl fmt::Display) -> Self {
        Self::new(413, Reason::RequestEntityTooLarge, format!("Request entity is too large: {message}"))
    }

    /// 415 with the message as it is.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, Reason::UnsupportedMediaType, message)
    }

    /// 415 that lists what is accepted, in upstream's words.
    pub fn unknown_body_format(accepted: &[&str]) -> Self {
        Self::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        ))
    }

    /// 406 with the message as it is.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, Reason::NotAcceptable, message)
    }

    /// 406 that lists what can be served, in upstream's words.
    pub fn only_media_types(offered: &[&str]) -> Self {
        Self::not_acceptable(format!("only the following media types are accepted: {}", offered.join(", ")))
    }

    /// 500 `Internal error occurred: message`.
    pub fn internal(message: impl fmt::Display) -> Self {
        let message = message.to_string();
        let mut e = Self::new(500, Reason::InternalError, format!("Internal error occurred: {message}"));
        e.details =
            Some(Details { causes: vec![Cause { message, ..Cause::default() }], ..Details::default() });
        e
    }

    /// 504 `Timeout: message`.
    pub fn timeout(message: impl fmt::Display) -> Self {
        let mut e = Self::new(504, Reason::Timeout, format!("Timeout: {message}"));
        e.details = Some(Details::default());
        e
    }

    /// 500 ServerTimeout: the operation could not be done now; retry after `seconds`.
    pub fn server_timeout(group: &str, plural: &str, operation: &str, seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(plural, group)
        );
        let mut e = Self::new(500, Reason::ServerTimeout, message).about(group, plural, operation);
        e.retry_after_seconds = (seconds > 0).then_some(seconds);
        e
    }

    /// 503 with the message as it is.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message)
    }

    /// Adds a cause to the details.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        self.details.get_or_insert_default().causes.push(Cause {
            reason: reason.to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
        });
        self
    }

    /// Sets when to try again, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Whether this is a NotFound.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// Whether this is a Conflict (a lost update or failed precondition).
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// The Status object, `kind: Status`, `apiVersion: v1`.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(resume) = &self.resume {
            status["metadata"]["continue"] = resume.as_str().into();
        }
        if self.reason != Reason::Unknown {
            status["reason"] = self.reason.as_str().into();
        }
        if self.details.is_some() || self.retry_after_seconds.is_some() {
            let mut details = self.details.as_ref().map(details_value).unwrap_or_default();
            if let Some(seconds) = self.retry_after_seconds {
                details.insert("retryAfterSeconds".into(), seconds.into());
            }
            status["details"] = Value::Object(details);
        }
        status
    }

    /// Reads a Status object back; `None` when the value is no failed Status.
    pub fn from_value(value: &Value) -> Option<Self> {
        if value.get("kind")?.as_str()? != "Status" || value["status"].as_str() == Some("Success") {
            return None;
        }
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let d = &value["details"];
        let details = d.is_object().then(|| Details {
            name: text(&d["name"]),
            group: text(&d["group"]),
            kind: text(&d["kind"]),
            uid: text(&d["uid"]),
            causes: d["causes"]
                .as_array()
                .map(|causes| {
                    causes
                        .iter()
                        .map(|c| Cause {
                            reason: text(&c["reason"]),
                            message: text(&c["message"]),
                            field: text(&c["field"]),
                        })
                        .collect()
                })
                .unwrap_or_default(),
        });
        Some(Self {
            code: value["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(500),
            reason: Reason::parse(value["reason"].as_str().unwrap_or_default()),
            message: text(&value["message"]),
            details,
            resume: value["metadata"]["continue"].as_str().map(str::to_owned),
            retry_after_seconds: d["retryAfterSeconds"].as_u64().and_then(|s| u32::try_from(s).ok()),
        })
    }
}

fn details_value(details: &Details) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, text: &str| {
        if !text.is_empty() {
            out.insert(key.to_owned(), text.into());
        }
    };
    put("name", &details.name);
    put("group", &details.group);
    put("kind", &details.kind);
    put("uid", &details.uid);
    if !details.causes.is_empty() {
        let causes = details.causes.iter().map(|c| {
            let mut cause = Map::new();
            for (key, text) in [("reason", &c.reason), ("message", &c.message), ("field", &c.field)] {
                if !text.is_empty() {
                    cause.insert(key.to_owned(), text.as_str().into());
                }
            }
            Value::Object(cause)
        });
        out.insert("causes".into(), causes.collect());
    }
    out
}

/// The Status of a deletion that is done: `status: Success` and what was deleted.
pub fn success(group: &str, plural: &str, name: &str, uid: &str) -> Value {
    let details = Details { uid: uid.to_owned(), ..Details::about(group, plural, name) };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": Value::Object(details_value(&details)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn messages() {
        assert_eq!(ApiError::not_found("", "pods", "x").message, r#"pods "x" not found"#);
        assert_eq!(
            ApiError::not_found("apps", "deployments", "x").message,
            r#"deployments.apps "x" not found"#
        );
        assert_eq!(
            ApiError::forbidden("", "pods", "", "User \"a\" cannot list").message,
            r#"pods is forbidden: User "a" cannot list"#
        );
        assert_eq!(ApiError::forbidden("", "", "", "no").message, "forbidden: no");
        assert_eq!(
            ApiError::stale("apps", "deployments", "w").message,
            "Operation cannot be fulfilled on deployments.apps \"w\": the object has been modified; \
             please apply your changes to the latest version and try again"
        );
        assert_eq!(ApiError::internal("boom").message, "Internal error occurred: boom");
    }

    #[test]
    fn invalid_has_causes() {
        let p = Path::new("spec").child("replicas");
        let one = FieldError::invalid(&p, -1, "must be greater than or equal to 0");
        let e = ApiError::invalid("apps", "Deployment", "web", vec![one.clone()]);
        assert_eq!(
            e.message,
            r#"Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#
        );
        let two = FieldError::required(&Path::new("spec").child("selector"), "");
        let v = ApiError::invalid("apps", "Deployment", "web", vec![one, two]).to_value();
        assert!(v["message"].as_str().unwrap().ends_with("0, spec.selector: Required value]"));
        assert_eq!(v["details"]["causes"][1]["reason"], "FieldValueRequired");
        assert_eq!(v["details"]["causes"][0]["field"], "spec.replicas");
        assert_eq!(v["details"]["kind"], "Deployment");
        assert_eq!(v["code"], 422);
    }

    #[test]
    fn round_trips() {
        let e = ApiError::too_many_requests("wait", 10).with_cause("DisruptionBudget", "needs 1", "");
        assert_eq!(ApiError::from_value(&e.to_value()).unwrap(), e);
        assert_eq!(ApiError::from_value(&success("", "pods", "x", "u")), None);
        assert_eq!(Reason::parse("Expired"), Reason::Expired);
        assert_eq!(Reason::Unknown.as_str(), "");
    }
}
