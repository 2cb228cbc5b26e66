//! Roles and RoleBindings inside kube-system and kube-public.

use serde_json::Value;

use super::Subject::{self, Group, ServiceAccount, User};
use super::{binding, parse, role};

/// Namespace, name, rules.
const ROLES: &[(&str, &str, &str)] = &[
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        "get,list,watch core configmaps extension-apiserver-authentication",
    ),
    ("kube-system", "system:controller:bootstrap-signer", "get,list,watch core secrets"),
    ("kube-system", "system:controller:cloud-provider", "create,get,list,watch core configmaps"),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "get,list,watch,delete core secrets\ncreate,update,patch core,events.k8s.io events",
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "watch core configmaps
         get,update core configmaps kube-controller-manager
         get,watch,list,create,update coordination.k8s.io leases",
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "watch core configmaps
         get,update core configmaps kube-scheduler",
    ),
    // Xebec's own: agents see each other's Leases, and choose by them who answers for a load balancer's address. Which one
    // a node may write, the node authorizer says, and of new ones, whose names authorizers do not see, NodeRestriction.
    ("kube-system", "xebec:announcer", "list,watch,create coordination.k8s.io leases"),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "get,list,watch core configmaps
         update core configmaps cluster-info
         create,update,patch core,events.k8s.io events",
    ),
];

/// Namespace, name, Role, subjects.
const BINDINGS: &[(&str, &str, &str, &[Subject])] = &[
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[ServiceAccount("kube-system", "bootstrap-signer")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[ServiceAccount("kube-system", "cloud-provider")],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &[ServiceAccount("kube-system", "token-cleaner")],
    ),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[User("system:kube-controller-manager"), User("system:kube-scheduler")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[User("system:kube-controller-manager"), ServiceAccount("kube-system", "kube-controller-manager")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[User("system:kube-scheduler"), ServiceAccount("kube-system", "kube-scheduler")],
    ),
    ("kube-system", "xebec:announcer", "xebec:announcer", &[Group("system:nodes")]),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[ServiceAccount("kube-system", "bootstrap-signer")],
    ),
];

pub(super) fn roles() -> Vec<Value> {
    ROLES.iter().map(|(namespace, name, rules)| role(namespace, name, &parse(rules))).collect()
}

pub(super) fn bindings() -> Vec<Value> {
    BINDINGS
        .iter()
        .map(|(namespace, name, role, subjects)| binding(name, Some(namespace), ("Role", role), subjects))
        .collect()
}
