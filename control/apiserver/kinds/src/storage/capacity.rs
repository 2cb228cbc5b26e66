//! CSIStorageCapacities: how much room a driver has for a class in a part of the cluster.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, at_mut, drop_nulls, has, text};
use crate::shared::formats::subdomain;
use crate::shared::labels::validate_selector;
use crate::shared::node_labels::selector_warnings;
use crate::shared::quantities::{canonical, not_negative};
use crate::shared::rules::immutable;
use crate::table::{Column, NAME, column, name};
use crate::{Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities");
const COLUMNS: &[Column] = &[
    NAME,
    column(
        "StorageClassName",
        "string",
        "The name of the StorageClass that the reported capacity applies to.",
    ),
    column("Capacity", "string", "The value reported by the CSI driver in its GetCapacityResponse."),
];

/// The strategy of CSIStorageCapacities.
pub struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        for key in ["capacity", "maximumVolumeSize"] {
            at_mut(obj, &[key]).into_iter().for_each(canonical);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_selector(at(obj, &["nodeTopology"]), &Path::new("nodeTopology")));
        errors.extend(subdomain(text(obj, &["storageClassName"]), &Path::new("storageClassName")));
        if has(obj, &["capacity"]) {
            errors.extend(not_negative(at(obj, &["capacity"]), &Path::new("capacity")));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        for key in ["nodeTopology", "storageClassName"] {
            errors.extend(immutable(at(obj, &[key]), at(old, &[key]), &Path::new(key)));
        }
        errors
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        selector_warnings(at(obj, &["nodeTopology"]), &Path::new("nodeTopology"))
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(text(obj, &["storageClassName"])), json!(text(obj, &["capacity"]))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn capacities_are_checked() {
        let base = json!({"storageClassName": "fast", "capacity": "1024Mi", "nodeTopology": {"matchLabels": {"z": "1"}}});
        let table = Table::of(&CsiStorageCapacity, base);
        table.defaults(&[(json!({}), json!({"capacity": "1Gi"}))]);
        table.columns(&["Name", "StorageClassName", "Capacity"]);
        table.rows(&[(json!({}), json!(["a", "fast", "1Gi"]))]);
        table.valid(&[("nothing known", json!({"capacity": null, "nodeTopology": null}))]);
        table.invalid(&[
            ("less than nothing", json!({"capacity": "-1"}), &["capacity: Invalid value: \"-1\": must be greater than or equal to 0"]),
            (
                "the class's shape",
                json!({"storageClassName": "A"}),
                &["storageClassName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"],
            ),
            (
                "the topology",
                json!({"nodeTopology": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
                &["nodeTopology.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator"],
            ),
        ]);
        table.updates(&[
            ("more room", json!({"capacity": "2Gi"}), &[]),
            (
                "another class",
                json!({"storageClassName": "slow", "nodeTopology": {}}),
                &[
                    "nodeTopology: Invalid value: {}: field is immutable",
                    "storageClassName: Invalid value: \"slow\": field is immutable",
                ],
            ),
        ]);
        assert!(!CsiStorageCapacity.unconditional_update());
        let old = json!({"nodeTopology": {"matchLabels": {"beta.kubernetes.io/arch": "x"}}});
        assert_eq!(
            CsiStorageCapacity.warnings(&old),
            [
                "nodeTopology.matchLabels.beta.kubernetes.io/arch: deprecated since v1.14; use \"kubernetes.io/arch\" instead"
            ]
        );
    }
}
