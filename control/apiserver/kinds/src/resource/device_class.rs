//! DeviceClasses: kinds of devices to ask for, with their configuration.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::rules::{LIST_MAX, selector_expressions, validate_config, validate_selectors};
use super::{GROUP, each};
use crate::shared::access::{at, drop_nulls, list};
use crate::{Expression, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::cluster(GROUP, "DeviceClass", "deviceclasses").with_generation(Generation::Spec);

/// The strategy of DeviceClasses.
pub struct DeviceClass;

/// True for a resource's name outside Kubernetes' own domain that a pod may ask for and a quota may count.
fn is_extended_resource(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

fn validate_all(obj: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    errors.extend(validate_selectors(spec, &path));
    let stored = old.is_some_and(|old| at(old, &["spec", "config"]) == at(spec, &["config"]));
    errors.extend(each(list(spec, &["config"]), LIST_MAX, &path.child("config"), |config, path| {
        validate_config(config, stored, path)
    }));
    if let Some(name) =
        at(spec, &["extendedResourceName"]).as_str().filter(|name| !is_extended_resource(name))
    {
        let detail = "must be a valid extended resource name";
        errors.push(FieldError::invalid(&path.child("extendedResourceName"), name, detail));
    }
    errors
}

impl Strategy for DeviceClass {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        validate_all(obj, None)
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_all(obj, Some(old));
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors
    }

    fn expressions(&self, obj: &Value, old: Option<&Value>) -> Vec<Expression> {
        let selectors = |class| at(class, &["spec", "selectors"]);
        if old.is_some_and(|old| selectors(old) == selectors(obj)) {
            return Vec::new();
        }
        selector_expressions(at(obj, &["spec"]), &Path::new("spec"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Table, patched};
    use serde_json::json;

    #[test]
    fn a_class_is_checked() {
        let opaque = json!({"driver": "x.y", "parameters": {"a": 1}});
        let base = json!({"spec": {
            "selectors": [{"cel": {"expression": "true"}}],
            "config": [{"opaque": opaque}],
            "extendedResourceName": "x.y/gpu"
        }});
        let table = Table::of(&DeviceClass, base.clone());
        table.defaults(&[(json!({}), json!({"metadata.generation": 1}))]);
        table.columns(&["Name", "Age"]);
        table.rows(&[(json!({}), json!(["a", "60m"]))]);
        table.generation(&[
            (json!({"spec.selectors": []}), true),
            (json!({"metadata.labels": {"a": "b"}}), false),
        ]);
        table.valid(&[("nothing", json!({"spec": {}}))]);
        table.invalid(&[
            ("a selector of nothing", json!({"spec.selectors": [{}]}), &["spec.selectors[0].cel: Required value"]),
            ("a configuration of nothing", json!({"spec.config": [{}]}), &["spec.config[0].opaque: Required value"]),
            (
                "many configurations",
                json!({"spec.config": vec![json!({}); 33]}),
                &["spec.config: Too many: 33: must have at most 32 items"],
            ),
            (
                "a resource of ours",
                json!({"spec.extendedResourceName": "cpu"}),
                &["spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name"],
            ),
        ]);
        let long = json!({"a": "x".repeat(10 * 1024)});
        let config = json!({"spec.config[0].opaque.parameters": long});
        table.updates_of(&config, &[("old long parameters stay", json!({"spec.selectors": []}), &[])]);
        table.updates(&[(
            "new long parameters",
            config,
            &["spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"],
        )]);
        assert_eq!(DeviceClass.expressions(&base, None)[0].path.as_str(), "spec.selectors[0].cel.expression");
        assert_eq!(DeviceClass.expressions(&base, Some(&base)), []);
        let other = patched(&base, &json!({"spec.selectors[0].cel.expression": "false"}));
        assert_eq!(DeviceClass.expressions(&other, Some(&base)).len(), 1);
    }
}
