//! Admission: what a write must satisfy beyond its own schema, and what the cluster adds to it.
//!
//! Enters: an object on its way into the registry, with who writes it and how. Leaves: the object with what the
//! plug-ins add, or 403/404/422. Called by the registry: [`Admission::mutate`] before the kind's own rules,
//! [`Admission::validate`] after them. The built-in plug-ins read other objects from the caches and do no I/O.

mod lifecycle;
mod node_restriction;
mod nodes;
mod pods;
mod priority;
mod rbac;
mod service_account;

use std::sync::Arc;

use serde_json::Value;
use xebec_api::status::ApiError;
use xebec_identity::{Authorizer, ObjectReader, User};

use crate::registry::{Target, WriteContext};
use crate::watch::Caches;

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object or a create of a subresource.
    Create,
    /// A change.
    Update,
    /// A delete.
    Delete,
    /// A connection through the server: exec, attach, port-forward, proxy.
    Connect,
}

impl Operation {
    /// As admission reviews and policies name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A write as admission sees it.
pub struct Attributes<'a> {
    /// The request: who writes, dry run, and where warnings and audit annotations go.
    pub context: &'a WriteContext,
    /// Who writes.
    pub user: &'a User,
    /// Which object.
    pub target: &'a Target,
    /// Which part of it.
    pub subresource: &'a str,
    /// How.
    pub operation: Operation,
}

impl<'a> Attributes<'a> {
    /// The attributes of a write.
    #[must_use]
    pub fn new(
        context: &'a WriteContext,
        target: &'a Target,
        subresource: &'a str,
        operation: Operation,
    ) -> Self {
        Self { context, user: &context.user, target, subresource, operation }
    }

    /// Whether it is about this resource of the core group.
    pub(crate) fn is_core(&self, plural: &str, subresource: &str) -> bool {
        self.is("", plural, subresource)
    }

    pub(crate) fn is(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.target.stored.group == group
            && self.target.stored.plural == plural
            && self.subresource == subresource
    }
}

/// The plug-ins, in upstream's order.
pub struct Admission {
    caches: Arc<Caches>,
    authorizer: Arc<Authorizer>,
}

impl Admission {
    /// Admission over the cluster's objects.
    #[must_use]
    pub fn new(caches: Arc<Caches>, authorizer: Arc<Authorizer>) -> Self {
        Self { caches, authorizer }
    }

    /// Completes the object; it is already defaulted. Refuses what no completion can make right.
    pub async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let reader: &dyn ObjectReader = &*self.caches;
        lifecycle::check(attributes, reader)?;
        match attributes.operation {
            Operation::Create if attributes.is_core("pods", "") => {
                service_account::complete(attributes, value, reader, &mut rand::rng())?;
                priority::complete_pod(attributes, value, reader)?;
                pods::default_tolerations(value);
            }
            Operation::Create if attributes.is_core("nodes", "") => nodes::taint_new(value),
            Operation::Update if attributes.is_core("pods", "") => {
                pods::default_tolerations_on_update(value, old)
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks the finished object (`value` is none for deletes).
    pub async fn validate(
        &self,
        attributes: &Attributes<'_>,
        value: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let reader: &dyn ObjectReader = &*self.caches;
        lifecycle::check_delete(attributes)?;
        node_restriction::check(attributes, value, old, reader)?;
        priority::check_class(attributes, value, reader)?;
        rbac::check(attributes, value, old, &self.authorizer)
    }
}
