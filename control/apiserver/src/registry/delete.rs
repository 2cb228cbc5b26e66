//! DELETE of one object and of a collection.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::{self, ApiError};
use xebec_crd::status::begin_deletion;
use xebec_store::Expect;

use super::delete_plan::{DeletePlan, plan};
use super::{PutError, Registry, Target, WriteContext, namespace};
use crate::admission::{Attributes, Operation};
use crate::watch::{Cut, Object, Selection};

pub use super::delete_plan::DeleteOptions;

/// Attempts against others writing the same object.
const ATTEMPTS: usize = 16;

/// What came of a delete.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The object's last or marked state, in its stored version.
    pub value: Value,
    /// Whether it is gone.
    pub gone: bool,
}

impl Deleted {
    /// The answer's body: kinds upstream returns whole, or a Status when the object is gone.
    #[must_use]
    pub fn answer(&self, target: &Target) -> Option<Value> {
        let core = target.stored.group.is_empty();
        let whole = core
            && matches!(
                target.stored.plural,
                "pods"
                    | "services"
                    | "serviceaccounts"
                    | "persistentvolumes"
                    | "persistentvolumeclaims"
                    | "podtemplates"
                    | "resourcequotas"
            );
        (self.gone && !whole).then(|| {
            let served = target.served;
            status::success(served.group, served.plural, meta::name(&self.value), meta::uid(&self.value))
        })
    }
}

impl Registry {
    /// Deletes one object, or marks it so that its holders let it go.
    pub async fn delete(
        &self,
        context: &WriteContext,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        self.delete_as(context, target, options, true).await
    }

    /// A delete; without `admit` when something else was admitted that leads to it (an eviction).
    pub(super) async fn delete_as(
        &self,
        context: &WriteContext,
        target: &Target,
        options: &DeleteOptions,
        admit: bool,
    ) -> Result<Deleted, ApiError> {
        let pinned = options.resource_version.is_some();
        for _ in 0..ATTEMPTS {
            let Some(current) = self.current(target).await? else { return Err(target.not_found()) };
            match self.delete_once(context, target, options, admit, &current).await {
                Ok(deleted) => return Ok(deleted),
                Err(PutError::Api(error)) => return Err(error),
                Err(PutError::Conflict(None)) => return Err(target.not_found()),
                Err(PutError::Conflict(_)) if pinned => return Err(target.modified()),
                Err(PutError::Conflict(_)) => {}
            }
        }
        Err(target.modified())
    }

    async fn delete_once(
        &self,
        context: &WriteContext,
        target: &Target,
        options: &DeleteOptions,
        admit: bool,
        current: &Object,
    ) -> Result<Deleted, PutError> {
        let old = current.value();
        check_preconditions(target, options, &old)?;
        if admit {
            let attributes = Attributes::new(context, target, "", Operation::Delete);
            self.admission.delete(&attributes, &old, options).await?;
        }
        let now = self.now();
        let plan = if target.is_core("namespaces") {
            namespace::delete_plan(&old, now)
        } else if is_definition(target) && meta::deletion_timestamp(&old).is_none() {
            // A definition goes after its objects; the loop over definitions sees to them.
            DeletePlan::Mark(begin_deletion(&old, now))
        } else {
            let graceful = target.strategy.graceful_deletion_seconds(&old, options.grace);
            plan(&old, options, graceful, orphans_by_default(target), now)
        };
        let dry = context.dry_run || options.dry_run;
        match plan {
            DeletePlan::Nothing => Ok(Deleted { value: Value::clone(&old), gone: false }),
            DeletePlan::Mark(value) if dry => Ok(Deleted { value, gone: false }),
            DeletePlan::Mark(value) => {
                let written = self.put(target, value, Expect::Revision(current.revision)).await?;
                Ok(Deleted { value: written.value, gone: false })
            }
            DeletePlan::Remove if dry => Ok(Deleted { value: Value::clone(&old), gone: true }),
            DeletePlan::Remove => {
                let value = self.remove(target, current).await?;
                Ok(Deleted { value, gone: true })
            }
        }
    }

    /// Deletes every chosen object; the objects as they were found.
    pub async fn delete_collection(
        &self,
        context: &WriteContext,
        target: &Target,
        selection: &Selection,
        options: &DeleteOptions,
    ) -> Result<Vec<Value>, ApiError> {
        self.settle().await?;
        let listed = target.select(selection, Cut::default()).await?;
        let mut deleted = Vec::with_capacity(listed.objects.len());
        for object in listed.objects {
            let one = target.named(&object.namespace, &object.name);
            match self.delete(context, &one, options).await {
                Ok(result) => deleted.push(result.value),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(deleted)
    }
}

fn check_preconditions(target: &Target, options: &DeleteOptions, old: &Value) -> Result<(), ApiError> {
    if let Some(wanted) = &options.uid
        && wanted != meta::uid(old)
    {
        return Err(target.conflict(&format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            meta::uid(old)
        )));
    }
    if let Some(wanted) = &options.resource_version
        && wanted != meta::resource_version(old)
    {
        return Err(target.conflict(&format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({}). The \
             object might have been modified",
            meta::resource_version(old)
        )));
    }
    Ok(())
}

fn is_definition(target: &Target) -> bool {
    (target.stored.group, target.stored.plural) == ("apiextensions.k8s.io", "customresourcedefinitions")
}

fn orphans_by_default(target: &Target) -> bool {
    matches!((target.stored.group, target.stored.plural), ("batch", "jobs") | ("", "replicationcontrollers"))
}
