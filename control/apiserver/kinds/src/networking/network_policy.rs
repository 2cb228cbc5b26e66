//! NetworkPolicies.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{
    at, default_text, default_to, drop_nulls, has, int, list, list_mut, set, text, texts,
};
use crate::shared::addresses::{sloppy_range, texts_under, validate_cidr};
use crate::shared::labels::validate_selector;
use crate::shared::rules::{one_of_given, port_number, port_number_or_name};
use crate::table::{AGE, NAME, age, column, name, selector};
use crate::{Column, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies")
    .with_generation(Generation::Spec);
const COLUMNS: &[Column] =
    &[NAME, column("Pod-Selector", "string", "The pods to which this policy applies."), AGE];

/// The strategy of NetworkPolicies.
pub struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "podSelector"], json!({}));
        if list(obj, &["spec", "policyTypes"]).is_empty() {
            let egress = !list(obj, &["spec", "egress"]).is_empty();
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            set(obj, &["spec", "policyTypes"], types);
        }
        for direction in ["ingress", "egress"] {
            for rule in list_mut(obj, &["spec", direction]) {
                list_mut(rule, &["ports"]).for_each(|port| default_text(port, &["protocol"], "TCP"));
            }
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        validate_all(obj, &[])
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_all(obj, &texts_under(at(old, &["spec"]), &["cidr", "except"]));
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(selector(at(obj, &["spec", "podSelector"]))), age(obj, now)]
    }
}

/// Every error of a policy; `known` are the ranges it had before.
fn validate_all(obj: &Value, known: &[&str]) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    errors.extend(validate_selector(at(spec, &["podSelector"]), &path.child("podSelector")));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(spec, &[direction]).iter().enumerate() {
            let path = path.child(direction).index(index);
            for (position, port) in list(rule, &["ports"]).iter().enumerate() {
                errors.extend(validate_port(port, &path.child("ports").index(position)));
            }
            for (position, peer) in list(rule, &[peers]).iter().enumerate() {
                errors.extend(validate_peer(peer, known, &path.child(peers).index(position)));
            }
        }
    }
    let types = texts(spec, &["policyTypes"]);
    if types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid(&path.child("policyTypes"), &types, detail));
        return errors;
    }
    let known = ["Ingress", "Egress"];
    for (index, kind) in types.iter().enumerate().filter(|(_, kind)| !known.contains(kind)) {
        let path = path.child("policyTypes").index(index);
        errors.push(FieldError::not_supported(&path, kind, &known));
    }
    errors
}

fn validate_port(port: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = one_of_given(port, "protocol", &["TCP", "UDP", "SCTP"], path);
    let number = at(port, &["port"]);
    if !number.is_null() {
        errors.extend(port_number_or_name(number, &path.child("port")));
    }
    if let Some(end) = int(port, &["endPort"]) {
        let end_path = path.child("endPort");
        match number.as_i64() {
            None if number.is_null() => {
                let detail = "may not be specified when `port` is not specified";
                errors.push(FieldError::invalid(&end_path, end, detail));
            }
            None => {
                let detail = "may not be specified when `port` is non-numeric";
                errors.push(FieldError::invalid(&end_path, end, detail));
            }
            Some(first) => {
                if end < first {
                    let detail = "must be greater than or equal to `port`";
                    errors.push(FieldError::invalid(&end_path, end, detail));
                }
                errors.extend(port_number(end, &end_path));
            }
        }
    }
    errors
}

fn validate_peer(peer: &Value, known: &[&str], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut count = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if has(peer, &[key]) {
            count += 1;
            errors.extend(validate_selector(at(peer, &[key]), &path.child(key)));
        }
    }
    let block = has(peer, &["ipBlock"]);
    if block {
        count += 1;
        errors.extend(validate_block(at(peer, &["ipBlock"]), known, &path.child("ipBlock")));
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    } else if count > 1 && block {
        errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
    }
    errors
}

/// What is left out of a range lies inside it, and is less than all of it.
fn validate_block(block: &Value, known: &[&str], path: &Path) -> Vec<FieldError> {
    let cidr = text(block, &["cidr"]);
    if cidr.is_empty() {
        return vec![FieldError::required(&path.child("cidr"), "")];
    }
    let mut errors = validate_cidr(cidr, known, &path.child("cidr"));
    let Some(outer) = sloppy_range(cidr) else { return errors };
    for (index, except) in texts(block, &["except"]).iter().enumerate() {
        let path = path.child("except").index(index);
        errors.extend(validate_cidr(except, known, &path));
        if sloppy_range(except).is_some_and(|inner| !is_part(inner, outer)) {
            errors.push(FieldError::invalid(&path, except, "must be a strict subset of `cidr`"));
        }
    }
    errors
}

fn is_part(inner: (IpAddr, u32), outer: (IpAddr, u32)) -> bool {
    let differ = match (inner.0, outer.0) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(u32::from(a) ^ u32::from(b)) << 96,
        (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) ^ u128::from(b),
        _ => return false,
    };
    inner.1 > outer.1 && differ.leading_zeros() >= outer.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn a_policy_is_defaulted_checked_and_shown() {
        let (obj, errors) = create(
            &NetworkPolicy,
            json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}, "egress": [{"ports": [{"port": 53}]}]}}),
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(obj["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(obj["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(NetworkPolicy.row(&obj, now())[1], "a=b");
        assert_eq!(
            create(&NetworkPolicy, json!({"spec": {"ingress": [{"from": [{}]}]}})).1,
            ["spec.ingress[0].from[0]: Required value: must specify a peer"]
        );
    }
}
