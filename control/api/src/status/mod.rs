//! The API's Status error: codes, reasons and messages as upstream gives them.
//!
//! Enters: what went wrong. Leaves: an [`ApiError`], which the server writes with [`ApiError::to_value`].
//! Called by the registry, admission and authorization; clients read it back with [`ApiError::from_value`].
//! Authority: k8s.io/apimachinery/pkg/api/errors and pkg/apis/meta/v1 `StatusReason`.

mod make;
mod wire;

use std::fmt;

pub use wire::success;

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{FieldError, Path};

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
