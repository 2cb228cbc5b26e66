//! Admission: what a write must satisfy beyond its own schema, and what the cluster adds to it.
//!
//! Enters: an object on its way into the registry, with who writes it and how. Leaves: the object with what the
//! plug-ins add, or 403/404/422. Called by the registry: [`Admission::mutate`] before the kind's own rules,
//! [`Admission::validate`] after them, [`Admission::reserve`] last before the write. The built-in plug-ins
//! (`xebec-admission`) read other objects from the caches and do no I/O; only quotas are written.

mod configuration;
mod dynamic;
mod quota;
mod rbac;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use xebec_admission::quota::{Demand, Reservation, Reserver};
use xebec_admission::{Call, Findings, Plugin, Question, Request};
use xebec_api::resource::Resource;
use xebec_api::status::ApiError;
use xebec_dynamic_admission::{Dynamic, Reinvocation};
use xebec_identity::{Authorizer, ObjectReader, User};
use xebec_store::Store;

use quota::Quotas;

pub use configuration::{ConfigurationError, configuration};
pub(crate) use dynamic::{Counters, Services, start_type_checking};

pub use xebec_admission::Operation;

use crate::registry::{DeleteOptions, Target, WriteContext};
use crate::resources::Resources;
use crate::watch::Caches;

/// A write as admission sees it.
pub struct Attributes<'a> {
    /// The request: who writes, dry run, and where warnings and audit annotations go.
    pub context: &'a WriteContext,
    /// Who writes.
    pub user: &'a User,
    /// The resource in the version asked for.
    pub served: &'static Resource,
    /// The resource in the version its rules work on.
    pub stored: &'static Resource,
    /// Namespace, empty for none.
    pub namespace: &'a str,
    /// Name; may be empty on a create.
    pub name: &'a str,
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
        let Target { served, stored, namespace, name, .. } = target;
        let user = &context.user;
        Self { context, user, served, stored, namespace, name, subresource, operation, name_generated: false }
    }

    /// The attributes of a question that is answered and not stored.
    #[must_use]
    pub fn asking(
        context: &'a WriteContext,
        served: &'static Resource,
        namespace: &'a str,
        name: &'a str,
    ) -> Self {
        let (user, operation) = (&context.user, Operation::Create);
        let stored = served;
        Self {
            context,
            user,
            served,
            stored,
            namespace,
            name,
            subresource: "",
            operation,
            name_generated: false,
        }
    }

    /// The write as the built-in plug-ins see it.
    fn request(&self) -> Request<'_> {
        let Self { served, stored, namespace, name, .. } = *self;
        Request {
            operation: self.operation,
            user: self.user,
            group: stored.group,
            version: served.version,
            kind: stored.kind,
            plural: stored.plural,
            subresource: self.subresource,
            namespace,
            name,
            dry_run: self.context.dry_run,
        }
    }
}

/// The plug-ins, in upstream's order.
pub struct Admission {
    caches: Arc<Caches>,
    authorizer: Arc<Authorizer>,
    plugins: BTreeSet<Plugin>,
    config: xebec_admission::Config,
    quotas: Reserver<Quotas>,
    dynamic: Dynamic,
    counters: Arc<Counters>,
}

impl Admission {
    /// Admission over the cluster's objects, by the plug-ins that are enabled and their configuration.
    #[must_use]
    pub fn new(
        caches: Arc<Caches>,
        resources: Arc<Resources>,
        store: Arc<dyn Store>,
        authorizer: Arc<Authorizer>,
        plugins: BTreeSet<Plugin>,
        config: xebec_admission::Config,
    ) -> Self {
        let quotas = Reserver::new(Quotas::new(store, Arc::clone(&caches)), config.limited.clone());
        let counters = Arc::new(Counters::default());
        let dynamic = dynamic::new(
            Arc::clone(&caches),
            resources,
            Arc::clone(&authorizer),
            Arc::clone(&counters),
            dynamic::plugins(&plugins),
        );
        Self { caches, authorizer, plugins, config, quotas, dynamic, counters }
    }

