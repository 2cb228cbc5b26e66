//! Who owns which fields after a write: structured-merge-diff's Updater. Pure, but for conversions it asks for.
//!
//! Enters: the object before and after, or a configuration to apply, and the managers so far. Leaves: the managers after,
//! and for an apply the merged object or the conflicts. Called by `managed`. Every manager's fields are in the version it
//! wrote in, so objects are compared in each version that occurs. Authority: structured-merge-diff, merge.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;
use xebec_api::status::ApiError;

use super::apply::merged;
use super::fieldset::{self, FieldPath, FieldSet};
use super::merge_schema::SchemaRef;
use super::typed::{self, Comparison};

/// The versions a resource is served in.
#[async_trait]
pub trait Versions: Send + Sync {
    /// How objects of this version merge; none when it is not served.
    fn schema(&self, version: &str) -> Option<SchemaRef>;

    /// `value` of version `from` in version `to`; none when one of them is not served.
    async fn convert(&self, value: &Value, from: &str, to: &str) -> Result<Option<Value>, ApiError>;
}

/// Which fields a write through a subresource is about: what it cannot change it cannot own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All fields.
    All,
    /// All but these top-level fields.
    AllBut(&'static [&'static str]),
    /// These top-level fields alone.
    Only(&'static [&'static str]),
}

impl Reach {
    /// Whether the field is within reach.
    #[must_use]
    pub fn has(self, path: &FieldPath) -> bool {
        let among = |names: &[&str]| match path.first() {
            Some(fieldset::Step::Field(name)) => names.contains(&name.as_str()),
            _ => false,
        };
        match self {
            Self::All => true,
            Self::AllBut(names) => !among(names),
            Self::Only(names) => among(names),
        }
    }
}

/// What tells one manager from another. Appliers are one whatever version they apply in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// Name.
    pub name: String,
    /// Whether it applies; otherwise it updates.
    pub applies: bool,
    /// Version it updates in; empty for appliers.
    pub version: String,
    /// Subresource it writes through; empty for the object itself.
    pub subresource: String,
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The version the fields are in.
    pub version: String,
    /// The fields.
    pub fields: FieldSet,
    /// When they changed last.
    pub time: Option<String>,
}

/// An object's managers.
pub type Managers = BTreeMap<Manager, Owned>;

/// A field that another manager owns and that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Its owner.
    pub with: Manager,
    /// The field.
    pub path: FieldPath,
}

/// Why ownership could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Others own what would change, and the writer does not insist.
    #[error("{} conflicts", .0.len())]
    Conflicts(Vec<Conflict>),
    /// A conversion failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Where a write happens.
pub struct Scope<'a> {
    /// The resource's versions.
    pub versions: &'a dyn Versions,
    /// The version of the write; objects are handed in and out in it.
    pub version: &'a str,
    /// What the write can change.
    pub reach: Reach,
    /// The one field a write through `scale` makes its own, whatever else of the object comes with it.
    pub single: Option<FieldPath>,
}

