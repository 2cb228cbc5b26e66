//! PUT and everything that changes an existing object: one loop of read, edit, check, compare-and-swap.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_store::{Expect, StoreError};

use super::create::kinds_context;
use super::{Editor, PutError, Registry, Target, WriteContext, Written, metadata, namespace};
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

    /// Whether admission looks at the change itself: a binding is admitted as the Binding that was posted.
    fn is_admitted_here(self) -> bool {
        self != Self::Other("binding")
    }
}

/// Options of an update.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpdateOptions {
    /// Create the object when it does not exist (PUT where the kind allows it, server-side apply).
    pub create: bool,
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
        let options = UpdateOptions { create: sub == Sub::Main && target.strategy.create_on_update() };
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
            match self.write(context, target, sub, &current, value).await {
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
        if sub.is_admitted_here() {
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
        errors.extend(match sub {
            Sub::Main => target.strategy.validate_update(&value, &old),
            Sub::Status => target.strategy.validate_status_update(&value, &old),
            Sub::Other(sub) => target.strategy.validate_subresource_update(sub, &value, &old),
        });
        let result = if errors.is_empty() {
            self.admitted(&attributes, sub, current, value).await
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
        sub: Sub,
        current: &Object,
        value: Value,
    ) -> Result<Written, PutError> {
        let (context, target) = (attributes.context, attributes.target);
        if !sub.is_admitted_here() {
            return self.commit(context, target, sub, current, value).await;
        }
        let old = current.value();
        self.admission.validate(attributes, Some(&value), Some(&old)).await?;
        let taken = self.admission.reserve(attributes, &value, Some(&old), self.now()).await?;
        let written = self.commit(context, target, sub, current, value).await;
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
            context.warnings.lock().extend(target.strategy.warnings(&value));
        }
        if metadata::same(&value, &old) {
            return Ok(Written { value: Value::clone(&old), created: false, deleted: false });
        }
        if should_remove(target, &value, &old) {
            if !context.dry_run {
                self.remove(target, current.revision).await?;
            }
            return Ok(Written { value, created: false, deleted: true });
        }
        if context.dry_run {
            let mut value = value;
            crate::watch::set_resource_version(&mut value, current.revision);
            return Ok(Written { value, created: false, deleted: false });
        }
        self.put(target, value, Expect::Revision(current.revision)).await
    }

    /// Removes the object from the store at `revision` and lets go of what it held.
    pub(super) async fn remove(&self, target: &Target, revision: u64) -> Result<Value, PutError> {
        let key = target.cache.key(&target.namespace, &target.name);
        match self.store.delete(&key, Expect::Revision(revision)).await {
            Ok((at, entry)) => {
                self.settle_at(at).await?;
                let mut value: Value = serde_json::from_slice(&entry.value)
                    .map_err(|error| ApiError::internal(error.to_string()))?;
                crate::watch::set_resource_version(&mut value, at);
                self.release_all(target, &value).await;
                Ok(value)
            }
            Err(StoreError::Conflict { current, .. }) => Err(PutError::Conflict(current)),
            Err(error) => Err(PutError::Api(super::store_error(error))),
        }
    }
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
        && !(target.stored.plural == "namespaces" && namespace::held(value))
}
