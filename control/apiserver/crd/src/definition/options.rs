//! How strict validation is: a new definition must keep every rule, an old one those it has kept before.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::Path;
use xebec_kinds::shared::access::{at, flag, list, text, texts};

use super::{Definition, MAX_SELECTABLE_FIELDS, Version, conversion, openapi, webhook};
use crate::schema::{Schema, structural_errors};
use crate::shape;

/// Which rules hold.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// A conversion webhook must speak a version of ConversionReview the server speaks.
    pub require_recognized_review: bool,
    /// Scope and kind may not change.
    pub immutable_names: bool,
    /// Every version has a schema.
    pub require_schema: bool,
    /// Every `type` is one.
    pub require_valid_type: bool,
    /// Every schema is structural.
    pub require_structural: bool,
    /// Defaults have no unknown fields.
    pub require_pruned_defaults: bool,
    /// Elements of sets are atomic.
    pub require_atomic_set: bool,
    /// Keys of map lists are always there.
    pub require_map_keys: bool,
    /// The CA bundle of a conversion webhook is one.
    pub require_ca_bundle: bool,
    /// Versions whose too many selectable fields were there before; the empty name is what all versions share.
    pub too_many_selectable: BTreeSet<String>,
    /// Versions whose schema has not changed.
    pub unchanged_schemas: BTreeSet<String>,
}

impl Options {
    /// The rules of a new definition. Its CA bundle may be put in before it is established.
    pub fn create() -> Self {
        Self {
            require_recognized_review: true,
            immutable_names: false,
            require_schema: true,
            require_valid_type: true,
            require_structural: true,
            require_pruned_defaults: true,
            require_atomic_set: true,
            require_map_keys: true,
            require_ca_bundle: false,
            too_many_selectable: BTreeSet::new(),
            unchanged_schemas: BTreeSet::new(),
        }
    }

    /// The rules of an update of `old`.
    pub fn update(new: &Value, old: &Value) -> Self {
        let (after, before) = (Definition::read(new), Definition::read(old));
        let none = |bad: &mut dyn FnMut(&Schema) -> bool| {
            !before.versions.iter().filter_map(|version| version.schema.as_deref()).any(&mut *bad)
        };
        let everywhere = |bad: fn(&Schema) -> bool| none(&mut |schema| schema.any(&mut |schema| bad(schema)));
        let review = texts(old, &["spec", "conversion", "webhook", "conversionReviewVersions"]);
        let established = is_established(old);
        Self {
            require_recognized_review: !at(old, &["spec", "conversion"]).is_object()
                || conversion::speaks(&review),
            immutable_names: established,
            require_schema: before.versions.iter().all(|version| version.schema.is_some()),
            require_valid_type: everywhere(has_invalid_type),
            require_structural: none(&mut |schema| {
                schema.unsupported().is_some() || !structural_errors(schema, &Path::root()).is_empty()
            }),
            require_pruned_defaults: none(&mut has_unpruned_default),
            require_atomic_set: everywhere(|schema| {
                schema.ext.list_type.as_deref() == Some("set")
                    && openapi::set_items(schema, &Path::root()).is_some()
            }),
            require_map_keys: everywhere(|schema| !openapi::map_keys(schema, &Path::root()).is_empty()),
            require_ca_bundle: established && has_good_ca_bundle(old),
            too_many_selectable: too_many_before(&after, &before),
            unchanged_schemas: unchanged(&after, &before),
        }
    }
}

/// Whether the condition Established is true.
fn is_established(crd: &Value) -> bool {
    list(crd, &["status", "conditions"]).iter().any(|condition| {
        text(condition, &["type"]) == "Established" && text(condition, &["status"]) == "True"
    })
}

fn has_invalid_type(schema: &Schema) -> bool {
    const TYPES: [&str; 6] = ["string", "number", "integer", "boolean", "array", "object"];
    !schema.kind.is_empty() && !TYPES.contains(&schema.kind.as_str())
}

fn has_unpruned_default(schema: &Schema) -> bool {
    if !schema.has_defaults() || !structural_errors(schema, &Path::root()).is_empty() {
        return false;
    }
    let mut pruned = schema.clone();
    shape::prune_defaults(&mut pruned);
    pruned != *schema
}

/// Without a bundle there is nothing to forgive: upstream then demands a good one.
fn has_good_ca_bundle(crd: &Value) -> bool {
    let bundle = text(crd, &["spec", "conversion", "webhook", "clientConfig", "caBundle"]);
    webhook::is_ca_bundle(bundle)
}

fn too_many_before(after: &Definition, before: &Definition) -> BTreeSet<String> {
    let pairs = after.versions.iter().filter_map(|new| Some((new, before.version(&new.name)?)));
    let too_many = |(new, old): &(&Version, &Version)| {
        old.selectable.len() > MAX_SELECTABLE_FIELDS && new.selectable == old.selectable
    };
    let mut found: BTreeSet<String> = pairs.filter(too_many).map(|(new, _)| new.name.clone()).collect();
    if after.versions.iter().all(|version| found.contains(&version.name)) && !found.is_empty() {
        found.insert(String::new());
    }
    found
}

fn unchanged(after: &Definition, before: &Definition) -> BTreeSet<String> {
    after
        .versions
        .iter()
        .filter(|new| before.version(&new.name).is_some_and(|old| old.schema_source == new.schema_source))
        .map(|new| new.name.clone())
        .collect()
}

/// Whether old objects keep fields no schema knows.
pub(super) fn preserves_unknown(crd: &Value) -> bool {
    flag(crd, &["spec", "preserveUnknownFields"])
}
