//! VolumeAttributesClasses: mutable attributes of volumes, by name.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, text};
use crate::shared::formats;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::cluster("storage.k8s.io", "VolumeAttributesClass", "volumeattributesclasses");
const COLUMNS: &[Column] = &[NAME, column("DriverName", "string", "Name of the CSI driver"), AGE];

/// The strategy of VolumeAttributesClasses.
pub struct VolumeAttributesClass;

/// The errors of the name of a driver or provisioner, which may be qualified.
pub(super) fn provisioner(name: &str, path: &Path) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    formats::qualified_name(&name.to_lowercase(), path)
}

impl Strategy for VolumeAttributesClass {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(provisioner(text(obj, &["driverName"]), &Path::new("driverName")));
        errors.extend(formats::parameters(at(obj, &["parameters"]), false, &Path::new("parameters")));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        for key in ["driverName", "parameters"] {
            if at(obj, &[key]) != at(old, &[key]) {
                let detail = format!("updates to {key} are forbidden.");
                errors.push(FieldError::forbidden(&Path::new(key), detail));
            }
        }
        errors.extend(self.validate(obj));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(text(obj, &["driverName"])), age(obj, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn a_class_is_checked_and_fixed() {
        let table = Table::of(&VolumeAttributesClass, json!({"driverName": "x.y", "parameters": {"a": "b"}}));
        table.columns(&["Name", "DriverName", "Age"]);
        table.rows(&[(json!({}), json!(["a", "x.y", "60m"]))]);
        table.invalid(&[
            (
                "nothing",
                json!({"driverName": null, "parameters": null}),
                &[
                    "driverName: Required value",
                    "parameters: Required value: must contain at least one key/value pair",
                ],
            ),
            (
                "a nameless parameter",
                json!({"parameters": {"": "b"}}),
                &["parameters: Invalid value: \"\": field can not be empty."],
            ),
            (
                "large parameters",
                json!({"parameters": {"a": "x".repeat(256 * 1024)}}),
                &["parameters: Too long: may not be more than 262144 bytes"],
            ),
        ]);
        let many: serde_json::Map<String, Value> = (0..513).map(|i| (format!("k{i}"), json!("v"))).collect();
        table.invalid(&[(
            "many parameters",
            json!({"parameters": many}),
            &["parameters: Too long: may not be more than 512 bytes"],
        )]);
        table.updates(&[(
            "all of it",
            json!({"driverName": "z", "parameters.c": "d"}),
            &[
                "driverName: Forbidden: updates to driverName are forbidden.",
                "parameters: Forbidden: updates to parameters are forbidden.",
            ],
        )]);
    }
}
