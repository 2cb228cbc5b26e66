//! NetworkPolicies.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, default_to, drop_nulls, has, int, list, list_mut, set, text, texts};
use crate::shared::addresses::{cidr_warnings, sloppy_range, texts_under, validate_cidr};
use crate::shared::labels::validate_selector;
use crate::shared::rules::{invalid_each, one_of_given, port_number};
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
                list_mut(rule, &["ports"]).for_each(|port| default_to(port, &["protocol"], "TCP"));
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

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        for (path, peer) in peers(at(obj, &["spec"]), &Path::new("spec")) {
            let (path, block) = (path.child("ipBlock"), at(peer, &["ipBlock"]));
            warnings.extend(cidr_warnings(text(block, &["cidr"]), &path.child("cidr")));
            for (index, except) in texts(block, &["except"]).iter().enumerate() {
                warnings.extend(cidr_warnings(except, &path.child("except").index(index)));
            }
        }
        warnings
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(selector(at(obj, &["spec", "podSelector"]))), age(obj, now)]
    }
}

/// Every peer of the rules of both directions, with its path.
fn peers<'a>(spec: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
    let mut found = Vec::new();
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(spec, &[direction]).iter().enumerate() {
            let path = path.child(direction).index(index).child(peers);
            let peers = list(rule, &[peers]).iter().enumerate();
            found.extend(peers.map(|(index, peer)| (path.index(index), peer)));
        }
    }
    found
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
    let (end, end_path) = (int(port, &["endPort"]), path.child("endPort"));
    let refuse = |detail: &str| end.map(|end| FieldError::invalid(&end_path, end, detail));
    match at(port, &["port"]) {
        Value::Null => errors.extend(refuse("may not be specified when `port` is not specified")),
        Value::String(name) => {
            errors.extend(refuse("may not be specified when `port` is non-numeric"));
            errors.extend(invalid_each(&path.child("port"), name, names::is_port_name(name)));
        }
        number => {
            let number = number.as_i64().unwrap_or(0);
            errors.extend(port_number(number, &path.child("port")));
            let Some(end) = end else { return errors };
            if end < number {
                // As upstream, the value shown is the port, not its end.
                let detail = "must be greater than or equal to `port`";
                errors.push(FieldError::invalid(&end_path, number, detail));
            }
            errors.extend(port_number(end, &end_path));
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
