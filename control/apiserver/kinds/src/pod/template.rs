//! Pod templates: what Deployments, ReplicaSets, Jobs and the other workloads make pods from.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::{annotations, defaults, profiles, spec};
use crate::shared::access::{at, at_mut, int, list, text};
use crate::shared::labels::validate_labels;
use crate::shared::meta::validate_annotations;

/// Sets the defaults of the template at a path of the object.
pub fn defaults(obj: &mut Value, path: &[&str]) {
    let Some(template) = at_mut(obj, path) else { return };
    if let Some(spec) = at_mut(template, &["spec"]) {
        defaults::pod_spec(spec);
    }
}

/// Every error of a template's labels and annotations, which upstream files under the template itself.
pub fn validate_metadata(template: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_labels(at(template, &["metadata", "labels"]), &path.child("labels"));
    let annotations = at(template, &["metadata", "annotations"]);
    errors.extend(validate_annotations(annotations, &path.child("annotations")));
    errors.extend(annotations::validate(template, &path.child("annotations")));
    errors
}

/// Every error of a template.
pub fn validate(template: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_metadata(template, path);
    let spec_path = path.child("spec");
    errors.extend(spec::validate(at(template, &["spec"]), None, &spec_path));
    errors.extend(profiles::validate_match(template, &spec_path));
    if !list(template, &["spec", "ephemeralContainers"]).is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&spec_path.child("ephemeralContainers"), detail));
    }
    errors
}

/// The error of a template that may only restart always.
pub fn restarts_always(template: &Value, path: &Path) -> Vec<FieldError> {
    match text(template, &["spec", "restartPolicy"]) {
        "Always" | "" => Vec::new(),
        other => {
            vec![FieldError::not_supported(&path.child("spec").child("restartPolicy"), other, &["Always"])]
        }
    }
}

/// The warnings of a template at the path.
pub fn warnings(template: &Value, path: &Path) -> Vec<String> {
    if template.is_null() { Vec::new() } else { super::warnings::of(template, path) }
}

/// The warnings of a workload's template; with `named`, also that of a name that its pods cannot take into theirs.
pub fn workload_warnings(obj: &Value, named: bool) -> Vec<String> {
    let of_name = named.then(|| super::warnings::of_name(obj, "Pod names and hostnames")).flatten();
    let of_template = warnings(at(obj, &["spec", "template"]), &Path::new("spec").child("template"));
    of_name.into_iter().chain(of_template).collect()
}

/// The same of an update: none when nothing but metadata or the status changed.
pub fn workload_update_warnings(obj: &Value, old: &Value) -> Vec<String> {
    if is_same(obj, old) { Vec::new() } else { workload_warnings(obj, false) }
}

/// Whether an update left the spec as it was.
pub fn is_same(obj: &Value, old: &Value) -> bool {
    int(obj, &["metadata", "generation"]) == int(old, &["metadata", "generation"])
}
