//! The behaviour kinds share unless they say otherwise.
//!
//! Enters: a kind's [`Facts`] and objects. Leaves: prepared objects and metadata errors. Called by the default
//! bodies of [`crate::Strategy`] and by kinds that extend them.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, keep, remove, set};
use crate::shared::meta;
use crate::{Column, Strategy, table};

/// When an update bumps `metadata.generation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The kind has no generation.
    None,
    /// When `spec` changes.
    Spec,
    /// When `spec` or the annotations change (Deployment).
    SpecAndAnnotations,
    /// When anything outside `metadata` and `status` changes (kinds without a spec).
    Content,
}

/// Which names a kind accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, up to 253 characters.
    Subdomain,
    /// RFC 1123 label, up to 63 characters.
    Label,
    /// Any name usable as a path segment (RBAC).
    PathSegment,
    /// A name the kind checks itself.
    Own,
}

/// A kind's fixed facts.
#[derive(Clone, Debug)]
pub struct Facts {
    /// API group, empty for core.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural resource name.
    pub plural: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The status of a new object, `None` when the kind has no status.
    pub empty_status: Option<fn() -> Value>,
    /// When the generation moves.
    pub generation: Generation,
    /// Which names are valid.
    pub name: NameRule,
}

fn empty_object() -> Value {
    json!({})
}

impl Facts {
    /// A namespaced kind without status or generation.
    pub const fn namespaced(group: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Facts {
            group,
            kind,
            plural,
            namespaced: true,
            empty_status: None,
            generation: Generation::None,
            name: NameRule::Subdomain,
        }
    }

    /// A cluster-scoped kind without status or generation.
    pub const fn cluster(group: &'static str, kind: &'static str, plural: &'static str) -> Self {
        let mut facts = Facts::namespaced(group, kind, plural);
        facts.namespaced = false;
        facts
    }

    /// The same, with a status that starts as `{}`.
    pub const fn with_status(mut self) -> Self {
        self.empty_status = Some(empty_object);
        self
    }

    /// The same, with a status that starts as the given value.
    pub const fn with_initial_status(mut self, make: fn() -> Value) -> Self {
        self.empty_status = Some(make);
        self
    }

    /// The same, with a generation.
    pub const fn with_generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// The same, with another name rule.
    pub const fn with_name(mut self, name: NameRule) -> Self {
        self.name = name;
        self
    }
}

/// Empties the status and starts the generation at 1.
pub fn prepare_for_create(facts: &Facts, obj: &mut Value) {
    match facts.empty_status {
        Some(make) => set(obj, &["status"], make()),
        None => remove(obj, &["status"]),
    }
    if facts.generation == Generation::None {
        remove(obj, &["metadata", "generation"]);
    } else {
        set(obj, &["metadata", "generation"], json!(1));
    }
}

/// Keeps the old status and bumps the generation when what it counts has changed.
pub fn prepare_for_update(facts: &Facts, obj: &mut Value, old: &Value) {
    if facts.empty_status.is_some() {
        match at(old, &["status"]) {
            Value::Null => remove(obj, &["status"]),
            status => set(obj, &["status"], status.clone()),
        }
    }
    let changed = match facts.generation {
        Generation::None => return keep(obj, old, &["metadata", "generation"]),
        Generation::Spec => at(obj, &["spec"]) != at(old, &["spec"]),
        Generation::SpecAndAnnotations => {
            at(obj, &["spec"]) != at(old, &["spec"])
                || meta::map_at(obj, "annotations") != meta::map_at(old, "annotations")
        }
        Generation::Content => content(obj) != content(old),
    };
    let generation = at(old, &["metadata", "generation"]).as_i64().unwrap_or(0);
    set(obj, &["metadata", "generation"], json!(generation + i64::from(changed)));
}

fn content(obj: &Value) -> Vec<(&String, &Value)> {
    let skip = ["metadata", "status", "apiVersion", "kind"];
    obj.as_object().into_iter().flatten().filter(|(key, _)| !skip.contains(&key.as_str())).collect()
}

/// Takes everything but the status and the metadata a status write may change from the old object.
pub fn prepare_for_status_update(_facts: &Facts, obj: &mut Value, old: &Value) {
    let mut next = old.clone();
    match at(obj, &["status"]) {
        Value::Null => remove(&mut next, &["status"]),
        status => set(&mut next, &["status"], status.clone()),
    }
    let metadata = at(obj, &["metadata"]).clone();
    if metadata.is_object() {
        set(&mut next, &["metadata"], metadata);
        keep(&mut next, old, &["metadata", "generation"]);
    }
    *obj = next;
}

/// The metadata errors of a new object.
pub fn validate(facts: &Facts, obj: &Value) -> Vec<FieldError> {
    meta::validate(facts, obj, &Path::new("metadata"))
}

/// The metadata errors of an update, of the main resource and of any subresource.
///
/// A kind whose own rules look at the metadata again reports an error twice, as upstream does; the Status says it once.
pub fn validate_update(facts: &Facts, obj: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("metadata");
    let mut errors = meta::validate_common(facts, obj, &path);
    errors.extend(meta::validate_update(obj, old, &path));
    errors
}

/// Reads selectable fields by their dotted path; a missing boolean reads as `false`.
pub fn selectable_fields(names: &[&str], obj: &Value) -> Vec<(String, String)> {
    names
        .iter()
        .map(|name| {
            let path: Vec<&str> = name.split('.').collect();
            let value = match at(obj, &path) {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            ((*name).to_owned(), value)
        })
        .collect()
}

/// The strategy of a resource that needs nothing of its own.
#[derive(Clone, Debug)]
pub struct Generic(pub Facts);

impl Strategy for Generic {
    fn facts(&self) -> &Facts {
        &self.0
    }

    fn columns(&self) -> &[Column] {
        if self.shows_creation_time() { table::NAME_CREATED } else { table::NAME_AGE }
    }

    fn row(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        if self.shows_creation_time() { table::name_created_row(obj) } else { table::name_age_row(obj, now) }
    }
}

impl Generic {
    /// Upstream prints custom resource definitions with their creation time.
    fn shows_creation_time(&self) -> bool {
        self.0.plural == "customresourcedefinitions"
    }
}
