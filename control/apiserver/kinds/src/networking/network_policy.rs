//! NetworkPolicies.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::pod::probes::PROTOCOLS;
use crate::shared::access::{
    at, default_text, default_to, drop_nulls, has, int, list, list_mut, set, text, texts,
};
use crate::shared::labels::validate_selector;
use crate::shared::rules::{BAD_CIDR, is_cidr, one_of_given, port_number_or_name};
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
                    errors.extend(validate_peer(peer, &path.child(peers).index(position)));
                }
            }
        }
        let types = texts(spec, &["policyTypes"]);
        if types.len() > 2 {
            let detail = "may not specify more than two policyTypes";
            errors.push(FieldError::invalid(&path.child("policyTypes"), &types, detail));
        }
        for (index, kind) in
            types.iter().enumerate().filter(|(_, kind)| !["Egress", "Ingress"].contains(kind))
        {
            let path = path.child("policyTypes").index(index);
            errors.push(FieldError::not_supported(&path, kind, &["Egress", "Ingress"]));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(selector(at(obj, &["spec", "podSelector"]))), age(obj, now)]
    }
}

fn validate_port(port: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = one_of_given(port, "protocol", PROTOCOLS, path);
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
            Some(first) if end < first => {
                errors.push(FieldError::invalid(&end_path, end, "must be greater than or equal to `port`"));
            }
            Some(_) => {}
        }
    }
    errors
}

fn validate_peer(peer: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut count = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if has(peer, &[key]) {
            count += 1;
            errors.extend(validate_selector(at(peer, &[key]), &path.child(key)));
        }
    }
    if has(peer, &["ipBlock"]) {
        count += 1;
        let block = path.child("ipBlock");
        if count > 1 {
            let detail = "may not specify both ipBlock and another peer";
            errors.push(FieldError::forbidden(path, detail));
        }
        let cidr = text(peer, &["ipBlock", "cidr"]);
        if cidr.is_empty() {
            errors.push(FieldError::required(&block.child("cidr"), ""));
        } else if !is_cidr(cidr) {
            errors.push(FieldError::invalid(&block.child("cidr"), cidr, BAD_CIDR));
        }
        let except = texts(peer, &["ipBlock", "except"]);
        for (index, range) in except.iter().enumerate().filter(|(_, range)| !is_cidr(range)) {
            errors.push(FieldError::invalid(&block.child("except").index(index), range, BAD_CIDR));
        }
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    }
    errors
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
