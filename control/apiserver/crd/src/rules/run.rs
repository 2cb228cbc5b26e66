//! Running rules on an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use xebec_api::field::{ErrorKind, FieldError, Path};
use xebec_cel::{Bindings, Budget, EvalError, MessageError, Value as Cel};

use super::compile::{Compiled, CompiledRule, compile_node};
use super::{OLD_SELF, SELF};
use crate::schema::{Additional, Schema};
use crate::value::Correlated;
use crate::value::correlate::key_of;

/// The rules of a schema and of everything below, compiled.
#[derive(Clone, Debug)]
pub struct Rules {
    own: Option<Compiled>,
    /// The node's type, which errors show.
    kind: String,
    map_keys: Option<Vec<String>>,
    properties: BTreeMap<String, Rules>,
    other: Option<Arc<Rules>>,
    items: Option<Arc<Rules>>,
}

/// What rules say of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What is wrong.
    pub errors: Vec<FieldError>,
    /// What is wrong but was so before, in parts that have not changed: warnings.
    pub warnings: Vec<FieldError>,
}

impl Rules {
    /// Compiles the rules of a schema, `None` when there are none. `resource`: it is the schema of whole objects.
    pub fn compile(schema: &Schema, resource: bool) -> Option<Self> {
        if !schema.has_validations() {
            return None;
        }
        let own =
            if schema.ext.validations.is_empty() { None } else { Some(compile_node(schema, resource)?) };
        let below = |schema: &Schema| Self::compile(schema, schema.ext.embedded);
        Some(Self {
            own,
            kind: schema.kind.clone(),
            map_keys: schema.map_keys().map(<[String]>::to_vec),
            properties: schema
                .properties
                .iter()
                .filter_map(|(name, schema)| Some((name.clone(), below(schema)?)))
                .collect(),
            other: schema.additional.as_ref().and_then(Additional::schema).and_then(below).map(Arc::new),
            items: schema.items.as_deref().and_then(below).map(Arc::new),
        })
    }

    /// Runs all rules within one budget. `old` is the value before, `was` pairs the two for forgiving what has not
    /// changed; both `None` for a new object.
    pub fn check(
        &self,
        value: &Value,
        old: Option<&Value>,
        was: Option<Correlated<'_>>,
        path: &Path,
    ) -> Outcome {
        let mut run =
            Run { budget: Budget::new(xebec_cel::BUDGET), stopped: false, found: Outcome::default() };
        run.node(self, path, value, old, Ratchet { current: was, nearest: None });
        run.found
    }
}

/// Where the value is paired with the one before, or the nearest place above where it is.
#[derive(Clone, Copy, Default)]
struct Ratchet<'a> {
    current: Option<Correlated<'a>>,
    nearest: Option<Correlated<'a>>,
}

impl<'a> Ratchet<'a> {
    fn forgives(self) -> bool {
        self.current.or(self.nearest).is_some_and(Correlated::is_unchanged)
    }

    fn member(self, name: &str) -> Self {
        let Some(current) = self.current else { return self };
        if self.nearest.is_none() && (name == "apiVersion" || name == "kind") {
            return Self::default();
        }
        Self { current: current.member(name), nearest: Some(current) }
    }

    fn item(self, pair: Option<Correlated<'a>>) -> Self {
        let Some(current) = self.current else { return self };
        Self { current: pair, nearest: Some(current) }
    }
}

struct Run {
    budget: Budget,
    /// A limit has been reached: no further rules.
    stopped: bool,
    found: Outcome,
}

impl Run {
    fn node(&mut self, rules: &Rules, path: &Path, value: &Value, old: Option<&Value>, ratchet: Ratchet<'_>) {
        if self.stopped || value.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        if let Some(own) = &rules.own {
            self.expressions(own, &rules.kind, path, value, old, ratchet);
        }
        match value {
            Value::Array(items) => self.items(rules, path, items, old, ratchet),
            Value::Object(map) => self.members(rules, path, map, old, ratchet),
            _ => {}
        }
    }

    fn members(
        &mut self,
        rules: &Rules,
        path: &Path,
        map: &Map<String, Value>,
        old: Option<&Value>,
        ratchet: Ratchet<'_>,
    ) {
        for (name, value) in map {
            let old = old.and_then(|old| old.get(name));
            if let Some(other) = &rules.other {
                self.node(other, &path.key(name), value, old, ratchet.member(name));
            }
            if let Some(property) = rules.properties.get(name) {
                self.node(property, &path.child(name), value, old, ratchet.member(name));
            }
        }
    }

    fn items(
        &mut self,
        rules: &Rules,
        path: &Path,
        items: &[Value],
        old: Option<&Value>,
        ratchet: Ratchet<'_>,
    ) {
        let Some(below) = &rules.items else { return };
        let pairs = ratchet.current.map(Correlated::items).unwrap_or_default();
        // Only elements of a map list have a past.
        let mut before: BTreeMap<String, &Value> = BTreeMap::new();
        if let Some(keys) = &rules.map_keys {
            for item in old.and_then(Value::as_array).into_iter().flatten() {
                if let Some(key) = key_of(item, keys) {
                    before.entry(key).or_insert(item);
                }
            }
        }
        for (at, item) in items.iter().enumerate() {
            let key =
                rules.map_keys.as_ref().filter(|_| !before.is_empty()).and_then(|keys| key_of(item, keys));
            let old = key.and_then(|key| before.get(&key).copied());
            let pair = pairs.get(at).copied().flatten();
            self.node(below, &path.index(at), item, old, ratchet.item(pair));
        }
    }

