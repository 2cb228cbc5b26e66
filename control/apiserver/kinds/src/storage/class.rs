//! StorageClasses.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::attributes_class::provisioner;
use crate::shared::access::{at, default_to, drop_nulls, flag, list, text, texts};
use crate::shared::formats::parameters;
use crate::shared::labels::validate_label_name;
use crate::shared::meta;
use crate::shared::node_labels::deprecation;
use crate::shared::rules::{immutable, one_of_given};
use crate::table::{AGE, Column, NAME, age, column};
use crate::{Facts, Strategy, generic};

static FACTS: Facts = Facts::cluster("storage.k8s.io", "StorageClass", "storageclasses");
const COLUMNS: &[Column] = &[
    NAME,
    column("Provisioner", "string", "Who makes volumes of this class."),
    column("ReclaimPolicy", "string", "What happens to released volumes."),
    column("VolumeBindingMode", "string", "When claims are provisioned and bound."),
    column("AllowVolumeExpansion", "string", "Whether volumes may grow."),
    AGE,
];
const DEFAULT: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// The strategy of StorageClasses.
pub struct StorageClass;

/// The errors of the parts of the cluster volumes may be made for: labels with sets of values, no term twice.
fn validate_topologies(terms: &[Value], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        let mut expressions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, expression) in list(term, &["matchLabelExpressions"]).iter().enumerate() {
            let path = path.index(index);
            let (key, values) = (text(expression, &["key"]), texts(expression, &["values"]));
            if values.is_empty() {
                errors.push(FieldError::required(&path.child("values"), ""));
            }
            for (index, value) in
                values.iter().enumerate().filter(|(at, value)| values[..*at].contains(value))
            {
                errors.push(FieldError::duplicate(&path.child("values").index(index), value));
            }
            errors.extend(validate_label_name(key, &path.child("key")));
            if expressions.insert(key, values.into_iter().collect()).is_some() {
                errors.push(FieldError::duplicate(&path.child("key"), key));
            }
        }
        // As upstream: an empty term equals each slot of a list as long as the terms, and so is refused.
        let alike = if expressions.is_empty() { terms.len() } else { 0 };
        let alike = alike + seen.iter().filter(|earlier| **earlier == expressions).count();
        errors.extend((0..alike).map(|_| FieldError::duplicate(&path, "")));
        seen.push(expressions);
    }
    errors
}

impl Strategy for StorageClass {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["reclaimPolicy"], "Delete");
        default_to(obj, &["volumeBindingMode"], "Immediate");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let root = Path::root();
        errors.extend(provisioner(text(obj, &["provisioner"]), &Path::new("provisioner")));
        errors.extend(parameters(at(obj, &["parameters"]), true, &Path::new("parameters")));
        if !text(obj, &["reclaimPolicy"]).is_empty() {
            errors.extend(one_of_given(obj, "reclaimPolicy", &["Delete", "Retain"], &root));
        }
        let modes = ["Immediate", "WaitForFirstConsumer"];
        errors.extend(one_of_given(obj, "volumeBindingMode", &modes, &root));
        errors
            .extend(validate_topologies(list(obj, &["allowedTopologies"]), &Path::new("allowedTopologies")));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        for key in ["parameters", "provisioner", "reclaimPolicy"] {
            if at(obj, &[key]) != at(old, &[key]) {
                errors
                    .push(FieldError::forbidden(&Path::new(key), format!("updates to {key} are forbidden.")));
            }
        }
        let mode = |class| at(class, &["volumeBindingMode"]);
        errors.extend(immutable(mode(obj), mode(old), &Path::new("volumeBindingMode")));
        errors
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let path = Path::new("allowedTopologies");
        let mut warnings = Vec::new();
        for (index, term) in list(obj, &["allowedTopologies"]).iter().enumerate() {
            let path = path.index(index).child("matchLabelExpressions");
            for (index, expression) in list(term, &["matchLabelExpressions"]).iter().enumerate() {
                if let Some(message) = deprecation(text(expression, &["key"])) {
                    warnings.push(format!("{}: {message}", path.index(index).child("key")));
                }
            }
        }
        warnings
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let is_default = DEFAULT.iter().any(|key| meta::annotation(obj, key) == Some("true"));
        let name = meta::name(obj);
        vec![
            json!(if is_default { format!("{name} (default)") } else { name.to_owned() }),
            json!(text(obj, &["provisioner"])),
            json!(text(obj, &["reclaimPolicy"])),
            json!(text(obj, &["volumeBindingMode"])),
            json!(flag(obj, &["allowVolumeExpansion"])),
            age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn a_class_is_defaulted_checked_and_fixed() {
        let meta = json!({"name": "a", "annotations": {DEFAULT[0]: "true"}});
        let table = Table::of(&StorageClass, json!({"metadata": meta, "provisioner": "x.y/z"}));
        table.defaults(&[(json!({}), json!({"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}))]);
        table.columns(&[
            "Name",
            "Provisioner",
            "ReclaimPolicy",
            "VolumeBindingMode",
            "AllowVolumeExpansion",
            "Age",
        ]);
        table.rows(&[
            (json!({}), json!(["a (default)", "x.y/z", "Delete", "Immediate", false, "60m"])),
            (
                json!({"metadata.annotations": null, "allowVolumeExpansion": true}),
                json!(["a", "x.y/z", "Delete", "Immediate", true, "60m"]),
            ),
        ]);
        let term = |value: &str| json!({"matchLabelExpressions": [{"key": "z", "values": [value]}]});
        table.valid(&[
            ("two zones", json!({"allowedTopologies": [term("1"), term("2")]})),
            ("an empty policy", json!({"reclaimPolicy": ""})),
        ]);
        assert_eq!(StorageClass.columns()[4].kind, "string");
        let old = json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "failure-domain.beta.kubernetes.io/zone"}]}]});
        assert_eq!(
            StorageClass.warnings(&old),
            [
                "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
            ]
        );
        table.invalid(&[
            ("no provisioner", json!({"provisioner": null}), &["provisioner: Required value"]),
            (
                "the policies",
                json!({"reclaimPolicy": "Recycle", "volumeBindingMode": "Never"}),
                &[
                    "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
                    "volumeBindingMode: Unsupported value: \"Never\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
                ],
            ),
            (
                "an empty mode",
                json!({"volumeBindingMode": ""}),
                &["volumeBindingMode: Unsupported value: \"\": supported values: \"Immediate\", \"WaitForFirstConsumer\""],
            ),
            ("a nameless parameter", json!({"parameters": {"": ""}}), &["parameters: Invalid value: \"\": field can not be empty."]),
            (
                "a zone twice",
                json!({"allowedTopologies": [term("1"), term("1")]}),
                &["allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\""],
            ),
            (
                "expressions",
                json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "z", "values": ["1", "1"]}, {"key": "z"}]}]}),
                &[
                    "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"1\"",
                    "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
                    "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"z\"",
                ],
            ),
            (
                "an empty term",
                json!({"allowedTopologies": [{}]}),
                &["allowedTopologies[0].matchLabelExpressions: Duplicate value: \"\""],
            ),
        ]);
        table.updates(&[
            ("expansion", json!({"allowVolumeExpansion": true}), &[]),
            (
                "what is fixed",
                json!({"provisioner": "q", "parameters": {"a": "b"}, "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}),
                &[
                    "parameters: Forbidden: updates to parameters are forbidden.",
                    "provisioner: Forbidden: updates to provisioner are forbidden.",
                    "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
                    "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
                ],
            ),
        ]);
    }
}
