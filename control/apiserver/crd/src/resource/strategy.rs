//! A strategy made of a version.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{ErrorKind, FieldError, Path};
use xebec_api::schema::Finding;
use xebec_kinds::shared::access::{at, remove, set, text};
use xebec_kinds::{Context, Facts, Generation, NameRule, Strategy, generic};

use super::cells::Columns;
use super::{ScaleError, metadata, scale};
use crate::definition::{Definition, Scale};
use crate::path::JsonPath;
use crate::rules::{self, Rules};
use crate::schema::Schema;
use crate::shape::{self, BadMetadata, ShapeError};
use crate::value::{self, Correlated};

/// Why a version cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServingError {
    /// The definition has no such version.
    #[error("custom resource definition {name} has no version {version:?}")]
    NoVersion {
        /// The definition.
        name: String,
        /// The version.
        version: String,
    },
    /// No names have been accepted yet.
    #[error("custom resource definition {0} has no accepted names")]
    NoNames(String),
    /// The schema nests too deeply to be read.
    #[error("the schema of {0} nests too deeply")]
    TooDeep(String),
}

/// The rules of the objects of one version.
///
/// Immutable and cheap to share; make a new one when the definition's spec or accepted names change.
#[derive(Clone, Debug)]
pub struct CustomStrategy {
    facts: Facts,
    api_version: String,
    /// The schema with its defaults pruned, `None` when old objects keep whatever they have.
    schema: Option<Arc<Schema>>,
    /// `spec.preserveUnknownFields`: nothing is pruned.
    preserve_unknown: bool,
    /// The schema's rules in CEL.
    rules: Option<Arc<Rules>>,
    has_status: bool,
    scale: Option<Scale>,
    columns: Columns,
    selectable: Vec<(&'static str, JsonPath)>,
    selectable_names: Vec<&'static str>,
}

impl CustomStrategy {
    /// The strategy of `version`. `intern` keeps a text for the life of the process (there are a handful per version:
    /// group, kind, plural and the selectable fields).
    pub fn new(
        definition: &Definition,
        version: &str,
        intern: &dyn Fn(&str) -> &'static str,
    ) -> Result<Self, ServingError> {
        let name = definition.name.clone();
        let Some(found) = definition.version(version) else {
            return Err(ServingError::NoVersion { name, version: version.to_owned() });
        };
        if found.too_deep {
            return Err(ServingError::TooDeep(definition.api_version(version)));
        }
        let accepted = &definition.accepted;
        if accepted.plural.is_empty() || accepted.kind.is_empty() {
            return Err(ServingError::NoNames(name));
        }
        let mut facts =
            Facts::namespaced(intern(&definition.group), intern(&accepted.kind), intern(&accepted.plural))
                .with_generation(Generation::Content)
                .with_name(NameRule::Subdomain);
        facts.namespaced = definition.namespaced;
        if found.has_status() {
            facts = facts.with_status();
        }
        let schema = found.schema.as_deref().cloned().map(|mut schema| {
            shape::prune_defaults(&mut schema);
            schema.forget_docs();
            Arc::new(schema)
        });
        let selectable: Vec<(&'static str, JsonPath)> = found
            .selectable
            .iter()
            .filter_map(|path| {
                let name = path.strip_prefix('.').unwrap_or(path);
                Some((intern(name), JsonPath::parse(path).ok()?))
            })
            .collect();
        Ok(Self {
            facts,
            api_version: definition.api_version(version),
            rules: schema.as_deref().and_then(|schema| Rules::compile(schema, true)).map(Arc::new),
            schema,
            preserve_unknown: definition.preserve_unknown,
            has_status: found.has_status(),
            scale: found.scale().cloned(),
            columns: Columns::of(found),
            selectable_names: selectable.iter().map(|(name, _)| *name).collect(),
            selectable,
        })
    }

    /// The version's schema, its defaults pruned.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// Whether the status is written at its own path.
    pub fn has_status(&self) -> bool {
        self.has_status
    }

    /// Brings a client's object into shape: unknown fields and stray nulls dropped, metadata checked. What was
    /// dropped is found as `unknown field "spec.x"`; the caller refuses, warns or says nothing (`fieldValidation`).
    /// Call it on every body, on the result of every patch and after mutating admission, before
    /// [`Strategy::defaults`].
    pub fn decode(&self, object: &mut Value) -> Result<Vec<Finding>, ShapeError> {
        let unknown = self.shape(object, BadMetadata::Refuse)?;
        Ok(unknown.into_iter().map(|path| Finding::Unknown { path }).collect())
    }

    /// The same, with what makes it no object of the kind as a fatal finding: a 400.
    pub fn check_fields(&self, object: &mut Value) -> Vec<Finding> {
        self.decode(object).unwrap_or_else(|error| {
            vec![Finding::Malformed { path: String::new(), message: error.to_string() }]
        })
    }

    /// Brings a stored object, already of this version, into shape, with today's defaults. What is malformed in its
    /// metadata is dropped; an object from before generations gets 1.
    pub fn read_stored(&self, object: &mut Value) -> Result<(), ShapeError> {
        self.shape(object, BadMetadata::Drop)?;
        if at(object, &["metadata", "generation"]).as_i64().unwrap_or(0) == 0 {
            set(object, &["metadata", "generation"], json!(1));
        }
        self.defaults(object);
        Ok(())
    }

    fn shape(&self, object: &mut Value, bad: BadMetadata) -> Result<Vec<String>, ShapeError> {
        if self.preserve_unknown {
            // Old definitions keep everything: only metadata is looked at.
            let mut keeping = Schema::default();
            keeping.ext.preserve_unknown = Some(true);
            return shape::decode(object, Some(&keeping), bad);
        }
        shape::decode(object, self.schema.as_deref(), bad)
    }

    /// The Scale of an object, for GET; `None` when the version has no scale.
    pub fn scale_of(&self, object: &Value) -> Option<Result<Value, ScaleError>> {
        self.scale.as_ref().map(|scale| scale::read(object, scale, true))
    }

    /// The Scale of an object as the answer to a write and for admission: missing replicas read as 0.
    pub fn scale_shown(&self, object: &Value) -> Option<Result<Value, ScaleError>> {
        self.scale.as_ref().map(|scale| scale::read(object, scale, false))
    }

    /// The object with the replicas of a Scale somebody wrote; `None` when the version has no scale.
    pub fn scaled(&self, object: &Value, wanted: &Value) -> Option<Result<Value, ScaleError>> {
        self.scale.as_ref().map(|scale| scale::write(object, scale, wanted))
    }

    /// The path of the wanted replicas, for field ownership: `["spec", "replicas"]`.
    pub fn replicas_path(&self) -> Option<Vec<&str>> {
        let scale = self.scale.as_ref()?;
        Some(scale.spec_replicas.trim_start_matches('.').split('.').collect())
    }

    fn type_errors(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (field, want) in [("kind", self.facts.kind), ("apiVersion", self.api_version.as_str())] {
            let found = text(object, &[field]);
            if found != want {
                errors.push(FieldError::invalid(&Path::new(field), found, format!("must be {want}")));
            }
        }
        errors
    }
}

/// Rules in CEL are not tried on an object whose structure is wrong.
fn blocks_rules(errors: &[FieldError]) -> bool {
    use ErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    errors.iter().any(|error| matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid))
}

impl CustomStrategy {
    /// The errors of an update as [`Strategy::validate_update`] finds them, and the rules in CEL it breaks that were
    /// broken before, in parts it does not change: these upstream warns of.
    pub fn check_update(&self, object: &Value, old: &Value) -> (Vec<FieldError>, Vec<String>) {
        let mut forgiven = Vec::new();
        let errors = self.errors(object, Some(old), &mut forgiven);
        (errors, forgiven.iter().map(ToString::to_string).collect())
    }

