//! ResourceClaims.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::{GROUP, request, status};
use crate::shared::access::{at, at_mut, drop_nulls, has, list};
use crate::shared::meta;
use crate::shared::rules::immutable;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Expression, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced(GROUP, "ResourceClaim", "resourceclaims").with_status();
const COLUMNS: &[Column] = &[
    NAME,
    column("State", "string", "A summary of the current state (allocated, pending, reserved, etc.)."),
    AGE,
];

/// The strategy of ResourceClaims. Whether the namespace allows admin access is the API server's to ask, see
/// [`super::admin`].
pub struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        at_mut(obj, &["spec"]).into_iter().for_each(request::defaults);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(request::validate(at(obj, &["spec"]), &Path::new("spec")));
        errors
    }

    /// The spec is immutable, so that an update is not told what is wrong inside it.
    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors.extend(immutable(at(obj, &["spec"]), at(old, &["spec"]), &Path::new("spec")));
        errors
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        meta::keep_for_status(obj, old);
        status::drop_deallocated(obj, old);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(status::validate(obj, old));
        errors
    }

    fn expressions(&self, obj: &Value, old: Option<&Value>) -> Vec<Expression> {
        match old {
            Some(_) => Vec::new(),
            None => request::expressions(at(obj, &["spec"]), &Path::new("spec")),
        }
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(state(obj)), age(obj, now)]
    }
}

fn state(obj: &Value) -> String {
    let mut states = Vec::new();
    if has(obj, &["metadata", "deletionTimestamp"]) {
        states.push("deleted");
    }
    if !has(obj, &["status", "allocation"]) {
        if !has(obj, &["metadata", "deletionTimestamp"]) {
            states.push("pending");
        }
    } else {
        states.push("allocated");
        if !list(obj, &["status", "reservedFor"]).is_empty() {
            states.push("reserved");
        }
    }
    states.join(",")
}

#[cfg(test)]
mod tests;
