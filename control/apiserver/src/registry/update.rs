//! PUT and everything that changes an existing object: one loop of read, edit, check, compare-and-swap.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_store::{Expect, StoreError};

use super::create::kinds_context;
use super::{Editor, PutError, Registry, Target, WriteContext, Written, expressions, metadata, namespace};
use crate::admission::{Attributes, Operation};
use crate::watch::Object;

/// Attempts of a write that names no revision, against others writing the same object.
const ATTEMPTS: usize = 16;

/// Which part of the object a write is about; decides which of the kind's rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sub {
    /// The object itself.
    Main,
    /// Its status subresource.
    Status,
    /// A subresource whose editor keeps everything it does not mean to change (finalize, binding, ...).
    Other(&'static str),
}

impl Sub {
    /// The subresource's name, empty for the object itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Other(name) => name,
        }
    }
}

/// Options of an update.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpdateOptions {
    /// Create the object when it does not exist (PUT where the kind allows it, server-side apply).
    pub create: bool,
    /// Admission was asked about the subresource's own object (a Scale, a Binding): not about this one too.
    pub admitted: bool,
}

impl Registry {
    /// Replaces the object by `value` (stored version).
    pub async fn replace(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        value: Value,
    ) -> Result<Written, ApiError> {
        if metadata::wanted_version(&value).is_none() && !target.strategy.unconditional_update() {
            let path = xebec_api::field::Path::new("metadata").child("resourceVersion");
            let error = xebec_api::field::FieldError::invalid(&path, 0, "must be specified for an update");
            return Err(ApiError::invalid(
                target.served.group,
                target.served.kind,
                &target.name,
                vec![error],
            ));
        }
        let options =
            UpdateOptions { create: sub == Sub::Main && target.strategy.create_on_update(), admitted: false };
        self.update(context, target, sub, options, &move |_| Ok(value.clone())).await
    }

    /// Changes the object by `editor`, which is called again after a lost race: an edit that carried its revision along
    /// from the old object then carries the new one, one that names a revision of its own is a conflict.
    pub async fn update(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        options: UpdateOptions,
        editor: &Editor<'_>,
    ) -> Result<Written, ApiError> {
        for _ in 0..ATTEMPTS {
            let Some(current) = self.current(target).await? else {
                if !options.create {
                    return Err(target.not_found());
                }
                let mut value = editor(&Value::Null)?;
                if metadata::wanted_version(&value).is_some() {
                    return Err(target.not_found());
                }
                metadata::metadata(&mut value).insert("name".to_owned(), Value::String(target.name.clone()));
                match self.create(context, target, value).await {
                    Err(error) if error.reason == xebec_api::status::Reason::AlreadyExists => continue,
                    result => return result,
                }
            };
            let old = current.value();
            let value = editor(&old)?;
            match self.write(context, target, sub, options, &current, value).await {
                Ok(written) => return Ok(written),
                Err(PutError::Api(error)) => return Err(error),
                Err(PutError::Conflict(None)) if !options.create => return Err(target.not_found()),
                Err(PutError::Conflict(_)) => {}
            }
        }
        Err(target.modified())
    }

    async fn write(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        options: UpdateOptions,
        current: &Object,
        mut value: Value,
    ) -> Result<Written, PutError> {
        let old = current.value();
        check_identity(target, &value, &old)?;
        let now = self.now();
        if target.served.namespaced {
            let namespace = Value::String(target.namespace.clone());
            metadata::metadata(&mut value).insert("namespace".to_owned(), namespace);
        }
        metadata::keep_for_update(&mut value, &old);
        target.strategy.defaults(&mut value);
        // What admission and the kind's rules add from here on is nobody's.
        self.track(context, target, sub, &mut value, Some(&old)).await;
        let attributes = Attributes::new(context, target, sub.name(), Operation::Update);
        if !options.admitted {
            let managers = value["metadata"]["managedFields"].clone();
            self.admission.mutate(&attributes, &mut value, Some(&old)).await?;
            Self::check_managers(context, &mut value, &managers);
        }
        let reserved = match sub {
            Sub::Main => self.reserve(context, target, &mut value, Some(&old)).await?,
            _ => Default::default(),
        };
        let kinds = kinds_context(context, target, now);
        let mut errors = metadata::check_finalizers(&value, &old);
        match sub {
            Sub::Main => target.strategy.prepare_for_update(&kinds, &mut value, &old),
            Sub::Status => target.strategy.prepare_for_status_update(&kinds, &mut value, &old),
            Sub::Other(sub) => target.strategy.prepare_for_subresource_update(sub, &kinds, &mut value, &old),
        }
        metadata::drop_empty(&mut value);
        let mut forgiven = Vec::new();
        errors.extend(match sub {
            Sub::Main => {
                let checked = target.custom.as_ref().and_then(|custom| custom.check_update(&value, &old));
                let (mut errors, warnings) =
                    checked.unwrap_or_else(|| (target.strategy.validate_update(&value, &old), Vec::new()));
                forgiven = warnings;
                errors.extend(expressions::errors(&*target.strategy, &value, Some(&old)));
                errors
            }
            Sub::Status => {
                let mut errors = self.check_admin_grant(target, &value, &old).await;
                errors.extend(target.strategy.validate_status_update(&value, &old));
                errors.extend(self.check_claim_rights(context, target, &value, &old).await);
                errors
            }
            Sub::Other(sub) => target.strategy.validate_subresource_update(sub, &value, &old),
        });
        context.warnings.lock().extend(forgiven);
        let result = if errors.is_empty() {
            if options.admitted {
                self.commit(context, target, sub, current, value).await
            } else {
                self.admitted(&attributes, target, sub, current, value).await
            }
        } else {
            Err(ApiError::invalid(target.served.group, target.served.kind, &target.name, errors).into())
        };
        match &result {
            Ok(_) if !context.dry_run => self.settle_reservation(reserved).await,
            _ => self.release(reserved).await,
        }
        result
    }

