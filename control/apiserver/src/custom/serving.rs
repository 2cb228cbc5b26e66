//! A definition as it is served: its cache and the kinds of its versions.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use xebec_api::resource::{Resource, intern, intern_resource};
use xebec_crd::definition::Definition;
use xebec_crd::served;
use xebec_kinds::Strategy;

use super::convert::Converter;
use super::version::{State, Version};
use crate::registry::MergeSchema;
use crate::resources::{Custom, Kind, StrategyRef};
use crate::watch::Cache;

/// A definition that is served.
pub(super) struct Served {
    pub(super) uid: String,
    pub(super) spec: Value,
    pub(super) names: Value,
    pub(super) state: State,
    pub(super) cache: Arc<Cache>,
    pub(super) converter: Arc<Converter>,
    pub(super) merges: HashMap<&'static str, Arc<MergeSchema>>,
    pub(super) kinds: Vec<Arc<Kind>>,
}

impl Served {
    /// Makes the kinds of all served versions, as the state says.
    pub(super) fn make_kinds(&mut self) {
        let rules = &self.converter.rules;
        let kinds = rules.versions().filter_map(|(version, _)| {
            let row = served::resource(&rules.definition, version, self.state.terminating, &intern)?;
            Some(Arc::new(self.kind(version, row)?))
        });
        self.kinds = kinds.collect();
    }

    /// The kind objects are stored as, served or not; none when no names are accepted.
    pub(super) fn stored_kind(&self) -> Option<Arc<Kind>> {
        let rules = &self.converter.rules;
        let mut definition = Definition::clone(&rules.definition);
        for version in &mut definition.versions {
            version.served |= version.storage;
        }
        let row = served::resource(&definition, rules.storage_version, false, &intern)?;
        self.kind(rules.storage_version, row).map(Arc::new)
    }

    fn kind(&self, version: &'static str, row: Resource) -> Option<Kind> {
        let (_, strategy) = self.converter.rules.versions().find(|(name, _)| *name == version)?;
        let merge = Arc::clone(self.merges.get(version)?);
        let converter = Arc::clone(&self.converter);
        let custom = Version::new(version, Arc::clone(strategy), converter, merge, self.state);
        let custom: Arc<dyn Custom> = Arc::new(custom);
        let row = intern_resource(row);
        let strategy: Arc<dyn Strategy> = Arc::clone(strategy) as _;
        Some(Kind {
            served: row,
            stored: row,
            strategy: StrategyRef::Custom(strategy),
            cache: Some(Arc::clone(&self.cache)),
            custom: Some(custom),
        })
    }
}
