//! The rules of a schema beyond being structural: keywords, extensions, rules in CEL.
//!
//! Authority: apiextensions-apiserver, ValidateCustomResourceDefinitionOpenAPISchema.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::cost::{self, Cardinality, Total};
use super::options::Options;
use crate::schema::{Additional, Rule, Schema, resolve};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const META: [&str; 3] = ["metadata", "kind", "apiVersion"];

/// How the rules in CEL of a schema are treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cel {
    /// Not at all: the schema is not structural, or its defaults are bad.
    Off,
    /// They must compile and be affordable.
    On,
    /// They must compile; what each costs has been accepted before.
    Accepted,
}

/// The errors of a root schema, those of rules in CEL after all others.
pub(super) fn errors(schema: &Schema, path: &Path, options: &Options, cel: Cel) -> Vec<FieldError> {
    let mut walk = Walk { options, cel, total: Total::default() };
    let place = Place { root: true, cardinality: Some(1), ..Place::default() };
    let found = walk.node(schema, path, &place);
    let total = walk.total.errors(path);
    found.schema.into_iter().chain(found.cel).chain(total).collect()
}

/// What holds at a place of the tree.
#[derive(Clone, Default)]
struct Place {
    root: bool,
    /// Why a default may not stand here.
    no_default: Option<String>,
    /// Inside `metadata`, `kind` or `apiVersion` of a resource.
    in_meta: bool,
    /// The first place above whose old and new parts cannot be told to belong together.
    uncorrelatable: Option<Path>,
    /// Below `not` and the like there is no CEL.
    in_junctor: bool,
    /// How often values of the schema can be there.
    cardinality: Cardinality,
}

#[derive(Default)]
struct Found {
    schema: Vec<FieldError>,
    cel: Vec<FieldError>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.schema.extend(other.schema);
        self.cel.extend(other.cel);
    }
}

struct Walk<'a> {
    options: &'a Options,
    cel: Cel,
    total: Total,
}

impl Walk<'_> {
    fn node(&mut self, schema: &Schema, path: &Path, place: &Place) -> Found {
        let mut found = Found::default();
        keywords(schema, path, place, self.options, &mut found.schema);
        self.below(schema, path, place, &mut found);
        extensions(schema, path, self.options, &mut found.schema);
        if self.options.require_map_keys {
            found.schema.extend(map_keys(schema, path));
        }
        let rules = path.child("x-kubernetes-validations");
        for (at, rule) in schema.ext.validations.iter().enumerate() {
            rule_errors(rule, schema, &rules.index(at), &mut found.schema);
        }
        // Rules about a schema that is wrong cannot be judged.
        if !schema.ext.validations.is_empty()
            && found.schema.is_empty()
            && self.cel != Cel::Off
            && !place.in_junctor
        {
            let node = cost::Node {
                schema,
                resource: place.root || schema.ext.embedded,
                cardinality: place.cardinality,
                uncorrelatable: place.uncorrelatable.as_ref(),
                accepted: self.cel == Cel::Accepted,
            };
            found.cel.extend(cost::errors(&node, &rules, &mut self.total));
        }
        found
    }

    fn below(&mut self, schema: &Schema, path: &Path, place: &Place, found: &mut Found) {
        let cardinality = cost::below(schema, place.cardinality);
        let inner = Place { root: false, cardinality, ..place.clone() };
        let nested = Place { in_junctor: true, ..inner.clone() };
        if let Some(Additional::Schema(other)) = &schema.additional {
            let mut place = inner.clone();
            if place.in_meta {
                place.no_default =
                    Some(" inside additionalProperties applying to object metadata".to_owned());
            }
            found.add(self.node(other, &path.child("additionalProperties"), &place));
        }
        for (name, property) in &schema.properties {
            let place = property_place(schema, name, path, place, &inner);
            found.add(self.node(property, &path.child("properties").key(name), &place));
        }
        let rules = &schema.rules;
        if let Some(not) = &rules.not {
            found.add(self.node(not, &path.child("not"), &nested));
        }
        for (name, list) in [("allOf", &rules.all_of), ("oneOf", &rules.one_of), ("anyOf", &rules.any_of)] {
            for (at, schema) in list.iter().enumerate() {
                found.add(self.node(schema, &path.child(name).index(at), &nested));
            }
        }
        for (name, schema) in &schema.refused.definitions {
            found.add(self.node(schema, &path.child("definitions").key(name), &nested));
        }
        self.items(schema, path, inner, found);
        for (name, schema) in schema.refused.dependencies.iter().flatten() {
            if let Some(schema) = schema {
                found.add(self.node(schema, &path.child("dependencies").key(name), &nested));
            }
        }
    }

    fn items(&mut self, schema: &Schema, path: &Path, mut place: Place, found: &mut Found) {
        if schema.ext.list_type.as_deref() != Some("map") {
            place.uncorrelatable.get_or_insert_with(|| path.clone());
        }
        let path = path.child("items");
        if let Some(items) = &schema.items {
            found.add(self.node(items, &path, &place));
        }
        for (at, schema) in schema.refused.items_list.iter().enumerate() {
            found.add(self.node(schema, &path.index(at), &place));
        }
    }
}