    /// Who may do what.
    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// Counters of webhooks and policies.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn call<'a>(&'a self, attributes: &'a Attributes<'_>, old: Option<&'a Value>) -> Call<'a> {
        Call { request: attributes.request(), old, reader: &*self.caches, config: &self.config }
    }

    /// Completes the object (null for deletes); it is already defaulted. Refuses what no completion can make right. What
    /// a policy or webhook changes, the built-in plug-ins see once more, and those who asked for it.
    pub async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        self.mutate_with(attributes, value, old, dynamic::options(attributes)).await
    }

    async fn mutate_with(
        &self,
        attributes: &Attributes<'_>,
        value: &mut Value,
        old: Option<&Value>,
        options: Value,
    ) -> Result<(), ApiError> {
        let request = dynamic::attributes(attributes, old, options);
        let (mut state, record) = (Reinvocation::default(), attributes.context);
        loop {
            self.complete(attributes, value, old).await?;
            let object = if value.is_null() { None } else { Some(&mut *value) };
            self.dynamic.mutate(&request, object, &mut state, record).await?;
            if !state.needed() {
                return Ok(());
            }
            state.begin();
        }
    }

    /// What the built-in plug-ins add. Run again after changes by others, so it adds nothing twice.
    async fn complete(
        &self,
        attributes: &Attributes<'_>,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        for plugin in &self.plugins {
            let questions = plugin.mutate(&self.call(attributes, old), value, &mut rand::rng())?;
            self.ask(questions).await?;
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
        self.validate_with(attributes, value, old, dynamic::options(attributes)).await
    }

    async fn validate_with(
        &self,
        attributes: &Attributes<'_>,
        value: Option<&Value>,
        old: Option<&Value>,
        options: Value,
    ) -> Result<(), ApiError> {
        self.check(attributes, value, old).await?;
        let request = dynamic::attributes(attributes, old, options);
        self.dynamic.validate(&request, value, attributes.context).await
    }

    /// What the built-in plug-ins refuse.
    async fn check(
        &self,
        attributes: &Attributes<'_>,
        value: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        rbac::check(attributes, value, old, &self.authorizer).await?;
        let value = value.unwrap_or(&Value::Null);
        for plugin in &self.plugins {
            let mut findings = Findings::default();
            let result = plugin.validate(&self.call(attributes, old), value, &mut findings);
            attributes.context.warnings.lock().extend(findings.warnings);
            attributes.context.audit_annotations.lock().extend(findings.annotations);
            self.ask(result?).await?;
        }
        Ok(())
    }

    /// Both phases for a delete.
    pub async fn delete(
        &self,
        attributes: &Attributes<'_>,
        old: &Value,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        let options = dynamic::delete_options(attributes.context, options);
        self.mutate_with(attributes, &mut Value::Null, Some(old), options.clone()).await?;
        self.validate_with(attributes, None, Some(old), options).await
    }

    /// Both phases for what is posted and not stored, to a subresource or as a question; the object as completed.
    pub async fn subresource(&self, attributes: &Attributes<'_>, value: &Value) -> Result<Value, ApiError> {
        let mut value = value.clone();
        self.mutate(attributes, &mut value, None).await?;
        self.validate(attributes, Some(&value), None).await?;
        Ok(value)
    }

    /// The same for a subresource that is changed and has an object of its own (a Scale); `old` is what it was.
    pub async fn subresource_update(
        &self,
        attributes: &Attributes<'_>,
        value: &Value,
        old: &Value,
    ) -> Result<Value, ApiError> {
        let mut value = value.clone();
        self.mutate(attributes, &mut value, Some(old)).await?;
        self.validate(attributes, Some(&value), Some(old)).await?;
        Ok(value)
    }

    /// Takes what the write needs of the namespace's quotas, or 403. A write that then fails gives it back by
    /// [`Admission::release`].
    pub async fn reserve(
        &self,
        attributes: &Attributes<'_>,
        value: &Value,
        old: Option<&Value>,
        now: Timestamp,
    ) -> Result<Reservation, ApiError> {
        let request = attributes.request();
        let counted =
            self.plugins.contains(&Plugin::ResourceQuota) && Demand::is_counted(&request, value, old);
        let limited = || {
            self.quotas.limits_by_default()
                || !self.caches.list("", "resourcequotas", Some(request.namespace)).is_empty()
        };
        if !counted || !limited() {
            return Ok(Reservation::default());
        }
        match Demand::of(&request, value, old, now) {
            Some(demand) => self.quotas.reserve(demand).await,
            None => Ok(Reservation::default()),
        }
    }

    /// Gives back what a failed write had taken.
    pub async fn release(&self, reservation: Reservation) {
        self.quotas.release(reservation).await;
    }

    /// Asks what plug-ins want to know about the requester's rights.
    async fn ask(&self, questions: Vec<Question>) -> Result<(), ApiError> {
        for question in questions {
            let mut reason = String::new();
            let mut allowed = false;
            for attributes in &question.any_of {
                let decision = self.authorizer.decide(attributes).await;
                decision.reason().clone_into(&mut reason);
                allowed = decision.allowed();
                if allowed {
                    break;
                }
            }
            if !allowed {
                return Err(question.refuse(&reason));
            }
        }
        Ok(())
    }
}
