//! The schema of a custom resource version, read from a definition once and used for everything.
//!
//! Enters: the JSON of `spec.versions[*].schema.openAPIV3Schema`. Leaves: a [`Schema`] tree, which pruning, defaulting,
//! validation, field ownership and OpenAPI publishing walk; and the errors of one that is not structural. Called by
//! [`crate::definition`] (is it acceptable) and [`crate::resource`] (what does it say of this object).

mod complete;
mod parse;
mod path;
mod pattern;
mod sparse;
mod structural;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

pub use parse::{MAX_DEPTH, ParseError};
pub use path::{FieldPath, PathError, resolve};
pub use pattern::Pattern;
pub use sparse::{Empty, Sparse};
pub use structural::structural_errors;

/// One node of a schema: JSONSchemaProps of apiextensions.k8s.io/v1, compiled.
///
/// One type stands for upstream's structural schemas and for the value validations nested under `allOf`, `anyOf`,
/// `oneOf` and `not`. It is bounded in depth by [`MAX_DEPTH`]; a schema cannot refer to itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// `type`, empty when not given.
    pub kind: String,
    /// `title`.
    pub title: String,
    /// `description`.
    pub description: String,
    /// `format`, as written.
    pub format: String,
    /// `default`.
    pub default: Option<Value>,
    /// `example`.
    pub example: Option<Value>,
    /// `externalDocs`.
    pub external_docs: Option<Value>,
    /// `nullable`.
    pub nullable: bool,
    /// What a value must be, beyond its structure.
    pub rules: Sparse<Rules>,
    /// `items`.
    pub items: Option<Arc<Schema>>,
    /// `properties`.
    pub properties: BTreeMap<String, Schema>,
    /// `additionalProperties`.
    pub additional: Option<Additional>,
    /// The `x-kubernetes-*` extensions.
    pub ext: Sparse<Extensions>,
    /// What a definition may not use, remembered so that it can be refused by name.
    pub refused: Sparse<Refused>,
}

/// Value validations: everything that is not structure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// `maximum`.
    pub maximum: Option<f64>,
    /// `exclusiveMaximum`.
    pub exclusive_maximum: bool,
    /// `minimum`.
    pub minimum: Option<f64>,
    /// `exclusiveMinimum`.
    pub exclusive_minimum: bool,
    /// `maxLength`, in characters.
    pub max_length: Option<i64>,
    /// `minLength`, in characters.
    pub min_length: Option<i64>,
    /// `pattern`, unanchored.
    pub pattern: Option<Pattern>,
    /// `maxItems`.
    pub max_items: Option<i64>,
    /// `minItems`.
    pub min_items: Option<i64>,
    /// `uniqueItems`.
    pub unique_items: bool,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `enum`; an empty list is none.
    pub allowed: Vec<Value>,
    /// `maxProperties`.
    pub max_properties: Option<i64>,
    /// `minProperties`.
    pub min_properties: Option<i64>,
    /// `required`.
    pub required: Vec<String>,
    /// `allOf`.
    pub all_of: Vec<Schema>,
    /// `oneOf`.
    pub one_of: Vec<Schema>,
    /// `anyOf`.
    pub any_of: Vec<Schema>,
    /// `not`.
    pub not: Option<Arc<Schema>>,
}

/// `additionalProperties`: a schema, or whether others are allowed at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Additional {
    /// A boolean.
    Allowed(bool),
    /// What every other property must be.
    Schema(Arc<Schema>),
}

impl Additional {
    /// The schema of other properties, if there is one.
    pub fn schema(&self) -> Option<&Schema> {
        match self {
            Self::Schema(schema) => Some(schema),
            Self::Allowed(_) => None,
        }
    }
}

/// Kubernetes' extensions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extensions {
    /// `x-kubernetes-preserve-unknown-fields`; `false` is refused in a definition.
    pub preserve_unknown: Option<bool>,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-list-type`.
    pub list_type: Option<String>,
    /// `x-kubernetes-map-type`.
    pub map_type: Option<String>,
    /// `x-kubernetes-validations`.
    pub validations: Vec<Rule>,
}

/// One entry of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// The CEL expression.
    pub rule: String,
    /// The message of a failure.
    pub message: String,
    /// An expression that makes the message.
    pub message_expression: String,
    /// The reason of the error, FieldValueInvalid when not given.
    pub reason: Option<String>,
    /// The field the error names, relative to the schema.
    pub field_path: String,
    /// Whether `oldSelf` is an optional.
    pub optional_old_self: Option<bool>,
    /// The entry as written, for error messages.
    pub source: Value,
}

/// Keywords of JSON schema that no definition may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refused {
    /// `id` is set.
    pub id: bool,
    /// `$schema` is set.
    pub schema: bool,
    /// `$ref` is set.
    pub reference: bool,
    /// `patternProperties`.
    pub pattern_properties: BTreeMap<String, Schema>,
    /// `dependencies`; entries that are lists of names have no schema.
    pub dependencies: Option<BTreeMap<String, Option<Schema>>>,
    /// `additionalItems`.
    pub additional_items: Option<Additional>,
    /// `definitions`.
    pub definitions: BTreeMap<String, Schema>,
    /// `items` given as a list.
    pub items_list: Vec<Schema>,
}

macro_rules! empty {
    ($($kind:ident)*) => {$(
        impl Empty for $kind {
            fn empty() -> &'static Self {
                static EMPTY: LazyLock<$kind> = LazyLock::new($kind::default);
                &EMPTY
            }
        }
    )*};
}
empty!(Rules Extensions Refused);

impl Schema {
    /// Whether fields the schema does not know are kept.
    pub fn preserves_unknown(&self) -> bool {
        self.ext.preserve_unknown == Some(true)
    }

    /// The schema of property `name`, from `properties` or else from `additionalProperties`.
    pub fn property(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or_else(|| self.additional.as_ref().and_then(Additional::schema))
    }

    /// The names of the keys of a list that is a map.
    pub fn map_keys(&self) -> Option<&[String]> {
        (self.ext.list_type.as_deref() == Some("map")).then_some(&self.ext.list_map_keys)
    }

    /// Forgets what only documentation needs.
    pub fn forget_docs(&mut self) {
        self.change(&mut |schema| {
            schema.title = String::new();
            schema.description = String::new();
            schema.example = None;
            schema.external_docs = None;
        });
    }

    /// A copy of the root as upstream treats it when decoding: an embedded resource, whatever it says itself.
    pub(crate) fn as_resource(schema: Option<&Self>) -> Self {
        let mut root = schema.cloned().unwrap_or_default();
        root.ext.embedded = true;
        root
    }
}
