//! The walk over a value beside its schema.

use serde_json::{Map, Value};

use super::correlate::Correlated;
use super::outcome::{Issue, Outcome};
use super::place::Place;
use super::{formats, numbers, strings};
use crate::schema::{Additional, Schema};

/// Checks a whole value.
pub fn value(value: &Value, schema: &Schema, was: Option<Correlated<'_>>) -> Outcome {
    forgiving(value, schema, was, &Place::ROOT)
}

/// Checks a value; when it equals the one it is paired with, everything wrong with it is forgiven.
fn forgiving(value: &Value, schema: &Schema, was: Option<Correlated<'_>>, place: &Place<'_>) -> Outcome {
    let found = plain(value, schema, was, place);
    match was {
        Some(was) if !found.is_valid() && was.is_unchanged() => found.forgiven(),
        _ => found,
    }
}

/// Checks a value; parts of it may be forgiven, itself not.
fn plain(value: &Value, schema: &Schema, was: Option<Correlated<'_>>, place: &Place<'_>) -> Outcome {
    let mut found = Outcome::default();
    if value.is_null() {
        found.merge(kind_of(value, schema, place));
        found.merge_some(allowed(value, schema, place));
        return found;
    }
    let typed = !schema.kind.is_empty() || schema.ext.int_or_string || formats::of_schema(schema).is_some();
    if typed {
        found.merge(kind_of(value, schema, place));
        found.matches += 1;
    }
    found.merge(junctors(value, schema, was, place));
    found.matches += 1;
    match value {
        Value::String(text) => {
            found.merge_some(strings::check(text, schema, place));
            found.matches += 1;
            if formats::of_schema(schema).and_then(formats::checker).is_some() {
                found.merge_some(strings::check_format(text, schema, place));
                found.matches += 1;
            }
        }
        Value::Number(number) => {
            found.merge(numbers::check(number, schema, place));
            found.matches += 1;
        }
        Value::Array(items) => {
            found.merge(list(items, schema, was, place));
            found.matches += 1;
        }
        _ => {}
    }
    found.merge_some(allowed(value, schema, place));
    found.matches += 1;
    if let Value::Object(map) = value {
        found.merge(object(map, schema, was, place));
        found.matches += 1;
    }
    found.matches += 1;
    found
}

impl Outcome {
    fn merge_some(&mut self, other: Option<Self>) {
        if let Some(other) = other {
            self.merge(other);
        }
    }
}

