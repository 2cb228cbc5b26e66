//! The policy a new cluster starts with: upstream's roles and bindings, and Xebec's few own.
//!
//! Leaves: objects to create when absent ([`objects`]) and what to change in those that exist ([`reconcile()`]), and the static rules of the node
//! authorizer ([`node_rules`]). Called by the API server before it serves. Every object carries the label
//! `kubernetes.io/bootstrapping: rbac-defaults` and the annotation `rbac.authorization.kubernetes.io/autoupdate`.
//!
//! Roles are written as text, one rule a line: `verbs groups resources [names]`, comma-separated; the group `core`
//! is `""`, and the group `url` makes a rule on paths.
//!
//! Authority: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` (1.36, default feature gates); kubeadm for
//! `kubeadm:cluster-admins`.

use serde_json::{Value, json};

use crate::authz::{RBAC_GROUP, Rule};

mod aggregated;
mod cluster;
mod controllers;
mod namespaced;
mod reconcile;

pub use reconcile::{Reconciled, reconcile};

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
/// The label every bootstrap object carries.
pub const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// The annotation that lets a start of the server update the object; an operator sets it to `false` to keep edits.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// A role's name and its rules as text.
type RoleText = (&'static str, &'static str);

/// Every Role, ClusterRole and binding of a new cluster, roles before the bindings that name them.
///
/// The rules of `admin`, `edit` and `view` are filled in from the roles they aggregate, so that they work before
/// the aggregation controller runs.
pub fn objects() -> Vec<Value> {
    let mut objects = cluster::roles();
    objects.extend(aggregated::roles());
    objects.extend(controllers::roles());
    objects.extend(namespaced::roles());
    objects.extend(cluster::bindings());
    objects.extend(controllers::bindings());
    objects.extend(namespaced::bindings());
    objects
}

/// The rules every node holds besides what its own pods refer to; also the ClusterRole `system:node`.
pub fn node_rules() -> Vec<Rule> {
    parse(cluster::NODE)
}

/// Rules from text; see the module's description.
fn parse(text: &str) -> Vec<Rule> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Rule {
    let list = |part: Option<&str>| -> Vec<String> {
        part.map(|p| p.split(',').map(str::to_owned).collect()).unwrap_or_default()
    };
    let mut parts = line.split_whitespace();
    let verbs = list(parts.next());
    let groups = list(parts.next());
    if groups == ["url"] {
        return Rule { verbs, non_resource_urls: list(parts.next()), ..Rule::default() };
    }
    let api_groups = groups.into_iter().map(|g| if g == "core" { String::new() } else { g }).collect();
    let resources = list(parts.next());
    Rule { verbs, api_groups, resources, resource_names: list(parts.next()), ..Rule::default() }
}

fn metadata(name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {LABEL.0: LABEL.1},
        "annotations": {AUTOUPDATE: "true"},
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn cluster_role(name: &str, rules: &[Rule]) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "ClusterRole", "metadata": metadata(name, None), "rules": rules})
}

fn role(namespace: &str, name: &str, rules: &[Rule]) -> Value {
    let metadata = metadata(name, Some(namespace));
    json!({"apiVersion": API_VERSION, "kind": "Role", "metadata": metadata, "rules": rules})
}

/// Who a binding is for.
#[derive(Clone, Copy)]
enum Subject {
    User(&'static str),
    Group(&'static str),
    /// Namespace and name.
    ServiceAccount(&'static str, &'static str),
}

impl Subject {
    fn to_value(self) -> Value {
        match self {
            Subject::User(name) => json!({"apiGroup": RBAC_GROUP, "kind": "User", "name": name}),
            Subject::Group(name) => json!({"apiGroup": RBAC_GROUP, "kind": "Group", "name": name}),
            Subject::ServiceAccount(namespace, name) => {
                json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
            }
        }
    }
}

fn binding(name: &str, namespace: Option<&str>, role: (&str, &str), subjects: &[Subject]) -> Value {
    let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": metadata(name, namespace),
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": role.0, "name": role.1},
    });
    if !subjects.is_empty() {
        object["subjects"] = subjects.iter().map(|s| s.to_value()).collect();
    }
    object
}

#[cfg(test)]
mod tests;
