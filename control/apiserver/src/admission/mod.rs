//! Admission: what a write must satisfy beyond its own schema, and what the cluster adds to it.
//!
//! Enters: an object on its way into the registry, with who writes it and how. Leaves: the object with what the
//! plug-ins add, or 403/404/422. Called by the registry: [`Admission::mutate`] before the kind's own rules,
//! [`Admission::validate`] after them. The built-in plug-ins read other objects from the caches and do no I/O.

mod dynamic;
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
use xebec_dynamic_admission::{Dynamic, Reinvocation};
use xebec_identity::{Authorizer, ObjectReader, User};

use crate::registry::{DeleteOptions, Target, WriteContext};
use crate::resources::Resources;
use crate::watch::Caches;

pub(crate) use dynamic::{Counters, Services, start_type_checking};

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
    /// Whether the server makes up the object's name; the target then has it, or what it will begin with.
    pub name_generated: bool,
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
        Self { context, user: &context.user, target, subresource, operation, name_generated: false }
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
    dynamic: Dynamic,
    counters: Arc<Counters>,
}

impl Admission {
    /// Admission over the cluster's objects.
    #[must_use]
    pub fn new(caches: Arc<Caches>, resources: Arc<Resources>, authorizer: Arc<Authorizer>) -> Self {
        let counters = Arc::new(Counters::default());
        let dynamic =
            dynamic::new(Arc::clone(&caches), resources, Arc::clone(&authorizer), Arc::clone(&counters));
        Self { caches, authorizer, dynamic, counters }
    }

    /// Counters of webhooks and policies.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Completes the object; it is already defaulted. Refuses what no completion can make right. What a policy or
    /// webhook changes, the built-in plug-ins see once more, and those who asked for it.
    pub async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let request = dynamic::attributes(attributes, old, dynamic::options(attributes));
        let (mut state, record) = (Reinvocation::default(), attributes.context);
        self.complete(attributes, value, old)?;
        self.dynamic.mutate(&request, Some(value), &mut state, record).await?;
        if state.needed() {
            state.begin();
            self.complete(attributes, value, old)?;
            self.dynamic.mutate(&request, Some(value), &mut state, record).await?;
        }
        Ok(())
    }

    /// What the built-in plug-ins add. Called again after changes by others, so it adds nothing twice.
    fn complete(
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

    /// Checks the finished object of a create, update or connection.
    pub async fn validate(
        &self,
        attributes: &Attributes<'_>,
        value: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        self.check(attributes, value, old)?;
        let request = dynamic::attributes(attributes, old, dynamic::options(attributes));
        self.dynamic.validate(&request, value, attributes.context).await
    }

    /// Asks everyone about a delete: there is no object to change, but mutating webhooks are asked too.
    pub async fn delete(
        &self,
        attributes: &Attributes<'_>,
        old: &Value,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        let mut request =
            dynamic::attributes(attributes, Some(old), dynamic::delete_options(attributes.context, options));
        request.dry_run |= options.dry_run;
        let (mut state, record) = (Reinvocation::default(), attributes.context);
        self.dynamic.mutate(&request, None, &mut state, record).await?;
        self.check(attributes, None, Some(old))?;
        self.dynamic.validate(&request, None, record).await
    }

    /// Asks everyone about a connection through the server (exec, attach, port-forward, proxy). `options` are the
    /// connection's (`PodExecOptions` and so on, with apiVersion and kind); webhooks may change them.
    pub async fn connect(&self, attributes: &Attributes<'_>, options: &mut Value) -> Result<(), ApiError> {
        self.mutate(attributes, options, None).await?;
        self.validate(attributes, Some(options), None).await
    }

    /// What the built-in plug-ins refuse.
    fn check(
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