fn property_place(schema: &Schema, name: &str, path: &Path, place: &Place, inner: &Place) -> Place {
    let mut found = inner.clone();
    if schema.ext.map_type.as_deref().is_some_and(|map_type| !["granular", "atomic"].contains(&map_type)) {
        found.uncorrelatable.get_or_insert_with(|| path.clone());
    }
    if (place.root || schema.ext.embedded) && META.contains(&name) {
        found.in_meta = true;
        if place.root {
            found.no_default = Some(format!(" in top-level {name}"));
        }
    }
    found
}

fn keywords(schema: &Schema, path: &Path, place: &Place, options: &Options, errors: &mut Vec<FieldError>) {
    let kind = schema.kind.as_str();
    if options.require_valid_type && !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &TYPES));
    }
    if let (Some(_), Some(reason)) = (&schema.default, &place.no_default) {
        errors.push(FieldError::forbidden(&path.child("default"), format!("must not be set{reason}")));
    }
    let refused = &schema.refused;
    for (name, set) in [
        ("id", refused.id),
        ("additionalItems", refused.additional_items.is_some()),
        ("patternProperties", !refused.pattern_properties.is_empty()),
        ("definitions", !refused.definitions.is_empty()),
        ("dependencies", refused.dependencies.is_some()),
        ("$ref", refused.reference),
    ] {
        if set {
            errors.push(FieldError::forbidden(&path.child(name), format!("{name} is not supported")));
        }
    }
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    }
    if !refused.items_list.is_empty() {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), detail));
    }
    if place.in_meta && schema.ext.embedded {
        let detail = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(&path.child("x-kubernetes-embedded-resource"), detail));
    }
    if schema.rules.unique_items {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), detail));
    }
    if !schema.properties.is_empty() && !matches!(schema.additional, None | Some(Additional::Allowed(true))) {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), detail));
    }
}

fn extensions(schema: &Schema, path: &Path, options: &Options, errors: &mut Vec<FieldError>) {
    let ext = &schema.ext;
    if ext.preserve_unknown == Some(false) {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(&path, false, "must be true or undefined"));
    }
    if let Some(map_type) = &ext.map_type {
        must_be(schema, "object", "x-kubernetes-map-type", path, errors);
        if !["atomic", "granular"].contains(&map_type.as_str()) {
            let path = path.child("x-kubernetes-map-type");
            errors.push(FieldError::not_supported(&path, map_type, &["atomic", "granular"]));
        }
    }
    list_type(schema, path, options, errors);
}

/// The type that goes with an extension.
fn must_be(schema: &Schema, kind: &str, extension: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if schema.kind == kind {
        return;
    }
    let detail = format!("must be {kind} if {extension} is specified");
    let path = path.child("type");
    errors.push(if schema.kind.is_empty() {
        FieldError::required(&path, detail)
    } else {
        FieldError::invalid(&path, &schema.kind, detail)
    });
}

fn list_type(schema: &Schema, path: &Path, options: &Options, errors: &mut Vec<FieldError>) {
    let ext = &schema.ext;
    let type_path = path.child("x-kubernetes-list-type");
    if let Some(list_type) = &ext.list_type {
        if schema.kind == "array" {
            if options.require_atomic_set && list_type == "set" {
                errors.extend(set_items(schema, path));
            }
        } else {
            must_be(schema, "array", "x-kubernetes-list-type", path, errors);
        }
        if !["atomic", "set", "map"].contains(&list_type.as_str()) {
            errors.push(FieldError::not_supported(&type_path, list_type, &["atomic", "set", "map"]));
        }
    }
    if !ext.list_map_keys.is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        match ext.list_type.as_deref() {
            None => errors.push(FieldError::required(&type_path, detail)),
            Some("map") => {}
            Some(other) => errors.push(FieldError::invalid(&type_path, other, detail)),
        }
    }
    if ext.list_type.as_deref() == Some("map") {
        map_items(schema, path, errors);
    }
}

