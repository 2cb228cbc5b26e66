//! What the schema says about texts.

use super::formats;
use super::outcome::{Issue, Outcome};
use super::place::Place;
use crate::schema::Schema;
use serde_json::Value;

/// Length and pattern; the first that fails is reported. Nothing when all is well.
pub fn check(text: &str, schema: &Schema, place: &Place<'_>) -> Option<Outcome> {
    let rules = &schema.rules;
    let value = || Some(Value::from(text));
    let length = |limit: Option<i64>, fits: fn(i64, i64) -> bool| {
        limit.filter(|limit| !fits(i64::try_from(text.chars().count()).unwrap_or(i64::MAX), *limit))
    };
    if let Some(max) = length(rules.max_length, |length, max| length <= max) {
        return Some(Outcome::of(Issue::too_long(place.text(), max)));
    }
    if let Some(min) = length(rules.min_length, |length, min| length >= min) {
        let rule = format!("should be at least {min} chars long");
        return Some(Outcome::of(Issue::invalid(place.text(), value(), &rule)));
    }
    let pattern = rules.pattern.as_ref()?;
    let source = pattern.source();
    let rule = match pattern.error() {
        Some(error) => format!("should match '{source}, but pattern is invalid: {error}'"),
        None if pattern.matches(text) => return None,
        None => format!("should match '{source}'"),
    };
    Some(Outcome::of(Issue::invalid(place.text(), value(), &rule)))
}

/// The format of a text, for those formats the server checks.
pub fn check_format(text: &str, schema: &Schema, place: &Place<'_>) -> Option<Outcome> {
    let format = formats::of_schema(schema)?;
    let check = formats::checker(format)?;
    (!check(text)).then(|| Outcome::of(Issue::wrong_type(place.text(), format, text)))
}
