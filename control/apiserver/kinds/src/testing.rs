//! Helpers of the tests: a whole create or update as the registry does it, and tables of cases.
//!
//! A kind's test is data. [`Table::of`] takes a valid base object; each case is a name, a patch onto it and the
//! texts of the errors expected, in order. A patch is an object from dotted paths to values:
//! `{"spec.rules[0].verbs": [], "spec.limited": null}`; null removes, an index one past the end appends. All
//! cases of a table run before it fails, and the failure prints what was found, so that a table can be read off.

use serde_json::{Value, json};
use xebec_api::field::FieldError;

use crate::{Context, Strategy};

/// The texts of the errors.
pub fn messages(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// The time tests run at: 2026-01-01T01:00:00Z.
pub fn now() -> jiff::Timestamp {
    "2026-01-01T01:00:00Z".parse().expect("a fixed time")
}

/// Defaults, prepares and validates a new object as the registry does.
pub fn create(strategy: &dyn Strategy, mut obj: Value) -> (Value, Vec<String>) {
    if obj.get("metadata").is_none() {
        obj["metadata"] = json!({"name": "a"});
    }
    if strategy.facts().namespaced && obj["metadata"].get("namespace").is_none() {
        obj["metadata"]["namespace"] = json!("ns");
    }
    obj["metadata"]["uid"] = json!("u-1");
    obj["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    strategy.defaults(&mut obj);
    strategy.prepare_for_create(&Context::new("me", "ns", now()), &mut obj);
    let errors = messages(&strategy.validate(&obj));
    (obj, errors)
}

/// Defaults, prepares and validates an update as the registry does.
pub fn update(strategy: &dyn Strategy, mut obj: Value, old: &Value) -> (Value, Vec<String>) {
    strategy.defaults(&mut obj);
    strategy.prepare_for_update(&Context::new("me", "ns", now()), &mut obj, old);
    let errors = messages(&strategy.validate_update(&obj, old));
    (obj, errors)
}

/// Defaults, prepares and validates a write to the status subresource as the registry does.
pub fn update_status(strategy: &dyn Strategy, mut obj: Value, old: &Value) -> (Value, Vec<String>) {
    strategy.defaults(&mut obj);
    strategy.prepare_for_status_update(&Context::new("me", "ns", now()), &mut obj, old);
    let errors = messages(&strategy.validate_status_update(&obj, old));
    (obj, errors)
}

/// Runs a whole create on an object of any shape.
pub fn try_create(strategy: &dyn Strategy, mut obj: Value) -> (Value, Vec<String>) {
    strategy.defaults(&mut obj);
    strategy.prepare_for_create(&Context::new("me", "ns", now()), &mut obj);
    let errors = messages(&strategy.validate(&obj));
    strategy.selectable_fields(&obj);
    strategy.warnings(&obj);
    (obj, errors)
}

/// Applies a patch of dotted paths, see the module's documentation.
pub fn patched(base: &Value, patch: &Value) -> Value {
    let mut out = base.clone();
    for (path, value) in patch.as_object().expect("a patch is an object of paths") {
        apply(&mut out, &steps(path), value);
    }
    out
}

/// `spec.rules[0].verbs` as its steps; `\.` is a dot inside a key.
fn steps(path: &str) -> Vec<String> {
    let hidden = path.replace("\\.", "\u{0}");
    let parts = hidden.split('.').flat_map(|part| part.split('['));
    parts.map(|step| step.trim_end_matches(']').replace('\u{0}', ".")).collect()
}

fn apply(target: &mut Value, steps: &[String], value: &Value) {
    let Some((step, rest)) = steps.split_first() else {
        *target = value.clone();
        return;
    };
    if let (Value::Array(items), Ok(index)) = (&mut *target, step.parse::<usize>()) {
        match (rest.is_empty() && value.is_null(), index < items.len()) {
            (true, _) => drop(items.remove(index)),
            (false, true) => apply(&mut items[index], rest, value),
            (false, false) => {
                items.push(Value::Null);
                apply(items.last_mut().expect("just pushed"), rest, value);
            }
        }
        return;
    }
    if !target.is_object() {
        *target = json!({});
    }
    let map = target.as_object_mut().expect("made an object just above");
    if rest.is_empty() && value.is_null() {
        map.remove(step);
    } else {
        apply(map.entry(step.clone()).or_insert(Value::Null), rest, value);
    }
}

/// A case: its name, a patch onto the base, the texts of the errors expected.
pub type Case<'a> = (&'a str, Value, &'a [&'a str]);

/// A kind under test with its valid base object.
pub struct Table<'a> {
    strategy: &'a dyn Strategy,
    base: Value,
    stored: Value,
}

impl<'a> Table<'a> {
    /// A table whose base, as a client would send it, must be valid.
    pub fn of(strategy: &'a dyn Strategy, base: Value) -> Self {
        let (stored, errors) = create(strategy, base.clone());
        assert_eq!(errors, Vec::<String>::new(), "the base of {} is valid", strategy.facts().kind);
        Table { strategy, base, stored }
    }

    /// The base as it is stored: defaulted, its server-owned fields set.
    pub fn stored(&self) -> &Value {
        &self.stored
    }

