//! LimitRanges: the least, most and default amounts of a namespace's objects.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::quantity::Quantity;

use crate::pod::resources::{container_name, may_overcommit, validate_name};
use crate::shared::access::{at, default_to, drop_nulls, entries, has, list, list_mut, set, text};
use crate::shared::formats::qualified_name;
use crate::shared::quantities::{canonical_list, parse};
use crate::table::{NAME_CREATED, name_created_row};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("", "LimitRange", "limitranges");

/// The strategy of LimitRanges.
pub struct LimitRange;

impl Strategy for LimitRange {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        for item in list_mut(obj, &["spec", "limits"]) {
            for key in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
                canonical_list(item, &[key]);
            }
            if text(item, &["type"]) == "Container" {
                for (from, into) in
                    [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
                {
                    fill(item, from, into);
                }
            }
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let mut seen = Vec::new();
        for (index, item) in list(obj, &["spec", "limits"]).iter().enumerate() {
            let path = Path::new("spec").child("limits").index(index);
            let kind = text(item, &["type"]);
            errors.extend(validate_type(kind, &path.child("type")));
            if seen.contains(&kind) {
                errors.push(FieldError::duplicate(&path.child("type"), kind));
            }
            seen.push(kind);
            errors.extend(validate_item(item, kind, &path));
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        NAME_CREATED
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        name_created_row(obj)
    }
}

fn fill(item: &mut Value, from: &str, into: &str) {
    let amounts: Vec<(String, Value)> = entries(item, &[from]).map(|(k, v)| (k.clone(), v.clone())).collect();
    if !has(item, &[into]) && !amounts.is_empty() {
        set(item, &[into], serde_json::json!({}));
    }
    for (name, amount) in amounts {
        default_to(item, &[into, &name], amount);
    }
}

fn validate_type(kind: &str, path: &Path) -> Vec<FieldError> {
    let errors = qualified_name(kind, path);
    let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind);
    if errors.is_empty() && !kind.contains('/') && !standard {
        let detail = "must be a standard limit type or fully qualified";
        return vec![FieldError::invalid(path, kind, detail)];
    }
    errors
}

fn validate_item(item: &Value, kind: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut resources = BTreeSet::new();
    for key in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let key_path = path.child(key);
        if kind == "Pod" && key.starts_with("default") {
            if entries(item, &[key]).next().is_some() {
                errors.push(FieldError::forbidden(&key_path, "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        let bounded = ["min", "max"].iter().any(|bound| has(item, &[bound, "storage"]));
        if key == "maxLimitRequestRatio" && kind == "PersistentVolumeClaim" && !bounded {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(FieldError::required(&path.child("limits"), detail));
        }
        let rule = if matches!(kind, "Pod" | "Container") { container_name } else { validate_name };
        for (resource, _) in entries(item, &[key]) {
            errors.extend(rule(resource, &key_path.key(resource)));
            resources.insert(resource.as_str());
        }
    }
    for resource in resources {
        errors.extend(validate_order(item, kind, resource, path));
        errors.extend(validate_ratio(item, resource, path));
        errors.extend(validate_equal(item, kind, resource, path));
    }
    errors
}

/// min <= defaultRequest <= default <= max.
fn validate_order(item: &Value, kind: &str, resource: &str, path: &Path) -> Vec<FieldError> {
    let amount = |key: &str| amount(item, kind, key, resource);
    // The lower amount with its name, the higher with its name, and whose path and value upstream shows.
    const ORDER: [(&str, &str, &str, &str, &str, &str); 6] = [
        ("min", "min", "max", "max", "min", "min"),
        ("min", "min", "defaultRequest", "default request", "defaultRequest", "defaultRequest"),
        ("defaultRequest", "default request", "max", "max", "defaultRequest", "defaultRequest"),
        ("defaultRequest", "default request", "default", "default limit", "defaultRequest", "defaultRequest"),
        ("min", "min", "default", "default", "default", "min"),
        ("default", "default", "max", "max", "default", "max"),
    ];
    let mut errors = Vec::new();
    for (low, low_name, high, high_name, at_key, shown) in ORDER {
        if let (Some(a), Some(b)) = (amount(low), amount(high))
            && a > b
        {
            let detail = format!("{low_name} value {a} is greater than {high_name} value {b}");
            let path = path.child(at_key).key(resource);
            errors.push(FieldError::invalid(&path, at(item, &[shown, resource]), detail));
        }
    }
    errors
}

/// One amount; a pod has no defaults.
fn amount(item: &Value, kind: &str, key: &str, resource: &str) -> Option<Quantity> {
    let hidden = kind == "Pod" && key.starts_with("default");
    if hidden { None } else { parse(at(item, &[key, resource])) }
}

/// The defaults are equal where a limit may not exceed its request.
fn validate_equal(item: &Value, kind: &str, resource: &str, path: &Path) -> Option<FieldError> {
    let limit = amount(item, kind, "default", resource)?;
    let request = amount(item, kind, "defaultRequest", resource)?;
    (limit != request && !may_overcommit(resource)).then(|| {
        let detail =
            format!("default value {limit} must equal to defaultRequest value {request} in {resource}");
        let value = at(item, &["defaultRequest", resource]);
        FieldError::invalid(&path.child("defaultRequest").key(resource), value, detail)
    })
}

/// The ratio of a limit to its request is at least one, and no more than the bounds allow.
fn validate_ratio(item: &Value, resource: &str, path: &Path) -> Vec<FieldError> {
    let amount = |key: &str| parse(at(item, &[key, resource]));
    let shown = at(item, &["maxLimitRequestRatio", resource]);
    let path = path.child("maxLimitRequestRatio").key(resource);
    let Some(ratio) = amount("maxLimitRequestRatio") else { return Vec::new() };
    let mut errors = Vec::new();
    if ratio.milli_value() < 1000 {
        errors.push(FieldError::invalid(&path, shown, format!("ratio {ratio} is less than 1")));
    }
    if let (Some(min), Some(max)) = (amount("min"), amount("max")) {
        let most = max.as_f64() / min.as_f64();
        if ratio.as_f64() > most {
            let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
            errors.push(FieldError::invalid(&path, shown, detail));
        }
    }
    errors
}