/// The name JSON schema has for a value's type, and the format Go's type has.
fn type_name(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(number) => match numbers::Num::of(number) {
            numbers::Num::Int(_) => ("integer", "int64"),
            numbers::Num::Float(_) => ("number", "float64"),
        },
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

/// Whether the value has the schema's type.
fn kind_of(value: &Value, schema: &Schema, place: &Place<'_>) -> Outcome {
    let kinds: &[&str] = match schema.kind.as_str() {
        _ if schema.ext.int_or_string => &["integer", "string"],
        "" => &[],
        kind => &[kind],
    };
    let has = |kind: &str| kinds.contains(&kind);
    let fits = Outcome::passed();
    let refused = |expected: &str, found: &str| Outcome::of(Issue::wrong_type(place.text(), expected, found));
    let (found, go_format) = type_name(value);
    if value.is_null() {
        let may = kinds.is_empty() || has("null") || schema.nullable;
        return if may { fits } else { refused(&kinds.join(","), found) };
    }
    let format = formats::of_schema(schema).unwrap_or_default();
    let whole = matches!(value, Value::Number(number) if numbers::Num::of(number).is_whole());
    let as_number = (found == "number" && whole && has("integer")) || (found == "integer" && has("number"));
    let of_text = matches!(value, Value::String(_) | Value::Array(_));
    let fits_format = format.is_empty() || has(found) || go_format == format || as_number;
    if !(of_text || fits_format) {
        return refused(format, go_format);
    }
    let is_numeric = has("number") || has("integer");
    if of_text && !is_numeric && !format.is_empty() || has(found) || as_number {
        return fits;
    }
    refused(&kinds.join(","), found)
}

fn allowed(value: &Value, schema: &Schema, place: &Place<'_>) -> Option<Outcome> {
    let allowed = &schema.rules.allowed;
    if allowed.is_empty() || allowed.iter().any(|one| same(value, one)) {
        return None;
    }
    Some(Outcome::of(Issue::unsupported(place.text(), value, allowed)))
}

/// Equality after Go's conversion to the type of the enum's entry: whole and other numbers compare by value.
fn same(value: &Value, allowed: &Value) -> bool {
    value == allowed
        || matches!((value, allowed), (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() && a.as_f64().is_some())
}

fn list(items: &[Value], schema: &Schema, was: Option<Correlated<'_>>, place: &Place<'_>) -> Outcome {
    let mut found = Outcome::default();
    if let Some(schema) = schema.items.as_deref() {
        let before = was.map(|was| was.items());
        for (index, item) in items.iter().enumerate() {
            let was = before.as_ref().and_then(|before| before.get(index).copied().flatten());
            let place = place.item(index);
            found.merge(match was {
                Some(_) => forgiving(item, schema, was, &place),
                None => plain(item, schema, None, &place),
            });
        }
    }
    let count = items.len();
    let size = i64::try_from(count).unwrap_or(i64::MAX);
    if let Some(min) = schema.rules.min_items.filter(|min| size < *min) {
        let rule = format!("should have at least {min} items");
        found.add(Issue::invalid(place.text(), Some(Value::from(count)), &rule));
    }
    if let Some(max) = schema.rules.max_items.filter(|max| size > *max) {
        found.add(Issue::too_many(place.text(), count, max, "items"));
    }
    if schema.rules.unique_items && has_repeats(items) {
        found.add(Issue::invalid(place.text(), None, "shouldn't contain duplicates"));
    }
    found.matches += 1;
    found
}

fn has_repeats(items: &[Value]) -> bool {
    let mut seen = std::collections::HashSet::new();
    items.iter().any(|item| !seen.insert(item.to_string()))
}

fn object(
    map: &Map<String, Value>,
    schema: &Schema,
    was: Option<Correlated<'_>>,
    place: &Place<'_>,
) -> Outcome {
    let mut found = Outcome::default();
    let count = map.len();
    let size = i64::try_from(count).unwrap_or(i64::MAX);
    if let Some(min) = schema.rules.min_properties.filter(|min| size < *min) {
        let rule = format!("should have at least {min} properties");
        found.add(Issue::invalid(place.text(), Some(Value::from(count)), &rule));
    }
    if let Some(max) = schema.rules.max_properties.filter(|max| size > *max) {
        found.add(Issue::too_many(place.text(), count, max, "properties"));
    }
    for (name, value) in map.iter().filter(|(name, _)| !schema.properties.contains_key(*name)) {
        match &schema.additional {
            Some(Additional::Allowed(false)) => {
                let (owner, value) = (place.text(), Value::from(name.as_str()));
                let message = format!("{owner}.{name} in body is a forbidden property");
                found.add(Issue::with_message(owner, value, message));
            }
            Some(Additional::Schema(schema)) => {
                found.merge(member(name, value, schema, was, place, &place.other(name)));
            }
            _ => {}
        }
    }
    for (name, schema) in &schema.properties {
        if let Some(value) = map.get(name) {
            found.merge(member(name, value, schema, was, place, &place.property(name)));
        }
    }
    for name in schema.rules.required.iter().filter(|name| !map.contains_key(*name)) {
        found.add(Issue::required(&place.text(), name));
    }
    found
}

fn member(
    name: &str,
    value: &Value,
    schema: &Schema,
    was: Option<Correlated<'_>>,
    owner: &Place<'_>,
    place: &Place<'_>,
) -> Outcome {
    // What the type says is not the user's change: old and new have been converted to the same version.
    let of_type = owner.is_root() && (name == "kind" || name == "apiVersion");
    let was = if of_type { None } else { was.and_then(|was| was.member(name)) };
    match was {
        Some(_) => forgiving(value, schema, was, place),
        None => plain(value, schema, None, place),
    }
}

fn junctors(value: &Value, schema: &Schema, was: Option<Correlated<'_>>, place: &Place<'_>) -> Outcome {
    let mut found = Outcome::default();
    let rules = &schema.rules;
    if !rules.any_of.is_empty() {
        found.merge(any_of(value, &rules.any_of, was, place));
    }
    if !rules.one_of.is_empty() {
        found.merge(one_of(value, &rules.one_of, was, place));
    }
    if !rules.all_of.is_empty() {
        found.merge(all_of(value, &rules.all_of, was, place));
    }
    if let Some(not) = &rules.not
        && plain(value, not, was, place).is_valid()
    {
        found.add(named(place, "must not validate the schema (not)"));
    }
    found.matches += 1;
    found
}

fn named(place: &Place<'_>, rule: &str) -> Issue {
    Issue::plain(format!("{} {rule}", xebec_api::gotext::quote(&place.text())))
}

/// Keeps the failure that got furthest, the first of equals.
fn furthest(best: Option<Outcome>, next: Outcome) -> Option<Outcome> {
    match best {
        Some(best) if next.matches <= best.matches => Some(best),
        _ => Some(next),
    }
}

fn any_of(value: &Value, schemas: &[Schema], was: Option<Correlated<'_>>, place: &Place<'_>) -> Outcome {
    let mut best = None;
    for schema in schemas {
        let tried = plain(value, schema, was, place);
        if tried.is_valid() {
            return tried;
        }
        best = furthest(best, tried);
    }
    let mut found = Outcome::of(named(place, "must validate at least one schema (anyOf)"));
    found.merge_some(best);
    found
}

fn one_of(value: &Value, schemas: &[Schema], was: Option<Correlated<'_>>, place: &Place<'_>) -> Outcome {
    let (mut best, mut success, mut valid) = (None, None, 0);
    for schema in schemas {
        let tried = plain(value, schema, was, place);
        if tried.is_valid() {
            valid += 1;
            best = None;
            success = success.or(Some(tried));
        } else if valid == 0 {
            best = furthest(best, tried);
        }
    }
    if let (1, Some(success)) = (valid, success) {
        return success;
    }
    let count =
        if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
    let rule = format!("must validate one and only one schema (oneOf). {count}");
    let mut found = Outcome::of(named(place, &rule));
    found.merge_some(best);
    found
}

fn all_of(value: &Value, schemas: &[Schema], was: Option<Correlated<'_>>, place: &Place<'_>) -> Outcome {
    let (mut found, mut valid) = (Outcome::default(), 0);
    for schema in schemas {
        let tried = plain(value, schema, was, place);
        valid += usize::from(tried.is_valid());
        found.merge(tried);
    }
    if valid != schemas.len() {
        let none = if valid == 0 { ". None validated" } else { "" };
        found.add(named(place, &format!("must validate all the schemas (allOf){none}")));
    }
    found
}
