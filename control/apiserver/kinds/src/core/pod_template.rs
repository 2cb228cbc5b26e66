//! PodTemplates: a stored template.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::pod::template;
use crate::shared::access::{at, drop_nulls};
use crate::table::{NAME, column, containers_and_images, labels, name};
use crate::{Column, Facts, Generation, Strategy, generic};

static FACTS: Facts =
    Facts::namespaced("", "PodTemplate", "podtemplates").with_generation(Generation::Content);
const COLUMNS: &[Column] = &[
    NAME,
    column("Containers", "string", "Names of each container in the template."),
    column("Images", "string", "Images referenced by each container in the template."),
    column("Pod Labels", "string", "The labels for the pod template."),
];

/// The strategy of PodTemplates.
pub struct PodTemplate;

impl Strategy for PodTemplate {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        template::defaults(obj, &["template"]);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(template::validate(at(obj, &["template"]), &Path::new("template")));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        let (names, images) = containers_and_images(at(obj, &["template", "spec"]));
        vec![
            name(obj),
            json!(names),
            json!(images),
            json!(labels(at(obj, &["template", "metadata", "labels"]))),
        ]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        template::warnings(at(obj, &["template"]), &Path::new("template"))
    }

    fn update_warnings(&self, obj: &Value, old: &Value) -> Vec<String> {
        if template::is_same(obj, old) { Vec::new() } else { self.warnings(obj) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn a_template_is_defaulted_checked_and_shown() {
        let base = json!({"template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}
        }});
        let table = Table::of(&PodTemplate, base);
        table.defaults(&[(
            json!({}),
            json!({"template.spec.restartPolicy": "Always", "metadata.generation": 1}),
        )]);
        table.columns(&["Name", "Containers", "Images", "Pod Labels"]);
        table.rows(&[(json!({}), json!(["a", "c", "i", "a=b"]))]);
        table.generation(&[
            (json!({"template.spec.containers[0].image": "j"}), true),
            (json!({"metadata.labels": {"a": "b"}}), false),
        ]);
        table.invalid(&[
            ("no containers", json!({"template.spec.containers": []}), &["template.spec.containers: Required value"]),
            (
                "a container for debugging",
                json!({"template.spec.ephemeralContainers": [{"name": "d", "image": "i"}]}),
                &["template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"],
            ),
        ]);
        table.updates(&[("another image", json!({"template.spec.containers[0].image": "j"}), &[])]);
    }
}