/// The elements of a set must be scalars or atomic.
pub(super) fn set_items(schema: &Schema, path: &Path) -> Option<FieldError> {
    let items = schema.items.as_deref()?;
    let (extension, given) = match items.kind.as_str() {
        "array" => ("x-kubernetes-list-type", items.ext.list_type.as_deref().unwrap_or("atomic")),
        "object" => ("x-kubernetes-map-type", items.ext.map_type.as_deref().unwrap_or("granular")),
        _ => return None,
    };
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    // Upstream shows the list type in both cases.
    let value = items.ext.list_type.clone().map_or(Value::Null, Value::from);
    (given != "atomic").then(|| FieldError::invalid(&path.child("items").child(extension), value, detail))
}

fn map_items(schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    let keys = &schema.ext.list_map_keys;
    let keys_path = path.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&keys_path, detail));
    }
    let items_path = path.child("items");
    let Some(items) = schema.items.as_deref() else {
        if schema.refused.items_list.is_empty() {
            let detail = "must have a schema if x-kubernetes-list-type is map";
            errors.push(FieldError::required(&items_path, detail));
        } else {
            let detail = "must only have a single schema if x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&items_path, "[]", detail));
        }
        return;
    };
    if items.kind != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&items_path.child("type"), &items.kind, detail));
        return;
    }
    for (at, key) in keys.iter().enumerate() {
        match items.properties.get(key) {
            Some(property) if ["array", "object"].contains(&property.kind.as_str()) => {
                let path = items_path.child("properties").key(key).child("type");
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid(&path, &items.kind, detail));
            }
            Some(_) => {}
            None => {
                errors.push(FieldError::invalid(
                    &keys_path,
                    keys,
                    "entries must all be names of item properties",
                ));
            }
        }
        if keys[..at].contains(key) {
            errors.push(FieldError::invalid(&keys_path, keys, "must not contain duplicate entries"));
        }
    }
}

/// The keys of a map list are always there and never null; no element of a set or a map is null.
pub(super) fn map_keys(schema: &Schema, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (Some(items), Some(list_type @ ("set" | "map"))) =
        (schema.items.as_deref(), schema.ext.list_type.as_deref())
    else {
        return errors;
    };
    let path = path.child("items");
    if items.nullable {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(&path.child("nullable"), detail));
    }
    if list_type == "set" {
        return errors;
    }
    for key in &schema.ext.list_map_keys {
        let Some(property) = items.properties.get(key) else { continue };
        let path = path.child("properties").key(key);
        if !items.rules.required.contains(key) && property.default.is_none() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&path.child("default"), detail));
        }
        if property.nullable {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&path.child("nullable"), detail));
        }
    }
    errors
}

fn rule_errors(rule: &Rule, schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let (expression, message) = (rule.rule.trim(), rule.message.trim());
    if expression.is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if !rule.message.is_empty() && message.is_empty() {
        let detail = "must be non-empty if specified";
        errors.push(FieldError::invalid(&path.child("message"), &rule.message, detail));
    } else if breaks(message) {
        errors.push(FieldError::invalid(
            &path.child("message"),
            &rule.message,
            "must not contain line breaks",
        ));
    } else if breaks(expression) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(&path.child("message"), detail));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), detail));
    }
    if let Some(reason) = rule.reason.as_ref().filter(|reason| !REASONS.contains(&reason.as_str())) {
        errors.push(FieldError::not_supported(&path.child("reason"), reason, &REASONS));
    }
    let field = &rule.field_path;
    let path = path.child("fieldPath");
    if !field.is_empty() && field.trim().is_empty() {
        errors.push(FieldError::invalid(&path, field, "must be non-empty if specified"));
    }
    if breaks(field) {
        errors.push(FieldError::invalid(&path, field, "must not contain line breaks"));
    }
    if !field.is_empty() && resolve(field, schema, true).is_err() {
        errors.push(FieldError::invalid(&path, field, "must be a valid path"));
    }
}
