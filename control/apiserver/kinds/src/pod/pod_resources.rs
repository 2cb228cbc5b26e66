//! The resources of a pod as a whole, beside those of its containers.
//!
//! Authority: KEP-2837; upstream's defaultPodRequests and validatePodResourceConsistency.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use xebec_api::field::{FieldError, Path};
use xebec_api::quantity::Quantity;

use super::resources::{claim_names, is_pod_level, validate_pod};
use crate::shared::access::{at, entries, has, list, set, text};
use crate::shared::quantities::parse;

type Amounts = BTreeMap<String, Quantity>;

fn requests(container: &Value) -> Amounts {
    let all = entries(container, &["resources", "requests"]);
    all.filter_map(|(name, amount)| Some((name.clone(), parse(amount)?))).collect()
}

fn add(into: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = into.get(name).map_or(*amount, |found| found.saturating_add(*amount));
        into.insert(name.clone(), sum);
    }
}

fn raise(into: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        if into.get(name).is_none_or(|found| found < amount) {
            into.insert(name.clone(), *amount);
        }
    }
}

/// What a pod's containers ask for together: the sum of those that stay, or what a starting one needs if more.
pub fn aggregate_requests(spec: &Value) -> Amounts {
    let mut total = Amounts::new();
    list(spec, &["containers"]).iter().for_each(|container| add(&mut total, &requests(container)));
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in list(spec, &["initContainers"]) {
        let own = requests(container);
        if text(container, &["restartPolicy"]) == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut beside = own;
            add(&mut beside, &sidecars);
            raise(&mut starting, &beside);
        }
    }
    raise(&mut total, &starting);
    total
}

/// Sets a pod's requests from its containers' and then from its own limits, when it has limits.
pub fn defaults(spec: &mut Value) {
    let limits = at(spec, &["resources", "limits"]).as_object().cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    let mut wanted: Map<String, Value> =
        at(spec, &["resources", "requests"]).as_object().cloned().unwrap_or_default();
    let asked =
        aggregate_requests(spec).into_iter().map(|(name, sum)| (name, Value::String(sum.to_string())));
    for (name, amount) in asked.chain(limits).filter(|(name, _)| is_pod_level(name)) {
        wanted.entry(name).or_insert(amount);
    }
    if !wanted.is_empty() {
        set(spec, &["resources", "requests"], Value::Object(wanted));
    }
}

/// Every error of a pod's resources, and of its containers' against them.
pub fn validate(spec: &Value, path: &Path) -> Vec<FieldError> {
    if !has(spec, &["resources"]) {
        return Vec::new();
    }
    let resources = at(spec, &["resources"]);
    let mut errors = Vec::new();
    if has(resources, &["claims"]) {
        let detail = "claims cannot be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&path.child("claims"), detail));
    }
    errors.extend(validate_pod(resources, &claim_names(spec), path));
    for (name, sum) in aggregate_requests(spec).into_iter().filter(|(name, _)| is_pod_level(name)) {
        let own = parse(at(resources, &["requests", &name])).unwrap_or_default();
        if sum > own {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(FieldError::invalid(&path.child("requests").key(&name), own.to_string(), detail));
        }
    }
    for (index, container) in list(spec, &["containers"]).iter().enumerate() {
        for (name, limit) in entries(container, &["resources", "limits"]) {
            let (Some(limit), Some(own)) = (parse(limit), parse(at(resources, &["limits", name]))) else {
                continue;
            };
            if limit > own {
                let path = path.child("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {own}");
                errors.push(FieldError::invalid(&path, limit.to_string(), detail));
            }
        }
    }
    errors
}
