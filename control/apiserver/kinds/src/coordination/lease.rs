//! Leases: who holds what, until when.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, has, int, remove, text};
use crate::shared::formats::qualified_name;
use crate::shared::rules::not_negative;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("coordination.k8s.io", "Lease", "leases");
const COLUMNS: &[Column] =
    &[NAME, column("Holder", "string", "The identity of the holder of a current lease."), AGE];

/// The strategy of Leases. A PUT to a name that does not exist creates the Lease.
pub struct Lease;

/// A strategy of coordinated leader election: Kubernetes' own, or a qualified name of someone else's.
fn validate_strategy(strategy: &str, path: &Path) -> Vec<FieldError> {
    // Upstream adds the field's name once more.
    let path = path.child("strategy");
    let own = ["OldestEmulationVersion"];
    if strategy.contains('/') {
        return qualified_name(strategy, &path);
    }
    if own.contains(&strategy) { Vec::new() } else { vec![FieldError::not_supported(&path, strategy, &own)] }
}

/// Coordinated leader election is off by default in 1.36: its fields are dropped unless they are stored already.
fn drop_coordination(obj: &mut Value, old: &Value) {
    for key in ["strategy", "preferredHolder"] {
        if !has(old, &["spec", key]) {
            remove(obj, &["spec", key]);
        }
    }
}

impl Strategy for Lease {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        drop_coordination(obj, &Value::Null);
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        drop_coordination(obj, old);
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
        let strategy = text(spec, &["strategy"]);
        if has(spec, &["strategy"]) {
            errors.extend(validate_strategy(strategy, &path.child("strategy")));
        }
        if !text(spec, &["preferredHolder"]).is_empty() && strategy.is_empty() {
            let detail = "may only be specified if `strategy` is defined";
            errors.push(FieldError::forbidden(&path.child("preferredHolder"), detail));
        }
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
    use crate::testing::Table;

    #[test]
    fn leases_are_checked() {
        let table = Table::of(&Lease, json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}));
        table.columns(&["Name", "Holder", "Age"]);
        table.rows(&[
            (json!({}), json!(["a", "me", "60m"])),
            (json!({"spec": null}), json!(["a", "", "60m"])),
        ]);
        table.defaults(&[(
            json!({"spec.strategy": "OldestEmulationVersion", "spec.preferredHolder": "you"}),
            json!({"spec.strategy": null, "spec.preferredHolder": null}),
        )]);
        table.valid(&[("nothing", json!({"spec": null}))]);
        table.invalid(&[(
            "the numbers",
            json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
            &[
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ],
        )]);
        let coordinated = json!({"spec.strategy": "OldestEmulationVersion", "spec.preferredHolder": "you"});
        table.updates_of(&coordinated, &[
            ("others' strategy", json!({"spec.strategy": "a.b/c"}), &[]),
            (
                "an unknown strategy",
                json!({"spec.strategy": "Youngest"}),
                &["spec.strategy.strategy: Unsupported value: \"Youngest\": supported values: \"OldestEmulationVersion\""],
            ),
            (
                "a preferred holder alone",
                json!({"spec.strategy": null}),
                &["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"],
            ),
        ]);
        table.updates(&[("renewed", json!({"spec.renewTime": "2026-01-01T00:00:00.000000Z"}), &[])]);
        assert!(Lease.create_on_update() && !Lease.unconditional_update());
    }
}