    fn errors(&self, object: &Value, old: Option<&Value>, forgiven: &mut Vec<FieldError>) -> Vec<FieldError> {
        let wrong_type = self.type_errors(object);
        if !wrong_type.is_empty() {
            return wrong_type;
        }
        let root = Path::root();
        let mut errors = generic::validate(&self.facts, object);
        if let Some(old) = old {
            errors.extend(generic::validate_update(&self.facts, object, old));
        }
        let schema = self.schema.as_deref();
        if let Some(schema) = schema {
            let was = old.map(|old| Correlated::new(object, old, schema));
            errors.extend(value::update_errors(object, schema, was, &root));
        }
        errors.extend(scale::spec_errors(object, self.scale.as_ref()));
        errors.extend(scale::status_errors(object, self.scale.as_ref()));
        if let Some(schema) = schema {
            errors.extend(shape::embedded_errors(object, schema, &root));
            if old.is_none_or(|old| value::list_errors(old, schema, &root).is_empty()) {
                errors.extend(value::list_errors(object, schema, &root));
            }
        }
        self.add_rule_errors(object, old, &mut errors, forgiven);
        errors
    }

    fn status_update_errors(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let wrong_type = self.type_errors(object);
        if !wrong_type.is_empty() {
            return wrong_type;
        }
        let mut errors = generic::validate(&self.facts, object);
        errors.extend(generic::validate_update(&self.facts, object, old));
        let schema = self.schema.as_deref();
        if let (Some(schema), Some(status)) = (schema, object.get("status")) {
            let was = Correlated::new(object, old, schema).member("status");
            if let Some(schema) = schema.properties.get("status") {
                errors.extend(value::update_errors(status, schema, was, &Path::new("status")));
            }
        }
        errors.extend(scale::status_errors(object, self.scale.as_ref()));
        if let Some(schema) = schema {
            let found = value::list_errors(object, schema, &Path::root());
            if !found.is_empty() && value::list_errors(old, schema, &Path::root()).is_empty() {
                errors.extend(found);
            }
        }
        self.add_rule_errors(object, Some(old), &mut errors, &mut Vec::new());
        errors
    }

