//! What a plug-in is told about a write, and what it may say besides yes or no.

use std::collections::BTreeMap;

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_identity::{Attributes, ObjectReader, User};

use crate::Config;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or a create of a subresource (`pods/binding`, `serviceaccounts/token`).
    Create,
    /// A change.
    Update,
    /// A delete.
    Delete,
    /// A connection: exec, attach, port-forward, proxy.
    Connect,
}

impl Operation {
    /// The word of admission reviews.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A write as admission sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How.
    pub operation: Operation,
    /// Who.
    pub user: &'a User,
    /// The resource's group, empty for core.
    pub group: &'a str,
    /// The version asked for.
    pub version: &'a str,
    /// The kind, for 422s.
    pub kind: &'a str,
    /// The resource.
    pub plural: &'a str,
    /// Its part, empty for the object itself.
    pub subresource: &'a str,
    /// The namespace, empty for none; of a Namespace itself its own name.
    pub namespace: &'a str,
    /// The object's name; may be empty on a create.
    pub name: &'a str,
    /// Whether nothing will be written.
    pub dry_run: bool,
}

impl Request<'_> {
    /// Whether it is about this part of this resource.
    pub fn is(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.group == group && self.plural == plural && self.subresource == subresource
    }

    /// Whether it is about pods themselves.
    pub fn is_pod(&self) -> bool {
        self.is("", "pods", "")
    }

    /// Whether it creates a pod.
    pub fn creates_pod(&self) -> bool {
        self.is_pod() && self.operation == Operation::Create
    }

    /// Whether it changes a pod.
    pub fn updates_pod(&self) -> bool {
        self.is_pod() && self.operation == Operation::Update
    }

    /// 403 about the object. Without a name in the request the object's own is used, or what its name will start with.
    pub fn forbidden(&self, object: &Value, why: impl std::fmt::Display) -> ApiError {
        let own = [self.name, meta::name(object), meta::generate_name(object)];
        let name = own.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown");
        ApiError::forbidden(self.group, self.plural, name, why)
    }
}

/// What plug-ins leave behind besides the object: for the response and for the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// Annotations of the audit event, by full key.
    pub annotations: BTreeMap<String, String>,
}

/// A permission that the requester must have; asked by the caller, since an authorizer may be a web service.
#[derive(Clone, Debug)]
pub struct Question {
    /// One of these must be allowed.
    pub any_of: Vec<Attributes>,
    /// The 403 otherwise; [`Question::REASON`] in its message stands for what the authorizer said.
    pub refusal: ApiError,
}

impl Question {
    /// The mark in a refusal's message that the authorizer's reason replaces.
    pub const REASON: &'static str = "\u{1}";

    /// The refusal with the reason in its place.
    pub fn refuse(&self, reason: &str) -> ApiError {
        let mut error = self.refusal.clone();
        error.message = error.message.replace(Self::REASON, reason);
        error
    }
}

/// What a plug-in works with.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The write.
    pub request: Request<'a>,
    /// The stored object, on updates and deletes.
    pub old: Option<&'a Value>,
    /// The cluster's objects.
    pub reader: &'a dyn ObjectReader,
    /// The plug-ins' configuration.
    pub config: &'a Config,
}

impl Call<'_> {
    /// 403 about `object`.
    pub(crate) fn forbidden(&self, object: &Value, why: impl std::fmt::Display) -> ApiError {
        self.request.forbidden(object, why)
    }
}