    /// Each patched base, created, holds these fields: (patch, {path: value, null for absent}).
    pub fn defaults(&self, cases: &[(Value, Value)]) {
        let mut wrong = Vec::new();
        for (patch, want) in cases {
            let (out, _) = create(self.strategy, patched(&self.base, patch));
            for (path, want) in want.as_object().expect("an object of paths") {
                let found = steps(path).iter().fold(&out, |at, step| match step.parse::<usize>() {
                    Ok(index) if at.is_array() => &at[index],
                    _ => &at[step.as_str()],
                });
                if found != want {
                    wrong.push(format!("{patch}: {path} is {found}, want {want}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Each patched base is valid.
    pub fn valid(&self, cases: &[(&str, Value)]) {
        let cases: Vec<Case<'_>> =
            cases.iter().map(|(name, patch)| (*name, patch.clone(), &[][..])).collect();
        self.invalid(&cases);
    }

    /// Each patched base, created, has exactly these errors.
    pub fn invalid(&self, cases: &[Case<'_>]) {
        check(cases, |patch| create(self.strategy, patched(&self.base, patch)).1);
    }

    /// Each patch onto the stored base, written as an update, has exactly these errors (none: it is allowed).
    pub fn updates(&self, cases: &[Case<'_>]) {
        self.updates_of(&json!({}), cases);
    }

    /// The same, from a base that is patched first (as the store might hold it).
    pub fn updates_of(&self, stored: &Value, cases: &[Case<'_>]) {
        let old = patched(&self.stored, stored);
        check(cases, |patch| update(self.strategy, patched(&old, patch), &old).1);
    }

    /// Each patch onto the stored base, written to its status, has exactly these errors.
    pub fn status(&self, cases: &[Case<'_>]) {
        self.status_of(&json!({}), cases);
    }

    /// The same, from a base that is patched first (as the store might hold it).
    pub fn status_of(&self, stored: &Value, cases: &[Case<'_>]) {
        let old = patched(&self.stored, stored);
        check(cases, |patch| update_status(self.strategy, patched(&old, patch), &old).1);
    }

    /// Each patch onto the stored base, written to a subresource of its own rules, has exactly these errors.
    pub fn subresource(&self, sub: &str, cases: &[Case<'_>]) {
        check(cases, |patch| {
            let mut obj = patched(&self.stored, patch);
            self.strategy.defaults(&mut obj);
            let ctx = Context::new("me", "ns", now());
            self.strategy.prepare_for_subresource_update(sub, &ctx, &mut obj, &self.stored);
            messages(&self.strategy.validate_subresource_update(sub, &obj, &self.stored))
        });
    }

    /// An update bumps the generation for these patches and for no others: (patch, whether it does).
    pub fn generation(&self, cases: &[(Value, bool)]) {
        let generation = |obj: &Value| obj["metadata"]["generation"].as_i64();
        let before = generation(&self.stored).expect("a generation");
        for (patch, bumped) in cases {
            let (new, _) = update(self.strategy, patched(&self.stored, patch), &self.stored);
            assert_eq!(generation(&new), Some(before + i64::from(*bumped)), "{patch}");
        }
    }

    /// A main write keeps the stored status; a status write keeps everything else.
    pub fn status_is_separate(&self, status: &Value, other: &Value) {
        let (new, _) = update(self.strategy, patched(&self.stored, status), &self.stored);
        assert_eq!(new["status"], self.stored["status"], "a main write keeps the status");
        let (new, _) = update_status(self.strategy, patched(&self.stored, other), &self.stored);
        assert_eq!(new, self.stored, "a status write keeps the rest");
    }

    /// Each patched stored base prints these cells (at the tests' time, one hour after its creation).
    pub fn rows(&self, cases: &[(Value, Value)]) {
        for (patch, want) in cases {
            let cells = self.strategy.row(&patched(&self.stored, patch), now());
            assert_eq!(&Value::Array(cells), want, "{patch}");
        }
    }

    /// The columns' names, those of `-o wide` with a `*`.
    pub fn columns(&self, want: &[&str]) {
        let shown = |column: &crate::Column| {
            if column.priority == 0 { column.name.to_owned() } else { format!("{}*", column.name) }
        };
        assert_eq!(self.strategy.columns().iter().map(shown).collect::<Vec<_>>(), want);
    }

    /// The stored base's selectable fields.
    pub fn selectable(&self, want: &[(&str, &str)]) {
        let found = self.strategy.selectable_fields(&self.stored);
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(found, want);
    }
}

fn check(cases: &[Case<'_>], run: impl Fn(&Value) -> Vec<String>) {
    let mut wrong = Vec::new();
    for (name, patch, want) in cases {
        let found = run(patch);
        if found != *want {
            wrong.push(format!("{name}:\n  found {found:#?}\n  want {want:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_set_append_and_remove() {
        let base = json!({"a": {"b": [1, 2]}, "c": 3, "d.e": 1});
        let patch = json!({"a.b[0]": 9, "a.b[2].x": true, "c": null, "d\\.e": 2});
        assert_eq!(patched(&base, &patch), json!({"a": {"b": [9, 2, {"x": true}]}, "d.e": 2}));
        assert_eq!(patched(&base, &json!({"a.b[0]": null}))["a"]["b"], json!([2]));
    }

    #[test]
    #[should_panic(expected = "found")]
    fn a_wrong_expectation_fails() {
        check(&[("case", json!({}), &["expected"])], |_| Vec::new());
    }
}
