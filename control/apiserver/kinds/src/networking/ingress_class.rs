//! IngressClasses: who serves an Ingress.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::ingress::GROUP;
use super::ingress::validate_reference;
use crate::shared::access::{at, default_to, drop_nulls, has, text};
use crate::shared::formats::{domain_prefixed_path, label};
use crate::shared::rules::immutable;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Generation, Strategy, generic};

static FACTS: Facts =
    Facts::cluster(GROUP, "IngressClass", "ingressclasses").with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column("Controller", "string", "Controller that is responsible for handling this class"),
    column("Parameters", "string", "A reference to a resource with additional parameters"),
    AGE,
];
const CONTROLLER_MAX_BYTES: usize = 250;

/// The strategy of IngressClasses.
pub struct IngressClass;

fn validate_parameters(parameters: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_reference(parameters, path);
    let namespace_path = path.child("namespace");
    match (text(parameters, &["scope"]), at(parameters, &["namespace"]).as_str()) {
        ("Namespace", None) => {
            let detail = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(&namespace_path, detail));
        }
        ("Namespace", Some(namespace)) => errors.extend(label(namespace, &namespace_path)),
        ("Cluster", Some(_)) => {
            let detail = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(&namespace_path, detail));
        }
        ("Cluster", None) => {}
        (other, _) => {
            let scopes = ["Cluster", "Namespace"];
            errors.push(FieldError::not_supported(&path.child("scope"), other, &scopes));
        }
    }
    errors
}

impl Strategy for IngressClass {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        if has(obj, &["spec", "parameters"]) {
            default_to(obj, &["spec", "parameters", "scope"], "Cluster");
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let path = Path::new("spec").child("controller");
        match text(obj, &["spec", "controller"]) {
            "" => errors.push(FieldError::required(&path, "")),
            controller => {
                if controller.len() > CONTROLLER_MAX_BYTES {
                    errors.push(FieldError::too_long(&path, CONTROLLER_MAX_BYTES));
                }
                errors.extend(domain_prefixed_path(controller, &path));
            }
        }
        if has(obj, &["spec", "parameters"]) {
            let path = Path::new("spec").child("parameters");
            errors.extend(validate_parameters(at(obj, &["spec", "parameters"]), &path));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let controller = |class| at(class, &["spec", "controller"]);
        let path = Path::new("spec").child("controller");
        errors.extend(immutable(controller(obj), controller(old), &path));
        errors.extend(self.validate(obj));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let part = |key: &str| text(obj, &["spec", "parameters", key]);
        let parameters = match (has(obj, &["spec", "parameters"]), part("apiGroup")) {
            (false, _) => "<none>".to_owned(),
            (true, "") => format!("{}/{}", part("kind"), part("name")),
            (true, group) => format!("{}.{group}/{}", part("kind"), part("name")),
        };
        vec![name(obj), json!(text(obj, &["spec", "controller"])), json!(parameters), age(obj, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn a_class_is_checked_and_shown() {
        let parameters = json!({"apiGroup": "a.b", "kind": "P", "name": "p"});
        let table =
            Table::of(&IngressClass, json!({"spec": {"controller": "a.b/c", "parameters": parameters}}));
        table.defaults(&[(json!({}), json!({"spec.parameters.scope": "Cluster", "metadata.generation": 1}))]);
        table.columns(&["Name", "Controller", "Parameters", "Age"]);
        table.rows(&[
            (json!({}), json!(["a", "a.b/c", "P.a.b/p", "60m"])),
            (json!({"spec.parameters.apiGroup": null}), json!(["a", "a.b/c", "P/p", "60m"])),
            (json!({"spec.parameters": null}), json!(["a", "a.b/c", "<none>", "60m"])),
        ]);
        table.valid(&[(
            "in a namespace",
            json!({"spec.parameters.scope": "Namespace", "spec.parameters.namespace": "n"}),
        )]);
        table.invalid(&[
            ("no controller", json!({"spec.controller": null}), &["spec.controller: Required value"]),
            (
                "no path",
                json!({"spec.controller": "a.b"}),
                &["spec.controller: Invalid value: \"a.b\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
            ),
            (
                "a bad path",
                json!({"spec.controller": "a.b/c d"}),
                &["spec.controller: Invalid value: \"c d\": Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"],
            ),
            (
                "a long one",
                json!({"spec.controller": format!("a.b/{}", "c".repeat(250))}),
                &["spec.controller: Too long: may not be more than 250 bytes"],
            ),
            (
                "parameters of nothing",
                json!({"spec.parameters": {"scope": "World"}}),
                &[
                    "spec.parameters.kind: Required value: kind is required",
                    "spec.parameters.name: Required value: name is required",
                    "spec.parameters.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespace\"",
                ],
            ),
            (
                "an empty scope",
                json!({"spec.parameters.scope": ""}),
                &["spec.parameters.scope: Unsupported value: \"\": supported values: \"Cluster\", \"Namespace\""],
            ),
            (
                "no namespace",
                json!({"spec.parameters.scope": "Namespace"}),
                &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
            ),
            (
                "a namespace too many",
                json!({"spec.parameters.namespace": "n"}),
                &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
            ),
            (
                "a name with a slash",
                json!({"spec.parameters.name": "a/b"}),
                &["spec.parameters.name: Invalid value: \"a/b\": may not contain '/'"],
            ),
        ]);
        table.updates(&[
            ("other parameters", json!({"spec.parameters.name": "q"}), &[]),
            (
                "another controller",
                json!({"spec.controller": "x.y/z"}),
                &["spec.controller: Invalid value: \"x.y/z\": field is immutable"],
            ),
        ]);
        table.generation(&[(json!({"spec.parameters.name": "q"}), true), (json!({}), false)]);
    }
}
