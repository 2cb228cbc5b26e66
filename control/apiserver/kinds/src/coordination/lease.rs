//! Leases: who holds what, until when.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, int, text};
use crate::shared::rules::not_negative;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("coordination.k8s.io", "Lease", "leases");
const COLUMNS: &[Column] =
    &[NAME, column("Holder", "string", "The identity of the holder of a current lease."), AGE];

/// The strategy of Leases. A PUT to a name that does not exist creates the Lease.
pub struct Lease;

impl Strategy for Lease {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        if let Some(seconds) = int(spec, &["leaseDurationSeconds"]).filter(|seconds| *seconds <= 0) {
            errors.push(FieldError::invalid(
                &path.child("leaseDurationSeconds"),
                seconds,
                "must be greater than 0",
            ));
        }
        errors.extend(not_negative(spec, "leaseTransitions", &path));
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(text(obj, &["spec", "holderIdentity"])), age(obj, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn durations_are_positive() {
        let (lease, errors) =
            create(&Lease, json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(Lease.row(&lease, now())[1], "me");
        assert_eq!(
            create(&Lease, json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}})).1,
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
