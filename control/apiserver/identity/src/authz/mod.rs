//! May this user do that? Enters: [`Attributes`] of one request. Leaves: a [`Decision`].
//!
//! The order is upstream's default mode `Node,RBAC`: members of `system:masters` may do anything, then the
//! [`node`] authorizer answers for kubelets, then [`rbac`] for everyone. The first that allows wins; the reasons of
//! those that did not are joined. The API server calls [`Authorizer::authorize`] for each request and the
//! escalation checks of [`escalation`] on each write of a role or binding.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{GROUP_MASTERS, ObjectReader, User};

mod escalation;
mod node;
mod rbac;
mod references;
mod review;
mod rules;

pub use escalation::EscalationError;
pub use review::RulesReview;
pub use rules::{Rule, covers};

pub(crate) use rbac::RBAC_GROUP;

/// What a request wants to do.
///
/// Authority: `k8s.io/apiserver/pkg/authorization/authorizer.Attributes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attributes {
    /// Who asks.
    pub user: User,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection` or a special verb; for
    /// non-resource requests the HTTP method in lower case.
    pub verb: String,
    /// API group, `""` for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource name.
    pub resource: String,
    /// Subresource or `""`.
    pub subresource: String,
    /// Namespace or `""`.
    pub namespace: String,
    /// Object name or `""`; a `list` or `watch` with the field selector `metadata.name=x` carries `x`.
    pub name: String,
    /// The URL path.
    pub path: String,
    /// Whether the request addresses a resource (else only `path` and `verb` count).
    pub is_resource: bool,
    /// The `fieldSelector` parameter of `list`, `watch` and `deletecollection`.
    pub field_selector: Option<String>,
    /// The `labelSelector` parameter of `list`, `watch` and `deletecollection`.
    pub label_selector: Option<String>,
}

impl Attributes {
    /// The attributes of a resource request.
    pub fn resource(
        user: &User,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            group: group.to_owned(),
            version: "*".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    /// The attributes of a request for a path that is no resource.
    pub fn path(user: &User, verb: &str, path: &str) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            path: path.to_owned(),
            ..Attributes::default()
        }
    }

    /// The same attributes for a subresource.
    #[must_use]
    pub fn with_subresource(mut self, subresource: &str) -> Attributes {
        subresource.clone_into(&mut self.subresource);
        self
    }

    /// The sentence of a 403: `User "x" cannot list resource "pods" in API group "" in the namespace "y"`.
    ///
    /// Authority: `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.forbiddenMessage`.
    pub fn forbidden_message(&self) -> String {
        let (user, verb) = (&self.user.name, &self.verb);
        if !self.is_resource {
            return format!("User {user:?} cannot {verb} path {:?}", self.path);
        }
        let resource = if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        };
        let group = &self.group;
        if self.namespace.is_empty() {
            format!(
                "User {user:?} cannot {verb} resource {resource:?} in API group {group:?} at the cluster scope"
            )
        } else {
            let namespace = &self.namespace;
            format!(
                "User {user:?} cannot {verb} resource {resource:?} in API group {group:?} in the namespace {namespace:?}"
            )
        }
    }

    /// Whether the field selector demands `field = value`.
    pub(crate) fn selects(&self, field: &str, value: &str) -> bool {
        self.field_selector.as_deref().is_some_and(|selector| {
            selector.split(',').any(|term| {
                let Some((left, right)) = term.split_once('=') else { return false };
                left.trim() == field && right.strip_prefix('=').unwrap_or(right).trim() == value
            })
        })
    }
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, and why (may be empty).
    Allow(String),
    /// Refused for good: no later authorizer is asked.
    Deny(String),
    /// Not allowed by anyone, and why (may be empty); the request is refused with 403.
    NoOpinion(String),
}

impl Decision {
    /// Whether the request may proceed.
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }

    /// The reason, possibly empty.
    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason) => reason,
        }
    }
}

/// Answers whether requests may proceed, from the roles, bindings and pods the reader holds now.
pub struct Authorizer {
    reader: Arc<dyn ObjectReader>,
    rbac: rbac::Rbac,
    node_rules: Vec<Rule>,
}

impl Authorizer {
    /// An authorizer over the cluster's objects.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Authorizer {
        let node_rules = crate::bootstrap::node_rules();
        Authorizer { rbac: rbac::Rbac::new(Arc::clone(&reader)), reader, node_rules }
    }

    /// Decides one request.
    pub fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.user.in_group(GROUP_MASTERS) {
            return Decision::Allow(String::new());
        }
        let node = node::authorize(self.reader.as_ref(), &self.node_rules, attributes);
        let node_reason = match node {
            Decision::NoOpinion(reason) => reason,
            decided => return decided,
        };
        match self.rbac.authorize(attributes) {
            Decision::NoOpinion(reason) if !node_reason.is_empty() => {
                let joined = if reason.is_empty() { node_reason } else { format!("{node_reason}\n{reason}") };
                Decision::NoOpinion(joined)
            }
            decision => decision,
        }
    }
}

#[cfg(test)]
mod tests;
