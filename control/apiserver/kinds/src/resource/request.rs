//! The devices a claim asks for: requests, constraints between them, configuration.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::rules::{
    LIST_MAX, default_tolerations, selector_expressions, validate_config, validate_selectors,
    validate_tolerations,
};
use super::{each, each_unique, formats, own_name, own_text};
use crate::Expression;
use crate::shared::access::{at, at_mut, default_number, default_text, has, int, list, list_mut, text};
use crate::shared::formats::{label, subdomain};

const ALTERNATIVES_MAX: usize = 8;

/// Defaults a claim's spec.
pub fn defaults(spec: &mut Value) {
    for request in list_mut(spec, &["devices", "requests"]) {
        at_mut(request, &["exactly"]).into_iter().for_each(default_one);
        list_mut(request, &["firstAvailable"]).for_each(default_one);
    }
}

fn default_one(request: &mut Value) {
    default_text(request, &["allocationMode"], "ExactCount");
    if text(request, &["allocationMode"]) == "ExactCount" {
        default_number(request, &["count"], 1);
    }
    default_tolerations(request);
}

/// The names in a claim that others may refer to: `request` and `request/subrequest`.
pub struct Names<'a>(&'a [Value]);

impl<'a> Names<'a> {
    /// The names in a claim's spec.
    pub fn of(spec: &'a Value) -> Self {
        Names(list(spec, &["devices", "requests"]))
    }

    fn has(&self, name: &str) -> bool {
        let (request, sub) = name.split_once('/').map_or((name, None), |(request, sub)| (request, Some(sub)));
        self.0.iter().any(|found| {
            let subs = list(found, &["firstAvailable"]);
            text(found, &["name"]) == request
                && sub.is_none_or(|sub| subs.iter().any(|found| text(found, &["name"]) == sub))
        })
    }

    /// The errors of a reference to a request.
    pub fn validate(&self, name: &str, path: &Path) -> Vec<FieldError> {
        let detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        if name.matches('/').count() > 1 {
            return vec![FieldError::invalid(path, name, detail)];
        }
        let mut errors: Vec<FieldError> = name.split('/').flat_map(|part| label(part, path)).collect();
        if !self.has(name) {
            errors.push(FieldError::invalid(path, name, detail));
        }
        errors
    }

    /// The errors of a list of references.
    pub fn validate_all(&self, holder: &Value, path: &Path) -> Vec<FieldError> {
        let requests = list(holder, &["requests"]);
        each_unique(requests, LIST_MAX, &path.child("requests"), own_text, |name, path| {
            self.validate(name.as_str().unwrap_or_default(), path)
        })
    }
}

/// Every error of a claim's spec.
pub fn validate(spec: &Value, path: &Path) -> Vec<FieldError> {
    let (devices, path) = (at(spec, &["devices"]), path.child("devices"));
    let names = Names::of(spec);
    let requests = list(devices, &["requests"]);
    let mut errors = each_unique(requests, LIST_MAX, &path.child("requests"), own_name, validate_request);
    let constraints = list(devices, &["constraints"]);
    errors.extend(each(constraints, LIST_MAX, &path.child("constraints"), |constraint, path| {
        validate_constraint(constraint, &names, path)
    }));
    let configs = list(devices, &["config"]);
    errors.extend(each(configs, LIST_MAX, &path.child("config"), |config, path| {
        let mut errors = names.validate_all(config, path);
        errors.extend(validate_config(config, false, path));
        errors
    }));
    errors
}

/// The expressions of a claim's spec.
pub fn expressions(spec: &Value, path: &Path) -> Vec<Expression> {
    let path = path.child("devices").child("requests");
    let mut found = Vec::new();
    for (index, request) in list(spec, &["devices", "requests"]).iter().enumerate() {
        let path = path.index(index);
        found.extend(selector_expressions(at(request, &["exactly"]), &path.child("exactly")));
        for (index, sub) in list(request, &["firstAvailable"]).iter().enumerate() {
            found.extend(selector_expressions(sub, &path.child("firstAvailable").index(index)));
        }
    }
    found
}

fn validate_request(request: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = label(text(request, &["name"]), &path.child("name"));
    let alternatives = list(request, &["firstAvailable"]);
    match (has(request, &["exactly"]), alternatives.is_empty()) {
        (false, true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path, detail));
        }
        (true, false) => {
            let detail =
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        (true, true) => errors.extend(validate_one(at(request, &["exactly"]), &path.child("exactly"))),
        (false, false) => {
            let path = path.child("firstAvailable");
            errors.extend(each_unique(alternatives, ALTERNATIVES_MAX, &path, own_name, |sub, path| {
                let mut errors = label(text(sub, &["name"]), &path.child("name"));
                errors.extend(validate_one(sub, path));
                errors
            }));
        }
    }
    errors
}

fn validate_one(request: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = match text(request, &["deviceClassName"]) {
        "" => vec![FieldError::required(&path.child("deviceClassName"), "")],
        class => subdomain(class, &path.child("deviceClassName")),
    };
    errors.extend(validate_selectors(request, path));
    let count = int(request, &["count"]).unwrap_or(0);
    let count_path = path.child("count");
    match text(request, &["allocationMode"]) {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&count_path, count, detail));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(&count_path, count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => {
            let allowed = ["All", "ExactCount"];
            errors.push(FieldError::not_supported(&path.child("allocationMode"), other, &allowed));
        }
    }
    errors.extend(validate_tolerations(request, path));
    errors
}

fn validate_constraint(constraint: &Value, names: &Names<'_>, path: &Path) -> Vec<FieldError> {
    let mut errors = names.validate_all(constraint, path);
    let found = ["matchAttribute", "distinctAttribute"].into_iter().find(|key| has(constraint, &[key]));
    match found {
        Some(key) => errors.extend(formats::fully_qualified(text(constraint, &[key]), &path.child(key))),
        None => {
            // The text is upstream's, although nothing is set.
            let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(FieldError::required(path, detail));
        }
    }
    errors
}
