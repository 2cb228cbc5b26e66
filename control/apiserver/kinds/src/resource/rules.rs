//! Rules that claims, classes and slices share: selectors, configurations, taints, tolerations, conditions.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::each;
use crate::expression::{Environment, Expression};
use crate::shared::access::{at, default_text, has, list, list_mut, text};
use crate::shared::formats::driver_name;
use crate::shared::labels::validate_label_name;
use crate::shared::rules::{invalid_each, one_of};

/// The most entries of lists of selectors, requests, constraints, configurations and results.
pub const LIST_MAX: usize = 32;
const EXPRESSION_MAX_BYTES: usize = 10 * 1024;
/// The longest opaque data.
pub const OPAQUE_MAX_BYTES: usize = 10 * 1024;
const BINDING_CONDITIONS_MAX: usize = 4;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// The errors of a list of device selectors, their compilation aside.
pub fn validate_selectors(holder: &Value, path: &Path) -> Vec<FieldError> {
    each(list(holder, &["selectors"]), LIST_MAX, &path.child("selectors"), |selector, path| {
        let path = path.child("cel");
        if !has(selector, &["cel"]) {
            return vec![FieldError::required(&path, "")];
        }
        match text(selector, &["cel", "expression"]).len() > EXPRESSION_MAX_BYTES {
            true => vec![FieldError::too_long(&path.child("expression"), EXPRESSION_MAX_BYTES)],
            false => Vec::new(),
        }
    })
}

/// The expressions of a list of device selectors.
pub fn selector_expressions(holder: &Value, path: &Path) -> Vec<Expression> {
    let selectors = list(holder, &["selectors"]).iter().enumerate();
    selectors
        .filter(|(_, selector)| has(selector, &["cel"]))
        // What is too long has that error alone.
        .filter(|(_, selector)| text(selector, &["cel", "expression"]).len() <= EXPRESSION_MAX_BYTES)
        .map(|(index, selector)| {
            let expression = text(selector, &["cel", "expression"]);
            Expression {
                path: path.child("selectors").index(index).child("cel").child("expression"),
                text: expression.to_owned(),
                shown: expression.to_owned(),
                environment: Environment::Device,
                stored: false,
            }
        })
        .collect()
}

/// The errors of a configuration; `stored` ones may be as long as they were.
pub fn validate_config(config: &Value, stored: bool, path: &Path) -> Vec<FieldError> {
    let path = path.child("opaque");
    if !has(config, &["opaque"]) {
        return vec![FieldError::required(&path, "")];
    }
    let mut errors = driver_name(text(config, &["opaque", "driver"]), &path.child("driver"));
    let parameters = at(config, &["opaque", "parameters"]);
    errors.extend(validate_object(parameters, stored, &path.child("parameters")));
    errors
}

/// The errors of raw data that must be a JSON object of bounded size.
pub fn validate_object(data: &Value, stored: bool, path: &Path) -> Vec<FieldError> {
    match data {
        Value::Null => vec![FieldError::required(path, "")],
        _ if !stored && data.to_string().len() > OPAQUE_MAX_BYTES => {
            vec![FieldError::too_long(path, OPAQUE_MAX_BYTES)]
        }
        Value::Object(_) => Vec::new(),
        _ => vec![FieldError::invalid(path, "<value omitted>", "must be a valid JSON object")],
    }
}

/// Sets the operator of tolerations.
pub fn default_tolerations(holder: &mut Value) {
    for toleration in list_mut(holder, &["tolerations"]) {
        default_text(toleration, &["operator"], "Equal");
    }
}

/// The errors of the tolerations of a holder.
pub fn validate_tolerations(holder: &Value, path: &Path) -> Vec<FieldError> {
    let max = 16;
    each(list(holder, &["tolerations"]), max, &path.child("tolerations"), |toleration, path| {
        let mut errors = Vec::new();
        let (key, value) = (text(toleration, &["key"]), text(toleration, &["value"]));
        if !key.is_empty() {
            errors.extend(validate_label_name(key, &path.child("key")));
        }
        match text(toleration, &["operator"]) {
            "Exists" if !value.is_empty() => {
                let detail = "must be empty for operator `Exists`";
                errors.push(FieldError::invalid(&path.child("value"), value, detail));
            }
            "Exists" => {}
            "Equal" => errors.extend(invalid_each(&path.child("value"), value, names::is_label_value(value))),
            "" => errors.push(FieldError::required(&path.child("operator"), "")),
            other => {
                let allowed = ["Equal", "Exists"];
                errors.push(FieldError::not_supported(&path.child("operator"), other, &allowed));
            }
        }
        let effect = text(toleration, &["effect"]);
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(&path.child("effect"), effect, EFFECTS));
        }
        errors
    })
}

/// The errors of a device's taint.
pub fn validate_taint(taint: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_label_name(text(taint, &["key"]), &path.child("key"));
    let value = text(taint, &["value"]);
    errors.extend(invalid_each(&path.child("value"), value, names::is_label_value(value)));
    errors.extend(one_of(taint, "effect", EFFECTS, path));
    errors
}

/// The errors of the conditions a binding waits for.
pub fn validate_binding_conditions(holder: &Value, path: &Path) -> Vec<FieldError> {
    let (wanted, failures) =
        (list(holder, &["bindingConditions"]), list(holder, &["bindingFailureConditions"]));
    let (wanted_path, failures_path) =
        (path.child("bindingConditions"), path.child("bindingFailureConditions"));
    let name = |item: &Value, path: &Path| validate_label_name(item.as_str().unwrap_or_default(), path);
    let mut errors = each(wanted, BINDING_CONDITIONS_MAX, &wanted_path, name);
    errors.extend(each(failures, BINDING_CONDITIONS_MAX, &failures_path, name));
    let duplicate = |items: &[Value], index: usize| items[..index].contains(&items[index]);
    for (index, item) in wanted.iter().enumerate().filter(|(index, _)| duplicate(wanted, *index)) {
        errors.push(FieldError::duplicate(&wanted_path.index(index), item));
    }
    for (index, item) in failures.iter().enumerate() {
        let path = failures_path.index(index);
        if duplicate(failures, index) {
            errors.push(FieldError::duplicate(&path, item));
        }
        if wanted.contains(item) {
            let detail = "bindingFailureConditions must not overlap with bindingConditions";
            errors.push(FieldError::invalid(&path, item, detail));
        }
    }
    let shown = |items: &[Value]| if items.is_empty() { Value::Null } else { json!(items) };
    if wanted.is_empty() && !failures.is_empty() {
        let detail = "bindingConditions are required to use bindingFailureConditions";
        errors.push(FieldError::invalid(&wanted_path, shown(wanted), detail));
    }
    if failures.is_empty() && !wanted.is_empty() {
        let detail = "bindingFailureConditions are required to use bindingConditions";
        errors.push(FieldError::invalid(&failures_path, shown(failures), detail));
    }
    errors
}