    fn expressions(
        &mut self,
        own: &Compiled,
        kind: &str,
        path: &Path,
        value: &Value,
        old: Option<&Value>,
        ratchet: Ratchet<'_>,
    ) {
        let place = Place { kind, path, value, ratchet };
        if self.budget.remaining() == 0 {
            return self.stop(&place, EvalError::BudgetExhausted.to_string());
        }
        let values = own.decl.value(value).and_then(|value| {
            let old = old.map(|old| own.decl.value(old)).transpose()?;
            Ok((value, old))
        });
        for rule in &own.rules {
            if self.stopped {
                return;
            }
            match &values {
                Ok((value, old)) => self.rule(rule, &place, value, old.as_ref()),
                Err(error) => self.failed(rule, &place, error),
            }
        }
    }

    fn rule<'a>(&mut self, rule: &CompiledRule, place: &Place<'_>, value: &Cel<'a>, old: Option<&Cel<'a>>) {
        let program = match &rule.program {
            None => return,
            Some(Ok(program)) => program,
            Some(Err(error)) => {
                let detail = format!("rule compile error: {error}");
                return self.found.errors.push(FieldError::invalid(place.path, place.kind, detail));
            }
        };
        let optional = rule.rule.optional_old_self == Some(true);
        if rule.uses_old && old.is_none() && !optional {
            // A transition rule needs something to come from.
            return;
        }
        let mut plain = Bindings::new().with(SELF, value.clone());
        let mut bindings = plain.clone();
        if let Some(old) = old {
            plain = plain.with(OLD_SELF, old.clone());
        }
        if optional {
            let old = old.map_or(Cel::Optional(None), |old| Cel::some(old.clone()));
            bindings = bindings.with(OLD_SELF, old);
        } else {
            bindings = plain.clone();
        }
        match program.eval(&bindings, &mut self.budget) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => self.broken(rule, place, &plain),
            Err(error) => self.failed(rule, place, &error),
        }
    }

    /// A rule that could not be evaluated.
    fn failed(&mut self, rule: &CompiledRule, place: &Place<'_>, error: &EvalError) {
        let shown = shown(rule);
        match error {
            EvalError::BudgetExhausted => self.stop(place, error.to_string()),
            EvalError::CostLimit => self.stop(
                place,
                format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                ),
            ),
            EvalError::NoSuchOverload(_) => {
                let detail = format!(
                    "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
                );
                self.found.errors.push(FieldError::invalid(place.path, place.kind, detail));
            }
            _ => {
                let detail = format!("{error} evaluating rule: {shown}");
                self.found.errors.push(FieldError::invalid(place.path, place.kind, detail));
            }
        }
    }

    fn stop(&mut self, place: &Place<'_>, detail: String) {
        self.stopped = true;
        self.found.errors.push(FieldError::invalid(place.path, place.kind, detail));
    }

    /// A rule that does not hold.
    fn broken(&mut self, rule: &CompiledRule, place: &Place<'_>, bindings: &Bindings<'_>) {
        let path = match &rule.field {
            Some(field) if field.starts_with('[') => Path::new(&format!("{}{field}", place.path.as_str())),
            Some(field) => place.path.child(field),
            None => place.path.clone(),
        };
        let forgiven = !rule.uses_old && place.ratchet.forgives();
        let mut detail = None;
        if let Some(Ok(program)) = &rule.message {
            match xebec_cel::message(program, bindings, &mut self.budget) {
                Ok(message) => detail = Some(message),
                Err(MessageError::Eval(error @ (EvalError::CostLimit | EvalError::BudgetExhausted))) => {
                    self.stopped = true;
                    let error = FieldError::invalid(&path, place.kind, limit_of_message(&error, rule));
                    return self.found.add(error, forgiven);
                }
                // A message that cannot be made is no reason to say nothing.
                Err(_) => {}
            }
        }
        let detail = detail.unwrap_or_else(|| match rule.rule.message.as_str() {
            "" => format!("failed rule: {}", shown(rule)),
            message => message.trim().to_owned(),
        });
        self.found.add(error(rule, &path, place, detail), forgiven);
    }
}

impl Outcome {
    fn add(&mut self, error: FieldError, forgiven: bool) {
        if forgiven { self.warnings.push(error) } else { self.errors.push(error) }
    }
}

struct Place<'a> {
    kind: &'a str,
    path: &'a Path,
    value: &'a Value,
    ratchet: Ratchet<'a>,
}

/// How a rule is called in messages.
fn shown(rule: &CompiledRule) -> &str {
    let own = if rule.rule.message.is_empty() { &rule.rule.rule } else { &rule.rule.message };
    own.trim()
}

fn limit_of_message(error: &EvalError, rule: &CompiledRule) -> String {
    match error {
        EvalError::BudgetExhausted => {
            "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned()
        }
        _ => format!(
            "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
            xebec_api::gotext::quote(&rule.rule.message_expression)
        ),
    }
}

fn error(rule: &CompiledRule, path: &Path, place: &Place<'_>, detail: String) -> FieldError {
    // Whole objects and lists are not repeated.
    let value = (place.kind != "object" && place.kind != "array").then(|| place.value.clone());
    let (kind, detail) = match rule.rule.reason.as_deref() {
        Some("FieldValueForbidden") => return FieldError::forbidden(path, detail),
        Some("FieldValueRequired") => return FieldError::required(path, detail),
        Some("FieldValueDuplicate") => (ErrorKind::Duplicate, String::new()),
        _ => (ErrorKind::Invalid, detail),
    };
    FieldError { kind, field: path.to_string(), value, detail }
}
