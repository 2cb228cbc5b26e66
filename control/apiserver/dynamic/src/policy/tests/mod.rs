//! Policies on a bench: the examples of Kubernetes' documentation and the rules around them.

mod mutating;
mod params;
mod validating;

use serde_json::{Value, json};

use crate::testing::Bench;

const API: &str = "admissionregistration.k8s.io/v1";

/// Everything about Deployments of apps/v1.
fn constraints() -> Value {
    json!({"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["deployments"], "scope": "*"},
    ]})
}

/// Adds a policy; `spec` goes over the usual one.
fn policy(bench: &Bench, kind: &str, name: &str, spec: Value) {
    let mut whole = json!({"failurePolicy": "Fail", "matchConstraints": constraints()});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    bench.objects.add(json!({
        "apiVersion": API, "kind": kind, "spec": whole,
        "metadata": {"name": name, "uid": name, "resourceVersion": "1", "generation": 1},
    }));
}

/// Binds a policy; `spec` goes over the usual one.
fn bind(bench: &Bench, kind: &str, name: &str, policy: &str, spec: Value) {
    let mut whole = json!({"policyName": policy, "validationActions": ["Deny"]});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    bench.objects.add(json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": whole}));
}

/// A validating policy `p` bound by `b`.
fn validating(spec: Value, binding: Value) -> Bench {
    let bench = Bench::new();
    policy(&bench, "ValidatingAdmissionPolicy", "p", spec);
    bind(&bench, "ValidatingAdmissionPolicyBinding", "b", "p", binding);
    bench
}

/// A mutating policy `p` bound by `b`.
fn mutating(spec: Value) -> Bench {
    let bench = Bench::new();
    policy(&bench, "MutatingAdmissionPolicy", "p", spec);
    bind(&bench, "MutatingAdmissionPolicyBinding", "b", "p", json!({}));
    bench
}
