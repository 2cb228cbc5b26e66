//! ControllerRevisions: what a StatefulSet's or DaemonSet's template was.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, flag, int, list, text};
use crate::shared::rules::{NOT_NEGATIVE, immutable};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("apps", "ControllerRevision", "controllerrevisions");
const COLUMNS: &[Column] = &[
    NAME,
    column("Controller", "string", "Controller of the object"),
    column("Revision", "string", "Revision indicates the revision of the state represented by Data."),
    AGE,
];

/// The strategy of ControllerRevisions.
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = validate_whole(obj);
        let path = Path::new("data");
        match at(obj, &["data"]) {
            Value::Null => errors.push(FieldError::required(&path, "data is mandatory")),
            Value::Object(_) => {}
            _ => errors.push(FieldError::required(&path, "data must be a valid JSON object")),
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(validate_whole(obj));
        errors.extend(immutable(at(obj, &["data"]), at(old, &["data"]), &Path::new("data")));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let owner = list(obj, &["metadata", "ownerReferences"]).iter().find(|o| flag(o, &["controller"]));
        let controller = owner.map_or("<none>".to_owned(), |owner| {
            let group = text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
            let kind = text(owner, &["kind"]).to_lowercase();
            let kind = if group.is_empty() { kind } else { format!("{kind}.{group}") };
            format!("{kind}/{}", text(owner, &["name"]))
        });
        vec![name(obj), json!(controller), json!(int(obj, &["revision"]).unwrap_or(0)), age(obj, now)]
    }
}

fn validate_whole(obj: &Value) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let revision = int(obj, &["revision"]).unwrap_or(0);
    if revision < 0 {
        errors.push(FieldError::invalid(&Path::new("revision"), revision, NOT_NEGATIVE));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn revisions() {
        let table = Table::of(&ControllerRevision, json!({"data": {"spec": null}, "revision": 1}));
        table.defaults(&[(json!({}), json!({"data": {"spec": null}}))]);
        table.valid(&[("no number", json!({"revision": null}))]);
        table.invalid(&[
            ("no data", json!({"data": null}), &["data: Required value: data is mandatory"]),
            (
                "the data and the number",
                json!({"data": [], "revision": -1}),
                &[
                    "revision: Invalid value: -1: must be greater than or equal to 0",
                    "data: Required value: data must be a valid JSON object",
                ],
            ),
        ]);
        table.updates(&[
            ("the number", json!({"revision": 2}), &[]),
            ("the data", json!({"data": {"a": 1}}), &["data: Invalid value: {\"a\":1}: field is immutable"]),
        ]);
        table.columns(&["Name", "Controller", "Revision", "Age"]);
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true});
        table.rows(&[
            (json!({}), json!(["a", "<none>", 1, "60m"])),
            (json!({"metadata.ownerReferences": [owner]}), json!(["a", "daemonset.apps/d", 1, "60m"])),
        ]);
    }
}
