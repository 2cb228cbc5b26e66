//! POST: a new object.

use serde_json::Value;
use uuid::Uuid;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_kinds::Context;
use xebec_store::Expect;

use super::{PutError, Registry, Sub, Target, WriteContext, Written, expressions, metadata, requester};
use crate::admission::{Attributes, Operation};

/// Attempts with another generated name before the client is told to retry.
const NAME_ATTEMPTS: usize = 8;

impl Registry {
    /// Creates `value` (stored version) in the target's namespace; the name comes from the object.
    pub async fn create(
        &self,
        context: &WriteContext,
        target: &Target,
        value: Value,
    ) -> Result<Written, ApiError> {
        if metadata::wanted_version(&value).is_some() {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        self.settle().await?;
        let value = self.admit_new(context, target, value).await?;
        let base = value["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
        if !meta::name(&value).is_empty() || base.is_empty() {
            let target = target.named(&target.namespace, meta::name(&value));
            return match self.try_create(context, &target, value, false).await {
                Ok(written) => Ok(written),
                Err(PutError::Api(error)) => Err(error),
                Err(PutError::Conflict(_)) => Err(already_exists(&target)),
            };
        }
        let mut last = target.clone();
        for _ in 0..NAME_ATTEMPTS {
            let mut named = value.clone();
            let name = metadata::generated_name(&base);
            metadata::metadata(&mut named).insert("name".to_owned(), Value::String(name.clone()));
            last = target.named(&target.namespace, &name);
            match self.try_create(context, &last, named, true).await {
                Ok(written) => return Ok(written),
                Err(PutError::Api(error)) => return Err(error),
                Err(PutError::Conflict(_)) => {}
            }
        }
        Err(ApiError::generate_name_conflict(last.served.group, last.served.plural, &last.name))
    }

    /// The object as mutating admission leaves it: before the server names it and says when and by which uid it is.
    async fn admit_new(
        &self,
        context: &WriteContext,
        target: &Target,
        mut value: Value,
    ) -> Result<Value, ApiError> {
        if target.served.namespaced {
            let namespace = Value::String(target.namespace.clone());
            metadata::metadata(&mut value).insert("namespace".to_owned(), namespace);
        } else {
            metadata::metadata(&mut value).remove("namespace");
        }
        target.strategy.defaults(&mut value);
        self.track(context, target, Sub::Main, &mut value, None).await;
        let generated = meta::name(&value).is_empty();
        let name = if generated { &value["metadata"]["generateName"] } else { &value["metadata"]["name"] };
        let target = &target.named(&target.namespace, name.as_str().unwrap_or_default());
        let mut attributes = Attributes::new(context, target, "", Operation::Create);
        attributes.name_generated = generated;
        let managers = value["metadata"]["managedFields"].clone();
        self.admission.mutate(&attributes, &mut value, None).await?;
        Self::check_managers(context, &mut value, &managers);
        Ok(value)
    }

    async fn try_create(
        &self,
        context: &WriteContext,
        target: &Target,
        mut value: Value,
        name_generated: bool,
    ) -> Result<Written, PutError> {
        metadata::fill_for_create(&mut value, self.now(), Uuid::new_v4().to_string());
        let mut attributes = Attributes::new(context, target, "", Operation::Create);
        attributes.name_generated = name_generated;
        let reserved = self.reserve(context, target, &mut value, None).await?;
        let result = self.finish_create(context, target, value, &attributes).await;
        match &result {
            Ok(_) if !context.dry_run => {}
            _ => self.release(reserved).await,
        }
        result
    }

    async fn finish_create(
        &self,
        context: &WriteContext,
        target: &Target,
        mut value: Value,
        attributes: &Attributes<'_>,
    ) -> Result<Written, PutError> {
        let now = self.now();
        let kinds = kinds_context(context, target, now);
        target.strategy.prepare_for_create(&kinds, &mut value);
        requester::complete(target, &context.user, &mut value);
        metadata::drop_empty(&mut value);
        let mut errors = self.check_admin_request(target, &value).await;
        errors.extend(target.strategy.validate(&value));
        errors.extend(expressions::errors(&*target.strategy, &value, None));
        if !errors.is_empty() {
            let name = meta::name(&value);
            return Err(ApiError::invalid(target.served.group, target.served.kind, name, errors).into());
        }
        self.admission.validate(attributes, Some(&value), None).await?;
        context.warnings.lock().extend(target.strategy.warnings(&value));
        let taken = self.admission.reserve(attributes, &value, None, now).await?;
        if context.dry_run {
            if target.cache.get(&target.namespace, &target.name).is_some() {
                return Err(already_exists(target).into());
            }
            return Ok(Written { created: true, ..Written::unstored(value) });
        }
        let written = self.put(target, value, Expect::Absent).await;
        if written.is_err() {
            self.admission.release(taken).await;
        }
        written
    }
}

/// What the kind's strategy is told about the request.
pub(super) fn kinds_context<'a>(
    context: &'a WriteContext,
    target: &'a Target,
    now: jiff::Timestamp,
) -> Context<'a> {
    Context {
        user: &context.user.name,
        now,
        namespace: &target.namespace,
        version: target.served.version,
        dry_run: context.dry_run,
    }
}

fn already_exists(target: &Target) -> ApiError {
    ApiError::already_exists(target.served.group, target.served.plural, &target.name)
}