impl Scope<'_> {
    /// Whether the writer may own the field.
    #[must_use]
    pub fn is_own(&self, path: &FieldPath) -> bool {
        self.reach.has(path) && self.single.as_ref().is_none_or(|single| single == path)
    }

    /// How objects of the write's version merge.
    pub fn schema(&self) -> Result<SchemaRef, ApiError> {
        let missing = || ApiError::internal(format!("no corresponding type for {}", self.version));
        self.versions.schema(self.version).ok_or_else(missing)
    }

    async fn in_version(&self, value: &Value, from: &str, to: &str) -> Result<Option<Value>, ApiError> {
        if from == to { Ok(Some(value.clone())) } else { self.versions.convert(value, from, to).await }
    }

    async fn compare(&self, old: &Value, new: &Value, version: &str) -> Result<Option<Comparison>, ApiError> {
        let Some(schema) = self.versions.schema(version) else { return Ok(None) };
        let mut comparison = if version == self.version {
            typed::compare(old, new, schema.root())
        } else {
            let old = self.versions.convert(old, self.version, version).await?;
            let new = self.versions.convert(new, self.version, version).await?;
            let (Some(old), Some(new)) = (old, new) else { return Ok(None) };
            typed::compare(&old, &new, schema.root())
        };
        comparison.retain(|path| self.reach.has(path));
        Ok(Some(comparison))
    }

    /// The managers with their fields as the schemas of today would have recorded them.
    fn reconcile(&self, managers: &mut Managers) {
        for owned in managers.values_mut() {
            if let Some(schema) = self.versions.schema(&owned.version) {
                owned.fields = fieldset::reconciled(std::mem::take(&mut owned.fields), schema.root());
            }
        }
    }

    /// Takes from all managers but `me` the fields that change from `old` to `new`: with `force`, or else when nobody owns
    /// one. Managers of versions no longer served go.
    async fn take(
        &self,
        old: &Value,
        new: &Value,
        managers: &mut Managers,
        me: Option<&Manager>,
        force: bool,
    ) -> Result<Comparison, Failure> {
        let mut versions: BTreeMap<String, Option<Comparison>> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for (manager, owned) in managers.iter().filter(|(manager, _)| Some(*manager) != me) {
            if !versions.contains_key(&owned.version) {
                versions.insert(owned.version.clone(), self.compare(old, new, &owned.version).await?);
            }
            if let Some(Some(comparison)) = versions.get(&owned.version) {
                let lost: FieldSet = owned.fields.intersection(&comparison.changed()).cloned().collect();
                let paths = fieldset::in_order(&lost).into_iter().cloned();
                conflicts.extend(paths.map(|path| Conflict { with: manager.clone(), path }));
            }
        }
        if !force && !conflicts.is_empty() {
            return Err(Failure::Conflicts(conflicts));
        }
        managers.retain(|manager, owned| {
            if Some(manager) != me {
                let Some(Some(comparison)) = versions.get(&owned.version) else { return false };
                let changed = comparison.changed();
                owned.fields.retain(|path| !changed.contains(path) && !comparison.removed.contains(path));
            }
            !owned.fields.is_empty()
        });
        match versions.remove(self.version).flatten() {
            Some(comparison) => Ok(comparison),
            None => Ok(self.compare(old, new, self.version).await?.unwrap_or_default()),
        }
    }

    /// Settles a write that is not an apply: the fields that changed, no longer owned by anybody.
    pub async fn update(
        &self,
        old: &Value,
        new: &Value,
        managers: &mut Managers,
    ) -> Result<FieldSet, ApiError> {
        self.reconcile(managers);
        match self.take(old, new, managers, None, true).await {
            Ok(comparison) => Ok(comparison.changed()),
            Err(Failure::Api(error)) => Err(error),
            Err(Failure::Conflicts(_)) => Ok(FieldSet::new()),
        }
    }

    /// Applies `config` to `live` as `me`: the object that comes out. The managers are settled too, the time excepted.
    pub async fn apply(
        &self,
        live: &Value,
        config: &Value,
        managers: &mut Managers,
        me: &Manager,
        force: bool,
    ) -> Result<Value, Failure> {
        self.reconcile(managers);
        let schema = self.schema()?;
        let before = managers.get(me).cloned();
        let mut fields = fieldset::fields_of(config, schema.root());
        fields.retain(|path| self.is_own(path));
        let time = before.as_ref().and_then(|before| before.time.clone());
        managers.insert(me.clone(), Owned { version: self.version.to_owned(), fields, time });
        let mut new = merged(live, config, schema.root());
        if let Some(before) = before.filter(|before| !before.fields.is_empty()) {
            new = self.prune(new, managers, &before).await?;
        }
        self.take(live, &new, managers, Some(me), force).await?;
        Ok(new)
    }

    /// Takes out of `new` what the manager applied before, applies no longer and nobody owns.
    async fn prune(&self, new: Value, managers: &Managers, before: &Owned) -> Result<Value, ApiError> {
        let at = before.version.as_str();
        let Some(schema) = self.versions.schema(at) else { return Ok(new) };
        let Some(merged) = self.in_version(&new, self.version, at).await? else { return Ok(new) };
        let last = fieldset::with_parents(&before.fields, schema.root());
        let pruned =
            self.put_back(&merged, typed::without(&merged, schema.root(), &last), at, managers).await?;
        // Gone are what this manager owned, but not what stood beside it and belonged to nobody.
        let fields =
            |value: &Value| fieldset::with_parents(&fieldset::fields_of(value, schema.root()), schema.root());
        let left = fields(&pruned);
        let gone: FieldSet =
            fields(&merged).into_iter().filter(|path| !left.contains(path) && last.contains(path)).collect();
        if gone.is_empty() {
            return Ok(new);
        }
        let pruned = typed::without(&merged, schema.root(), &gone);
        Ok(self.in_version(&pruned, at, self.version).await?.unwrap_or(new))
    }

    /// `pruned` with everything of `merged` (both of version `at`) that somebody owns.
    async fn put_back(
        &self,
        merged: &Value,
        mut pruned: Value,
        at: &str,
        managers: &Managers,
    ) -> Result<Value, ApiError> {
        let mut owned: BTreeMap<&str, FieldSet> = BTreeMap::new();
        for manager in managers.values() {
            owned.entry(&manager.version).or_default().extend(manager.fields.iter().cloned());
        }
        // The version of the objects first: what is missing in them might fail a conversion.
        let others: Vec<&str> = owned.keys().copied().filter(|version| *version != at).collect();
        for version in std::iter::once(at).chain(others) {
            let (Some(owned), Some(schema)) = (owned.get(version), self.versions.schema(version)) else {
                continue;
            };
            let (Some(whole), Some(part)) =
                (self.in_version(merged, at, version).await?, self.in_version(&pruned, at, version).await?)
            else {
                continue;
            };
            let root = schema.root();
            let fields = |value: &Value| fieldset::with_parents(&fieldset::fields_of(value, root), root);
            let (kept, owned) = (fields(&part), fieldset::with_parents(owned, root));
            let gone: FieldSet = fields(&whole)
                .into_iter()
                .filter(|path| !kept.contains(path) && !owned.contains(path))
                .collect();
            let part = typed::without(&whole, root, &gone);
            pruned = self.in_version(&part, version, at).await?.unwrap_or(pruned);
        }
        Ok(pruned)
    }
}
