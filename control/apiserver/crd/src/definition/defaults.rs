//! Defaults in a schema: pruned, valid, and metadata where they stand for metadata.
//!
//! Authority: apiextensions-apiserver, pkg/apiserver/schema/defaulting/validation.go.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::rules::Rules;
use crate::schema::Schema;
use crate::shape::{self, BadMetadata};
use crate::value;

/// The errors of every default in a schema that has to be pruned and valid.
pub fn default_errors(schema: &Schema, path: &Path) -> Vec<FieldError> {
    errors(schema, path, true)
}

/// The errors of every default; `pruned`: whether one with unknown fields is an error.
pub(super) fn errors(schema: &Schema, path: &Path, pruned: bool) -> Vec<FieldError> {
    let root = Schema::as_resource(Some(schema));
    let mut found = Vec::new();
    let place = Place { schema: &root, path: path.clone(), steps: Vec::new(), in_meta: false };
    walk(&place, &root, pruned, &mut found);
    found
}

/// A schema, and the resource it stands in.
struct Place<'a> {
    schema: &'a Schema,
    path: Path,
    /// The way from the resource; an empty step is an element of a list.
    steps: Vec<&'a str>,
    /// Inside the resource's type or metadata.
    in_meta: bool,
}

fn walk(place: &Place<'_>, resource: &Schema, pruned: bool, found: &mut Vec<FieldError>) {
    let schema = place.schema;
    let own = Place { schema, path: place.path.clone(), steps: Vec::new(), in_meta: false };
    let (place, resource) = if schema.ext.embedded { (&own, schema) } else { (place, resource) };
    if let Some(default) = &schema.default {
        let path = place.path.child("default");
        found.extend(if place.in_meta {
            in_metadata(default, place, resource, &path)
        } else {
            plain(default, schema, pruned, &path)
        });
    }
    // Below additionalProperties upstream looks at no default.
    if let Some(items) = schema.items.as_deref() {
        walk(&below(place, items, "", place.path.child("items")), resource, pruned, found);
    }
    for (name, property) in &schema.properties {
        let mut inner = below(place, property, name, place.path.child("properties").key(name));
        inner.in_meta |= schema.ext.embedded && ["metadata", "apiVersion", "kind"].contains(&name.as_str());
        walk(&inner, resource, pruned, found);
    }
}

fn below<'a>(place: &Place<'a>, schema: &'a Schema, step: &'a str, path: Path) -> Place<'a> {
    let mut steps = place.steps.clone();
    steps.push(step);
    Place { schema, path, steps, in_meta: place.in_meta }
}

fn plain(default: &Value, schema: &Schema, must_be_pruned: bool, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut copy = default.clone();
    shape::prune(&mut copy, schema);
    if must_be_pruned && copy != *default {
        errors.push(FieldError::invalid(path, default, "must not have unknown fields"));
    }
    let mut copy = default.clone();
    if let Err(error) = shape::coerce(&mut copy, schema, BadMetadata::Refuse) {
        errors.push(FieldError::invalid(path, default, error.to_string()));
        return errors;
    }
    let embedded = shape::embedded_errors(default, schema, path);
    if !embedded.is_empty() {
        errors.extend(embedded);
        return errors;
    }
    let invalid = value::errors(default, schema, path);
    if invalid.is_empty() {
        errors.extend(broken_rules(default, schema, path));
    }
    errors.extend(invalid);
    errors
}

/// The rules a default breaks, as an unchanged value and as a new one.
fn broken_rules(default: &Value, schema: &Schema, path: &Path) -> Vec<FieldError> {
    let Some(rules) = Rules::compile(schema, schema.ext.embedded) else { return Vec::new() };
    let unchanged = rules.check(default, Some(default), None, path).errors;
    if unchanged.is_empty() { rules.check(default, None, None, path).errors } else { unchanged }
}

/// A default inside metadata is judged in the smallest resource that has it.
fn in_metadata(default: &Value, place: &Place<'_>, resource: &Schema, path: &Path) -> Vec<FieldError> {
    let mut object = default.clone();
    for step in place.steps.iter().rev() {
        object = if step.is_empty() { json!([object]) } else { json!({*step: object}) };
    }
    if let Some(map) = object.as_object_mut() {
        map.entry("kind").or_insert_with(|| json!("Validation"));
        map.entry("apiVersion").or_insert_with(|| json!("validation/v1"));
    }
    let invalid = |reason: String| {
        vec![FieldError::invalid(path, default, format!("must result in valid metadata: {reason}"))]
    };
    let root = Schema::as_resource(Some(resource));
    if let Err(error) = shape::coerce(&mut object, &root, BadMetadata::Refuse) {
        return invalid(error.to_string());
    }
    let errors = shape::embedded_errors(&object, &root, &Path::root());
    if !errors.is_empty() {
        return invalid(xebec_api::gotext::aggregate(errors.iter().map(ToString::to_string)));
    }
    let invalid = value::errors(default, place.schema, path);
    if invalid.is_empty() { broken_rules(default, place.schema, path) } else { invalid }
}
