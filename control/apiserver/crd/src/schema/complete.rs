//! Whatever a value validation names must exist in the structure.
//!
//! Authority: apiextensions-apiserver, pkg/apiserver/schema/complete.go.

use xebec_api::field::{FieldError, Path};

use super::Schema;

/// Adds an error for each field or item that only `allOf` and the like know.
pub(super) fn check(schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    junctors(schema, schema, path, path, errors);
}

/// `rules` says what `schema` must be; `at` and `from` are their paths.
fn junctors(rules: &Schema, schema: &Schema, at: &Path, from: &Path, errors: &mut Vec<FieldError>) {
    if let Some(not) = &rules.rules.not {
        nested(not, Some(schema), at, &from.child("not"), errors);
    }
    let all =
        [("allOf", &rules.rules.all_of), ("anyOf", &rules.rules.any_of), ("oneOf", &rules.rules.one_of)];
    for (name, list) in all {
        for (i, rule) in list.iter().enumerate() {
            nested(rule, Some(schema), at, &from.child(name).index(i), errors);
        }
    }
}

fn nested(rules: &Schema, schema: Option<&Schema>, at: &Path, from: &Path, errors: &mut Vec<FieldError>) {
    let Some(schema) = schema else {
        errors.push(FieldError::required(at, format!("because it is defined in {from}")));
        return;
    };
    junctors(rules, schema, at, from, errors);
    if let Some(items) = &rules.items {
        nested(items, schema.items.as_deref(), &at.child("items"), &from.child("items"), errors);
    }
    for (name, property) in &rules.properties {
        let (at, from) = (at.child("properties").key(name), from.child("properties").key(name));
        nested(property, schema.properties.get(name), &at, &from, errors);
    }
}