    /// The errors of rules in CEL, unless the object's structure is wrong: then they are not tried.
    fn add_rule_errors(
        &self,
        object: &Value,
        old: Option<&Value>,
        errors: &mut Vec<FieldError>,
        forgiven: &mut Vec<FieldError>,
    ) {
        let Some(rules) = &self.rules else { return };
        if blocks_rules(errors) {
            // Upstream says so about no field and no value.
            errors.push(FieldError {
                kind: ErrorKind::Invalid,
                field: Path::root().to_string(),
                value: Some(Value::Null),
                detail: UNCHECKED.to_owned(),
            });
            return;
        }
        let found = self.run_rules(rules, object, old);
        errors.extend(found.errors);
        forgiven.extend(found.warnings);
    }

    fn run_rules(&self, rules: &Rules, object: &Value, old: Option<&Value>) -> rules::Outcome {
        let pair = |old| Some(Correlated::new(object, old, self.schema.as_deref()?));
        rules.check(object, old, old.and_then(pair), &Path::root())
    }
}

const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

impl Strategy for CustomStrategy {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn decoded(&self, object: &mut Value) {
        // A stored object that cannot be read at all is shown as it is; writing it is refused.
        let _ = self.read_stored(object);
    }

    fn defaults(&self, object: &mut Value) {
        if let Some(schema) = self.schema.as_deref().filter(|_| !self.preserve_unknown) {
            shape::apply_defaults(object, schema);
        }
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, object: &mut Value) {
        if self.has_status {
            remove(object, &["status"]);
        }
        set(object, &["metadata", "generation"], json!(1));
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        self.errors(object, None, &mut Vec::new())
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, object: &mut Value, old: &Value) {
        if self.has_status {
            match old.get("status") {
                Some(status) => set(object, &["status"], status.clone()),
                None => remove(object, &["status"]),
            }
        }
        // Anything but metadata counts; the status only when it has no path of its own.
        let content = |object: &Value| -> Vec<(String, Value)> {
            let fields = object.as_object().into_iter().flatten();
            fields.filter(|(name, _)| *name != "metadata").map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        let generation = at(old, &["metadata", "generation"]).as_i64().unwrap_or(0);
        let changed = content(object) != content(old);
        set(object, &["metadata", "generation"], json!(generation + i64::from(changed)));
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        self.errors(object, Some(old), &mut Vec::new())
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, object: &mut Value, old: &Value) {
        let managed = at(object, &["metadata", "managedFields"]).clone();
        let status = object.get("status").cloned();
        let mut next = old.clone();
        match managed {
            Value::Null => remove(&mut next, &["metadata", "managedFields"]),
            managed => set(&mut next, &["metadata", "managedFields"], managed),
        }
        match status {
            Some(status) => set(&mut next, &["status"], status),
            None => remove(&mut next, &["status"]),
        }
        *object = next;
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        self.status_update_errors(object, old)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(String, String)> {
        let shown = |value: Option<&Value>| match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        self.selectable.iter().map(|(name, path)| ((*name).to_owned(), shown(path.first(object)))).collect()
    }

    fn selectable_field_names(&self) -> &[&str] {
        &self.selectable_names
    }

    fn column_definitions(&self) -> Vec<Value> {
        self.columns.definitions()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        self.columns.row(object, now)
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        metadata::finalizer_warnings(object, None)
    }

    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        metadata::finalizer_warnings(object, Some(old))
    }
}
