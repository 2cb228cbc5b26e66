//! The errors by name: one constructor for each, with upstream's code, reason and words.
//!
//! Authority: k8s.io/apimachinery/pkg/api/errors.

use std::fmt;

use super::{ApiError, Cause, Details, Reason, qualified};
use crate::field::FieldError;
use crate::gotext::{aggregate, quote};

impl ApiError {
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
}
