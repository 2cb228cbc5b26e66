//! What makes a schema structural.
//!
//! Authority: apiextensions-apiserver, pkg/apiserver/schema/validation.go (and KEP-1693, "structural schemas").

use xebec_api::field::{FieldError, Path};

use super::{Additional, Schema, complete};

/// Where in the tree a schema stands; the messages differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Every violation, sorted by text, none for a structural schema.
pub fn structural_errors(schema: &Schema, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete::check(schema, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

impl Schema {
    /// Why the schema cannot even be read as a structural one, in upstream's words.
    pub fn unsupported(&self) -> Option<String> {
        let own = [
            (self.refused.id, "'id'"),
            (self.refused.schema, "'schema'"),
            (self.refused.reference, "'$ref'"),
            (!self.refused.pattern_properties.is_empty(), "'patternProperties'"),
            (self.refused.dependencies.as_ref().is_some_and(|map| !map.is_empty()), "'dependencies'"),
            (self.refused.additional_items.is_some(), "'additionalItems'"),
            (!self.refused.definitions.is_empty(), "'definitions'"),
        ];
        if let Some((_, name)) = own.iter().find(|(set, _)| *set) {
            return Some(format!("OpenAPIV3Schema {name} is not supported"));
        }
        if self.ext.preserve_unknown == Some(false) {
            return Some(
                "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned(),
            );
        }
        if !self.refused.items_list.is_empty() {
            return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
        }
        self.children().into_iter().find_map(Schema::unsupported)
    }

    /// `anyOf: [{type: integer}, {type: string}]` and nothing else in them.
    pub(crate) fn is_int_or_string_any_of(&self) -> bool {
        let bare = |schema: &Schema, kind: &str| {
            schema.kind == kind && *schema == Schema { kind: kind.to_owned(), ..Schema::default() }
        };
        match self.rules.any_of.as_slice() {
            [first, second] => bare(first, "integer") && bare(second, "string"),
            _ => false,
        }
    }

    /// `allOf` that begins with the `anyOf` of [`Schema::is_int_or_string_any_of`].
    pub(crate) fn is_int_or_string_all_of(&self) -> bool {
        self.rules.all_of.first().is_some_and(Schema::is_int_or_string_any_of)
    }
}

fn invariants(schema: &Schema, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    match &schema.items {
        Some(items) => invariants(items, Level::Item, &path.child("items"), errors),
        None if schema.kind == "array" => {
            errors.push(FieldError::required(&path.child("items"), "must be specified"));
        }
        None => {}
    }
    for (name, property) in &schema.properties {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    if let Some(additional) = &schema.additional {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&path, "must not be used at the root"));
        }
        if let Additional::Schema(schema) = additional {
            invariants(schema, Level::Field, &path, errors);
        }
    }
    extensions(schema, path, errors);
    let (any, all) = (schema.is_int_or_string_any_of(), schema.is_int_or_string_all_of());
    rules(schema, any, all, path, errors);
    type_given(schema, level, path, errors);
    metadata(schema, level, path, errors);
    if schema.ext.embedded && !schema.preserves_unknown() && schema.properties.is_empty() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), detail));
    }
}

fn extensions(schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    if !schema.ext.int_or_string {
        return;
    }
    let detail = "must be false if x-kubernetes-int-or-string is true";
    for (name, set) in [
        ("x-kubernetes-preserve-unknown-fields", schema.preserves_unknown()),
        ("x-kubernetes-embedded-resource", schema.ext.embedded),
    ] {
        if set {
            errors.push(FieldError::invalid(&path.child(name), true, detail));
        }
    }
}

fn type_given(schema: &Schema, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = schema.kind.as_str();
    let path_of_type = path.child("type");
    if schema.ext.embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(&path_of_type, detail)
        } else {
            FieldError::invalid(&path_of_type, kind, detail)
        });
    } else if kind.is_empty() && !schema.ext.int_or_string && !schema.preserves_unknown() {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&path_of_type, detail));
    }
    if schema.ext.embedded && schema.additional.is_some() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), detail));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(&path_of_type, kind, "must be object at the root"));
    }
}