    /// The last of admission, then the write; what it had taken of quotas goes back when it fails.
    async fn admitted(
        &self,
        attributes: &Attributes<'_>,
        target: &Target,
        sub: Sub,
        current: &Object,
        value: Value,
    ) -> Result<Written, PutError> {
        let old = current.value();
        self.admission.validate(attributes, Some(&value), Some(&old)).await?;
        let taken = self.admission.reserve(attributes, &value, Some(&old), self.now()).await?;
        let written = self.commit(attributes.context, target, sub, current, value).await;
        if written.is_err() {
            self.admission.release(taken).await;
        }
        written
    }

    async fn commit(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        current: &Object,
        value: Value,
    ) -> Result<Written, PutError> {
        let old = current.value();
        if sub == Sub::Main {
            context.warnings.lock().extend(target.strategy.update_warnings(&value, &old));
        }
        if metadata::same(&value, &old) && !is_stored_elsewhere(target) {
            return self.unchanged(context, target, current).await;
        }
        if should_remove(target, &value, &old) {
            if !context.dry_run {
                self.remove(target, current).await?;
            }
            return Ok(Written { deleted: true, ..Written::unstored(value) });
        }
        if context.dry_run {
            let mut value = value;
            crate::watch::set_resource_version(&mut value, current.revision);
            return Ok(Written::unstored(value));
        }
        self.put(target, value, Expect::Revision(current.revision)).await
    }

    /// A write that changes nothing: it is none, unless the stored form is stale (encrypted with a key that is on its way
    /// out). Then the same object is stored anew, which is how `kubectl replace` re-encrypts.
    async fn unchanged(
        &self,
        context: &WriteContext,
        target: &Target,
        current: &Object,
    ) -> Result<Written, PutError> {
        let key = target.cache.key(&target.namespace, &target.name);
        let value = Value::clone(&current.value());
        if !context.dry_run && self.store.is_stale(&key).await.map_err(super::store_error)? {
            return self.put(target, value, Expect::Revision(current.revision)).await;
        }
        Ok(Written::unstored(value))
    }

    /// Removes the object from the store as it is now and lets go of what it held; its last state.
    pub(super) async fn remove(&self, target: &Target, current: &Object) -> Result<Value, PutError> {
        let key = target.cache.key(&target.namespace, &target.name);
        match self.store.delete(&key, Expect::Revision(current.revision)).await {
            Ok((at, _)) => {
                self.settle_at(at).await?;
                let mut value = current.parse();
                crate::watch::set_resource_version(&mut value, at);
                self.release_all(target, &value).await;
                Ok(value)
            }
            Err(StoreError::Conflict { current, .. }) => Err(PutError::Conflict(current)),
            Err(error) => Err(PutError::Api(super::store_error(error))),
        }
    }
}

/// Whether a custom resource's object is stored in a version it should no longer be stored in.
fn is_stored_elsewhere(target: &Target) -> bool {
    let Some(custom) = &target.custom else { return false };
    target.cache.get(&target.namespace, &target.name).is_some_and(|stored| !custom.is_current(&stored))
}

/// The revision and uid an update names must be the object's.
fn check_identity(target: &Target, value: &Value, old: &Value) -> Result<(), ApiError> {
    let uid = meta::uid(value);
    if !uid.is_empty() && uid != meta::uid(old) {
        return Err(target.conflict(&format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(old)
        )));
    }
    match metadata::wanted_version(value) {
        Some(wanted) if wanted != meta::resource_version(old) => {
            super::read::parse_version(wanted)?;
            Err(target.modified())
        }
        _ => Ok(()),
    }
}

/// Whether this update takes the last thing that held an object already being deleted.
fn should_remove(target: &Target, value: &Value, old: &Value) -> bool {
    meta::finalizers(value).is_empty()
        && meta::deletion_timestamp(old).is_some()
        && old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !(target.is_core("namespaces") && namespace::held(value))
}
