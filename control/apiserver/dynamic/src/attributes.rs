//! A request as dynamic admission sees it. Pure.

use std::fmt;

use serde_json::{Value, json};
use tokio::time::Instant;
use xebec_api::status::ApiError;
use xebec_api::{meta, resource};
use xebec_identity::User;

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object, or a create of a subresource.
    Create,
    /// A change.
    Update,
    /// A delete: there is an old object and no new one.
    Delete,
    /// A connection to a subresource (exec, attach, portforward, proxy): the object is the connection's options.
    Connect,
}

impl Operation {
    /// The word rules and AdmissionReviews use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A kind in a version of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// Group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
}

impl Kind {
    /// A kind by its parts.
    #[must_use]
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// The kind an object says it is of.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        Self::from_api_version(meta::api_version(object), meta::kind(object))
    }

    /// A kind by `group/version` and kind.
    #[must_use]
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = resource::split_api_version(api_version);
        Self::new(group, version, kind)
    }

    /// `group/version`, or the version alone for core.
    #[must_use]
    pub fn api_version(&self) -> String {
        resource::api_version(&self.group, &self.version)
    }

    /// `{group, version, kind}`, as AdmissionReviews carry it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// A resource in a version of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural.
    pub resource: String,
}

impl Resource {
    /// A resource by its parts.
    #[must_use]
    pub fn new(group: &str, version: &str, plural: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), resource: plural.to_owned() }
    }

    /// `{group, version, resource}`, as AdmissionReviews carry it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({"group": self.group, "version": self.version, "resource": self.resource})
    }

    /// Whether it is this one, in whatever version.
    #[must_use]
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.resource == plural
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Resource={}", self.group, self.version, self.resource)
    }
}

/// Everything about a request but the object itself, which is passed beside it since plug-ins change it.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// What is done.
    pub operation: Operation,
    /// The kind of the request's object: of the subresource's object where that has its own (Scale, Binding).
    pub kind: Kind,
    /// The resource in the version of the request.
    pub resource: Resource,
    /// Subresource, empty for none.
    pub subresource: String,
    /// Namespace; empty for cluster-scoped objects but for a Namespace, where it is the object's own name.
    pub namespace: String,
    /// Name; empty on a create whose name is yet to be generated.
    pub name: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The request's options (`CreateOptions` and so on) as an object; null where there are none.
    pub options: Value,
    /// What is stored now, in any version; none on create and connect.
    pub old_object: Option<&'a Value>,
    /// When the request's own time is over; none for no limit.
    pub deadline: Option<Instant>,
}

impl Attributes<'_> {
    /// Whether webhooks and policies are never asked about this: the objects that configure them, or they could not be
    /// repaired.
    #[must_use]
    pub fn configures_admission(&self) -> bool {
        const KINDS: [&str; 6] = [
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ];
        self.kind.group == "admissionregistration.k8s.io" && KINDS.contains(&self.kind.kind.as_str())
    }

    /// Whether it is a review that is answered and not stored: policies never see those (webhooks do, up to 1.36).
    #[must_use]
    pub fn is_review(&self) -> bool {
        let plural = self.resource.resource.as_str();
        match self.resource.group.as_str() {
            "authentication.k8s.io" => matches!(plural, "tokenreviews" | "selfsubjectreviews"),
            "authorization.k8s.io" => matches!(
                plural,
                "subjectaccessreviews"
                    | "localsubjectaccessreviews"
                    | "selfsubjectaccessreviews"
                    | "selfsubjectrulesreviews"
            ),
            _ => false,
        }
    }

    /// Whether the object is a Namespace, which is in no namespace whatever [`Attributes::namespace`] says.
    #[must_use]
    pub fn is_namespace(&self) -> bool {
        self.kind == Kind::new("", "v1", "Namespace")
    }

    /// 403 `pods "x" is forbidden: message`; the name is taken from the object where the request has none.
    #[must_use]
    pub fn forbidden(&self, object: Option<&Value>, message: &str) -> ApiError {
        let text = |value: &Value| value.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
        let metadata = object.map(|object| &object["metadata"]);
        let name = if self.name.is_empty() {
            metadata
                .and_then(|m| text(&m["name"]).or_else(|| text(&m["generateName"])))
                .unwrap_or_else(|| "Unknown".to_owned())
        } else {
            self.name.clone()
        };
        ApiError::forbidden(&self.resource.group, &self.resource.resource, &name, message)
    }

    /// 504 when the request's own time is over.
    pub fn check_deadline(&self) -> Result<(), ApiError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(out_of_time()),
            _ => Ok(()),
        }
    }
}

/// 504 of a request whose own time is over.
pub(crate) fn out_of_time() -> ApiError {
    ApiError::timeout("request did not complete within requested timeout")
}