/// `kind`, `apiVersion` and `metadata` of a resource are what they are everywhere.
fn metadata(schema: &Schema, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let of_resource = level == Level::Root || schema.ext.embedded;
    let property = |name: &str| path.child("properties").key(name);
    if of_resource {
        for name in ["kind", "apiVersion"] {
            if let Some(field) = schema.properties.get(name).filter(|field| field.kind != "string") {
                let path = property(name).child("type");
                errors.push(FieldError::invalid(&path, &field.kind, "must be string"));
            }
        }
    }
    let Some(metadata) = schema.properties.get("metadata") else { return };
    let path = property("metadata");
    if of_resource && metadata.kind != "object" {
        errors.push(FieldError::invalid(&path.child("type"), &metadata.kind, "must be object"));
    }
    if level == Level::Root && restricts_more_than_names(metadata) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

fn restricts_more_than_names(metadata: &Schema) -> bool {
    let mut rest = metadata.clone();
    if rest.properties.keys().all(|name| name == "name" || name == "generateName") {
        rest.properties.clear();
    }
    rest.kind.clear();
    rest.default = None;
    rest != Schema::default()
}

fn rules(schema: &Schema, skip_any: bool, skip_first_all: bool, path: &Path, errors: &mut Vec<FieldError>) {
    if !skip_any {
        for (i, nested) in schema.rules.any_of.iter().enumerate() {
            in_junctor(nested, false, &path.child("anyOf").index(i), errors);
        }
    }
    for (i, nested) in schema.rules.all_of.iter().enumerate() {
        in_junctor(nested, skip_first_all && i == 0, &path.child("allOf").index(i), errors);
    }
    for (i, nested) in schema.rules.one_of.iter().enumerate() {
        in_junctor(nested, false, &path.child("oneOf").index(i), errors);
    }
    if let Some(not) = &schema.rules.not {
        in_junctor(not, false, &path.child("not"), errors);
    }
    if let Some(pattern) = &schema.rules.pattern
        && let Some(error) = pattern.error()
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern.source(), detail));
    }
}

/// Below `allOf`, `anyOf`, `oneOf` and `not` there are value validations only.
fn in_junctor(schema: &Schema, skip_any: bool, path: &Path, errors: &mut Vec<FieldError>) {
    rules(schema, skip_any, false, path, errors);
    if let Some(items) = &schema.items {
        in_junctor(items, false, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        in_junctor(property, false, &path.child("properties").key(name), errors);
    }
    for (name, set, detail) in forbidden_in_junctor(schema) {
        if set {
            errors
                .push(FieldError::forbidden(&path.child(name), format!("must be {detail} to be structural")));
        }
    }
    if schema.properties.contains_key("metadata") {
        let path = path.child("properties").key("metadata");
        errors.push(FieldError::forbidden(&path, "must not be specified in a nested context"));
    }
}

fn forbidden_in_junctor(schema: &Schema) -> [(&'static str, bool, &'static str); 13] {
    let ext = &schema.ext;
    let additional = !matches!(schema.additional, None | Some(Additional::Allowed(false)));
    [
        ("type", !schema.kind.is_empty(), "empty"),
        ("additionalProperties", additional, "undefined"),
        ("default", schema.default.is_some(), "undefined"),
        ("title", !schema.title.is_empty(), "empty"),
        ("description", !schema.description.is_empty(), "empty"),
        ("nullable", schema.nullable, "false"),
        ("x-kubernetes-preserve-unknown-fields", schema.preserves_unknown(), "false"),
        ("x-kubernetes-embedded-resource", ext.embedded, "false"),
        ("x-kubernetes-int-or-string", ext.int_or_string, "false"),
        ("x-kubernetes-list-map-keys", !ext.list_map_keys.is_empty(), "empty"),
        ("x-kubernetes-list-type", ext.list_type.is_some(), "undefined"),
        ("x-kubernetes-map-type", ext.map_type.is_some(), "undefined"),
        ("x-kubernetes-validations", !ext.validations.is_empty(), "empty"),
    ]
}
