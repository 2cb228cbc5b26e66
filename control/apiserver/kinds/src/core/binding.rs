//! Bindings: the request to run a pod on a node. Never stored.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, text};
use crate::shared::rules::required;
use crate::{Facts, Strategy};

static FACTS: Facts = Facts::namespaced("", "Binding", "bindings");

/// The strategy of Bindings.
pub struct Binding;

impl Strategy for Binding {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    /// The target alone is checked, as upstream does.
    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let (target, path) = (at(obj, &["target"]), Path::new("target"));
        let mut errors = Vec::new();
        let kind = text(target, &["kind"]);
        if !matches!(kind, "" | "Node") {
            errors.push(FieldError::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
        }
        errors.extend(required(target, "name", &path));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;
    use serde_json::json;

    #[test]
    fn the_target_is_a_node() {
        let table = Table::of(&Binding, json!({"target": {"kind": "Node", "name": "n"}}));
        table.valid(&[("no kind", json!({"target.kind": null}))]);
        table.invalid(&[(
            "a nameless pod",
            json!({"target": {"kind": "Pod"}}),
            &[
                "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
                "target.name: Required value",
            ],
        )]);
    }
}
