//! Tables of what upstream allows and refuses.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Attributes, Authorizer};
use crate::User;
use crate::testing::MemoryReader;

mod escalation;
mod node;
mod rbac;

pub(super) fn role(kind: &str, namespace: &str, name: &str, rules: Value) -> Value {
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules,
    });
    if !namespace.is_empty() {
        role["metadata"]["namespace"] = json!(namespace);
    }
    role
}

pub(super) fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let mut binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1},
        "subjects": subjects,
    });
    if !namespace.is_empty() {
        binding["metadata"]["namespace"] = json!(namespace);
    }
    binding
}

pub(super) fn user_subject(name: &str) -> Value {
    json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}])
}

/// `verb group/resource[/sub] namespace name` for a user; `-` is empty.
pub(super) fn request(user: &User, line: &str) -> Attributes {
    let parts: Vec<&str> = line.split_whitespace().map(|part| if part == "-" { "" } else { part }).collect();
    let [verb, resource, namespace, name] = parts[..] else { panic!("four parts: {line}") };
    let (group, resource) = resource.split_once(':').unwrap_or(("", resource));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes::resource(user, verb, group, resource, namespace, name).with_subresource(subresource)
}

pub(super) fn authorizer(objects: Vec<Value>) -> (Arc<MemoryReader>, Authorizer) {
    let reader = MemoryReader::with(objects);
    (Arc::clone(&reader), Authorizer::new(reader))
}
