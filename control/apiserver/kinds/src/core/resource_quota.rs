//! ResourceQuotas: the most a namespace may use.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::pod::resources::{validate_name, validate_quantity};
use crate::shared::access::{at, drop_nulls, entries, texts};
use crate::shared::quantities::canonical_list;
use crate::shared::rules::immutable;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("", "ResourceQuota", "resourcequotas").with_status();
const COLUMNS: &[Column] = &[
    NAME,
    column("Request", "string", "Used and allowed amounts of requests and objects."),
    column("Limit", "string", "Used and allowed amounts of limits."),
    AGE,
];
const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
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
        let path = Path::new("spec");
        for (resource, amount) in entries(obj, &["spec", "hard"]) {
            let path = path.child("hard").key(resource);
            errors.extend(validate_name(resource.strip_prefix("count/").map_or(resource, |_| "pods"), &path));
            errors.extend(validate_quantity(resource, amount, &path));
        }
        for scope in texts(obj, &["spec", "scopes"]) {
            if !SCOPES.contains(&scope) {
                errors.push(FieldError::invalid(&path.child("scopes"), scope, "unsupported scope"));
            }
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        let scopes = |quota: &Value| {
            let mut scopes: Vec<String> =
                texts(quota, &["spec", "scopes"]).into_iter().map(str::to_owned).collect();
            scopes.sort();
            json!(scopes)
        };
        errors.extend(immutable(&scopes(obj), &scopes(old), &Path::new("spec").child("scopes")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn used_and_hard_are_shown() {
        let (mut quota, errors) = create(
            &ResourceQuota,
            json!({"spec": {"hard": {"pods": 4, "limits.cpu": "2", "count/jobs.batch": "3"}}}),
        );
        assert_eq!(errors, Vec::<String>::new());
        quota["status"] = json!({"hard": {"limits.cpu": "2", "pods": "4"}, "used": {"pods": "1"}});
        assert_eq!(ResourceQuota.row(&quota, now())[1..3], [json!("pods: 1/4"), json!("limits.cpu: 0/2")]);
        let wrong = create(&ResourceQuota, json!({"spec": {"hard": {"pods": "-1"}}})).1;
        assert_eq!(wrong, ["spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0"]);
    }
}
