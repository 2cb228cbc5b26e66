//! ResourceQuotas: the most a namespace may use.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::quota_scopes;
use crate::pod::resources::{is_standard_of_quota, validate_name, validate_quantity};
use crate::shared::access::{at, drop_nulls, entries, texts};
use crate::shared::quantities::canonical_list;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("", "ResourceQuota", "resourcequotas").with_status();
const COLUMNS: &[Column] = &[
    NAME,
    column("Request", "string", "Used and allowed amounts of requests and objects."),
    column("Limit", "string", "Used and allowed amounts of limits."),
    AGE,
];
/// The strategy of ResourceQuotas.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        for path in [["spec", "hard"], ["status", "hard"], ["status", "used"]] {
            canonical_list(obj, &path);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_spec(obj));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(validate_spec(obj));
        let scopes = |quota| texts(quota, &["spec", "scopes"]).into_iter().collect::<BTreeSet<_>>();
        if scopes(obj) != scopes(old) {
            let detail = "field is immutable";
            let path = Path::new("spec").child("scopes");
            errors.push(FieldError::invalid(&path, at(obj, &["spec", "scopes"]), detail));
        }
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        for key in ["hard", "used"] {
            errors.extend(validate_amounts(at(obj, &["status", key]), &Path::new("status").child(key)));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (resource, hard) in entries(obj, &["status", "hard"]) {
            let used = at(obj, &["status", "used", resource]).as_str().unwrap_or("0");
            let cell = format!("{resource}: {used}/{}", hard.as_str().unwrap_or_default());
            if resource.starts_with("limits") { limits.push(cell) } else { requests.push(cell) }
        }
        vec![name(obj), json!(requests.join(", ")), json!(limits.join(", ")), age(obj, now)]
    }
}

fn validate_spec(obj: &Value) -> Vec<FieldError> {
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    let mut errors = validate_amounts(at(spec, &["hard"]), &path.child("hard"));
    errors.extend(quota_scopes::validate(spec, &path));
    errors
}

fn validate_amounts(amounts: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (resource, amount) in entries(amounts, &[]) {
        let path = path.key(resource);
        errors.extend(validate_name(resource, &path));
        if !resource.contains('/') && !is_standard_of_quota(resource) {
            let detail = "must be a standard resource for quota";
            errors.push(FieldError::invalid(&path, resource, detail));
        }
        errors.extend(validate_quantity(resource, amount, &path));
    }
    errors
}
