//! Field ownership in the versions a resource is served in, and its place in every write.
//!
//! Enters: objects in the version a kind's rules work on. Leaves: the same with their `metadata.managedFields` kept.
//! Called by create, update and apply. Conversions are the kinds' own; those of custom resources may ask a webhook.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use xebec_api::resource::{self, Resource};
use xebec_api::status::ApiError;

use super::fieldset::{FieldPath, Step};
use super::managed::{self, Writer};
use super::merge_schema::SchemaRef;
use super::updater::{Reach, Scope, Versions};
use super::{Registry, Sub, Target, WriteContext, from_storage, metadata, to_storage};
use crate::resources::{Custom, Resources, Scaled, stored_as};
use crate::watch::Object;

/// The versions of a target's resource.
pub struct Served<'a> {
    resources: &'a Resources,
    target: &'a Target,
}

impl<'a> Served<'a> {
    /// Of `target`.
    #[must_use]
    pub fn new(resources: &'a Resources, target: &'a Target) -> Self {
        Self { resources, target }
    }

    fn built_in(&self, version: &str) -> Option<&'static Resource> {
        let (group, version) = resource::split_api_version(version);
        let row = resource::lookup(group, version, self.target.stored.plural)?;
        std::ptr::eq(stored_as(row), self.target.stored).then_some(row)
    }

    fn custom(&self, version: &str) -> Option<Arc<dyn crate::resources::Custom>> {
        if version == self.target.served.api_version() {
            return self.target.custom.clone();
        }
        let (group, version) = resource::split_api_version(version);
        self.resources.lookup(group, version, self.target.stored.plural)?.custom.clone()
    }
}

#[async_trait]
impl Versions for Served<'_> {
    fn schema(&self, version: &str) -> Option<SchemaRef> {
        if self.target.custom.is_some() {
            return self.custom(version).map(SchemaRef::Custom);
        }
        self.built_in(version).map(SchemaRef::BuiltIn)
    }

    async fn convert(&self, value: &Value, from: &str, to: &str) -> Result<Option<Value>, ApiError> {
        if self.target.custom.is_none() {
            let (Some(from), Some(to)) = (self.built_in(from), self.built_in(to)) else { return Ok(None) };
            let stored = self.target.stored;
            return Ok(Some(from_storage(to, stored, to_storage(from, stored, value.clone()))));
        }
        let (Some(from), Some(to)) = (self.custom(from), self.custom(to)) else { return Ok(None) };
        let stored = from.encode(value.clone()).await?;
        let object = Arc::new(Object::new(stored, 0, None));
        let mut converted = to.decode(vec![object]).await?.pop().map(|object| object.parse());
        if let Some(converted) = &mut converted {
            // The revision was none of the value's.
            match value["metadata"].get("resourceVersion") {
                Some(version) => {
                    metadata::metadata(converted).insert("resourceVersion".to_owned(), version.clone())
                }
                None => metadata::metadata(converted).remove("resourceVersion"),
            };
        }
        Ok(converted)
    }
}

/// What a write through `sub` can own: the status is written through its subresource alone, and nothing else there.
/// Authority: the GetResetFields of the kinds' strategies.
#[must_use]
pub fn reach(target: &Target, sub: &str) -> Reach {
    let has_status = target.strategy.facts().empty_status.is_some();
    match sub {
        "status" if target.custom.is_some() => Reach::Only(&["status"]),
        "status" => Reach::Only(&["status", "metadata"]),
        "approval" => Reach::AllBut(&["spec"]),
        "" | "ephemeralcontainers" | "resize" if has_status => Reach::AllBut(&["status"]),
        _ => Reach::All,
    }
}

/// The replicas, when the write comes through `scale`. Authority: apimachinery's managedfields `ScaleHandler`.
#[must_use]
pub fn single(context: &WriteContext, target: &Target) -> Option<FieldPath> {
    let scale = target.custom.as_deref().and_then(Custom::scale);
    let path = || scale.map_or_else(|| vec!["spec", "replicas"], Scaled::replicas_path);
    (context.through == "scale")
        .then(|| path().into_iter().map(|name| Step::Field(name.to_owned())).collect())
}

impl Registry {
    /// Gives what the write changes to its field manager. A failed conversion leaves the managers as they were.
    pub(super) async fn track(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        value: &mut Value,
        old: Option<&Value>,
    ) {
        // A binding writes the pod's node as the scheduler's word, not as a field of anybody's.
        if context.applying || sub == Sub::Other("binding") {
            return;
        }
        let writer =
            Writer { name: &context.field_manager, subresource: context.subresource(sub), now: self.now() };
        let versions = Served::new(&self.resources, target);
        let version = target.served.api_version();
        let scope = Scope {
            versions: &versions,
            version: &version,
            reach: reach(target, sub.name()),
            single: single(context, target),
        };
        let same = std::ptr::eq(target.served, target.stored);
        let managers = if same {
            managed::updated(&scope, old, value, writer).await
        } else {
            let shown = |value: &Value| from_storage(target.served, target.stored, value.clone());
            managed::updated(&scope, old.map(shown).as_ref(), &shown(value), writer).await
        };
        match managers {
            Ok(managers) => managed::encode(value, &managers),
            Err(error) => {
                tracing::warn!(%error, resource = target.stored.plural, name = target.name, "field managers not updated");
                keep(value, old.map_or(&Value::Null, |old| &old["metadata"]["managedFields"]));
            }
        }
    }

    /// Takes back what admission made of the managers when it is not well-formed, with a warning.
    pub(super) fn check_managers(context: &WriteContext, value: &mut Value, before: &Value) {
        if let Err(why) = managed::decode(value) {
            keep(value, before);
            context.warnings.lock().push(format!(
                ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated \
                 mutating admission controller; please fix your requests: {why}"
            ));
        }
    }
}

fn keep(value: &mut Value, managers: &Value) {
    let metadata = metadata::metadata(value);
    match managers {
        Value::Null => metadata.remove("managedFields"),
        managers => metadata.insert("managedFields".to_owned(), managers.clone()),
    };
}
