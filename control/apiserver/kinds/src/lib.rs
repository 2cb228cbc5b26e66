//! What the API server knows about each kind: defaults, validation, update rules, tables, selectable fields.
//!
//! Enters: an object as a JSON value, already decoded and checked against its schema. Leaves: the object with
//! defaults and server-owned fields set, or the list of field errors upstream would answer. Called by
//! xebec-apiserver's registry between admission and the store. Pure: no clock (it is in [`Context`]), no I/O.

use serde_json::Value;
use xebec_api::field::FieldError;

pub mod admissionregistration;
pub mod apiregistration;
pub mod apps;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod convert;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod expression;
pub mod flowcontrol;
pub mod generic;
pub mod networking;
pub mod node;
pub mod openapi;
pub mod pod;
pub mod policy;
pub mod rbac;
pub mod registered;
pub mod resource;
pub mod scheduling;
pub mod shared;
pub mod storage;
pub mod table;
#[cfg(test)]
mod testing;

pub use expression::Expression;
pub use generic::{Facts, Generation, NameRule};
pub use table::Column;

/// What a strategy may know about the request besides the object.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The requesting user's name.
    pub user: &'a str,
    /// The request's time.
    pub now: jiff::Timestamp,
    /// The request's namespace, empty for a cluster-scoped object.
    pub namespace: &'a str,
    /// The version the request is made in, such as `v1beta1`; empty means the one that is stored.
    pub version: &'a str,
    /// True when nothing will be stored.
    pub dry_run: bool,
}

impl<'a> Context<'a> {
    /// A context for a stored write by `user` in `namespace` at `now`.
    pub fn new(user: &'a str, namespace: &'a str, now: jiff::Timestamp) -> Self {
        Context { user, now, namespace, version: "", dry_run: false }
    }
}

/// One kind's rules, in the order the registry calls them: defaults, prepare, validate.
///
/// Every method has upstream's generic behaviour as its default body, driven by [`Strategy::facts`].
pub trait Strategy: Send + Sync {
    /// The kind's fixed facts: group, plural, scope, status, generation, name rule.
    fn facts(&self) -> &Facts;

    /// Makes an object just read from the store what the kind's schema says today. Only custom resources need it, whose
    /// schema may have changed since the object was written.
    fn decoded(&self, _obj: &mut Value) {}

    /// Sets what upstream's SetDefaults functions set, and puts quantities in canonical form. Idempotent.
    fn defaults(&self, _obj: &mut Value) {}

    /// Makes a new object's server-owned fields right: status emptied, generation 1, phases.
    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(self.facts(), obj);
    }

    /// Every error in a new object, metadata included, in upstream's order and words.
    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        generic::validate(self.facts(), obj)
    }

    /// Keeps what a write to the main resource may not touch (status), and bumps the generation.
    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(self.facts(), obj, old);
    }

    /// Every error in an update, immutable fields included.
    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(self.facts(), obj, old));
        errors
    }

    /// Keeps everything but the status (and metadata upstream lets through) of the old object.
    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(self.facts(), obj, old);
    }

    /// Every error in a write to the status subresource.
    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        generic::validate_update(self.facts(), obj, old)
    }

    /// Keeps what a write to a subresource with rules of its own (`approval`) may not touch.
    fn prepare_for_subresource_update(&self, _sub: &str, _ctx: &Context<'_>, _obj: &mut Value, _old: &Value) {
    }

    /// Every error in a write to a subresource with rules of its own (`approval`).
    fn validate_subresource_update(&self, _sub: &str, _obj: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// The CEL expressions upstream compiles when the object is written (`old` is the stored object of an
    /// update), for the API server to compile once [`Strategy::validate`] has found no error.
    fn expressions(&self, _obj: &Value, _old: Option<&Value>) -> Vec<Expression> {
        Vec::new()
    }

    /// The values of the selectable fields beyond `metadata.name` and `metadata.namespace`.
    fn selectable_fields(&self, obj: &Value) -> Vec<(String, String)> {
        generic::selectable_fields(self.selectable_field_names(), obj)
    }

    /// The names accepted in a field selector beyond `metadata.name` and `metadata.namespace`.
    fn selectable_field_names(&self) -> &[&str] {
        &[]
    }

    /// The columns of the kind's Table.
    fn columns(&self) -> &[Column] {
        table::NAME_AGE
    }

    /// The columns as TableColumnDefinitions; kinds whose columns are only known at run time override this.
    fn column_definitions(&self) -> Vec<Value> {
        self.columns().iter().map(Column::to_value).collect()
    }

    /// The cells of one object, as many as [`Strategy::column_definitions`].
    fn row(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        table::name_age_row(obj, now)
    }

    /// The grace period a DELETE starts, in seconds; `None` when the kind is deleted at once.
    fn graceful_deletion_seconds(&self, _obj: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// True when a PUT to a name that does not exist creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// True when a PUT may come without a resourceVersion.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// The texts of the `Warning` headers upstream sends for the object.
    fn warnings(&self, _obj: &Value) -> Vec<String> {
        Vec::new()
    }

    /// The same for an update; upstream does not always repeat what the old object was warned of.
    fn update_warnings(&self, obj: &Value, _old: &Value) -> Vec<String> {
        self.warnings(obj)
    }
}

/// The strategy of a resource, `None` when the built-in resource table does not have it.
///
/// The version does not matter: all versions of a resource share their rules.
pub fn strategy(group: &str, plural: &str) -> Option<&'static dyn Strategy> {
    registered::lookup(group, plural)
}
