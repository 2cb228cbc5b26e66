//! ResourceClaimTemplates: what a pod's own claims are made from.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::{GROUP, request};
use crate::shared::access::{at, at_mut, drop_nulls};
use crate::shared::labels::validate_labels;
use crate::shared::meta::validate_annotations;
use crate::shared::rules::immutable;
use crate::{Expression, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced(GROUP, "ResourceClaimTemplate", "resourceclaimtemplates");

/// The strategy of ResourceClaimTemplates. Admin access is as with claims, asked of `spec.spec`.
pub struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        at_mut(obj, &["spec", "spec"]).into_iter().for_each(request::defaults);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let path = Path::new("spec");
        let (meta, meta_path) = (at(obj, &["spec", "metadata"]), path.child("metadata"));
        errors.extend(validate_annotations(at(meta, &["annotations"]), &meta_path.child("annotations")));
        errors.extend(validate_labels(at(meta, &["labels"]), &meta_path.child("labels")));
        errors.extend(request::validate(at(obj, &["spec", "spec"]), &path.child("spec")));
        errors
    }

    /// The spec is immutable, so that an update is not told what is wrong inside it.
    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors.extend(immutable(at(obj, &["spec"]), at(old, &["spec"]), &Path::new("spec")));
        errors
    }

    fn expressions(&self, obj: &Value, old: Option<&Value>) -> Vec<Expression> {
        match old {
            Some(_) => Vec::new(),
            None => request::expressions(at(obj, &["spec", "spec"]), &Path::new("spec").child("spec")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Table, patched};
    use serde_json::json;

    #[test]
    fn a_template_is_checked_and_fixed() {
        let requests = json!([{"name": "r", "exactly": {"deviceClassName": "c"}}]);
        let base = json!({"spec": {"spec": {"devices": {"requests": requests}}}});
        let table = Table::of(&ResourceClaimTemplate, base.clone());
        table.defaults(&[(json!({}), json!({"spec.spec.devices.requests[0].exactly.count": 1}))]);
        table.columns(&["Name", "Age"]);
        table.rows(&[(json!({}), json!(["a", "60m"]))]);
        table.invalid(&[
            (
                "the claims' labels",
                json!({"spec.metadata": {"labels": {"a": "-"}}}),
                &["spec.metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"],
            ),
            (
                "the claims' spec",
                json!({"spec.spec.devices.requests[0].exactly.deviceClassName": ""}),
                &["spec.spec.devices.requests[0].exactly.deviceClassName: Required value"],
            ),
        ]);
        table.updates(&[
            ("labels", json!({"metadata.labels": {"a": "b"}}), &[]),
            ("the spec", json!({"spec": {}}), &["spec: Invalid value: {}: field is immutable"]),
        ]);
        let selecting = patched(
            &base,
            &json!({"spec.spec.devices.requests[0].exactly.selectors": [{"cel": {"expression": "true"}}]}),
        );
        assert_eq!(
            ResourceClaimTemplate.expressions(&selecting, None)[0].path.as_str(),
            "spec.spec.devices.requests[0].exactly.selectors[0].cel.expression"
        );
    }
}
