//! LimitRanges: the least, most and default amounts of a namespace's objects.

use jiff::Timestamp;
use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, default_to, drop_nulls, entries, has, list, list_mut, set, text};
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
            if seen.contains(&kind) {
                errors.push(FieldError::duplicate(&path.child("type"), kind));
            }
            seen.push(kind);
            if kind == "Pod" {
                for key in ["default", "defaultRequest"] {
                    if has(item, &[key]) {
                        let detail = "may not be specified when `type` is 'Pod'";
                        errors.push(FieldError::forbidden(&path.child(key), detail));
                    }
                }
            }
            errors.extend(validate_order(item, &path));
        }
        errors
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

/// min <= defaultRequest <= default <= max, for every resource.
fn validate_order(item: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let order = ["min", "defaultRequest", "default", "max"];
    let words = ["min value", "default request value", "default value", "max value"];
    for (high, high_key) in order.iter().enumerate() {
        for (resource, bound) in entries(item, &[high_key]) {
            for low in 0..high {
                let value = at(item, &[order[low], resource]);
                if let (Some(a), Some(b)) = (parse(value), parse(bound))
                    && a > b
                {
                    let detail = format!("{} {a} is greater than {} {b}", words[low], words[high]);
                    errors.push(FieldError::invalid(&path.child(order[low]).key(resource), value, detail));
                }
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::create;
    use serde_json::json;

    #[test]
    fn defaults_come_from_the_bounds() {
        let (obj, errors) =
            create(&LimitRange, json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": 2}}]}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(obj["spec"]["limits"][0]["default"], json!({"cpu": "2"}));
        assert_eq!(obj["spec"]["limits"][0]["defaultRequest"], json!({"cpu": "2"}));
        let wrong = json!({"spec": {"limits": [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}});
        assert_eq!(
            create(&LimitRange, wrong).1,
            ["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"]
        );
    }
}
