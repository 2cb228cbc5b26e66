//! Who is asking, and may they?
//!
//! Enters: a request's headers and its verified client certificate ([`authn`]), then what it wants to do
//! ([`authz`]). Leaves: a [`User`], then a [`Decision`]. Called by the API server for every request, by
//! `xebec-control` when it starts ([`pki`], [`bootstrap`]) and by the token subresource ([`token`]).
//!
//! Nothing here stores anything: facts about the cluster come through [`ObjectReader`] at every question, so an
//! answer is never older than the reader's own caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod authn;
pub mod authz;
pub mod bootstrap;
mod expression;
pub mod pki;
pub mod reload;
pub mod remote;
pub mod token;
mod ttl;

pub use authn::{Authenticator, AuthenticatorOptions, AuthnError};
pub use authz::{Attributes, Authorizer, Decision};

#[cfg(test)]
pub(crate) mod testing;

/// Name of a request without a credential.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group of requests without a credential.
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group of every request with a credential.
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
/// Group whose members may do everything, whatever the stored policy says.
pub const GROUP_MASTERS: &str = "system:masters";
/// Group of kubelets (Xebec agents).
pub const GROUP_NODES: &str = "system:nodes";
/// Prefix of a kubelet's user name; the node's name follows.
pub const NODE_USER_PREFIX: &str = "system:node:";

/// An authenticated (or anonymous) caller.
///
/// Authority: `k8s.io/apiserver/pkg/authentication/user.Info`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// The name: a certificate's common name, `system:serviceaccount:<namespace>:<name>`, `system:anonymous`.
    pub name: String,
    /// The unique identity behind the name; empty if the credential has none.
    #[serde(default)]
    pub uid: String,
    /// Groups, without duplicates.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Further facts of the credential, such as `authentication.kubernetes.io/pod-name`.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with a name and groups, without uid and extra.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> User {
        User {
            name: name.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..User::default()
        }
    }

    /// The user of a request without credentials.
    pub fn anonymous() -> User {
        User::new(ANONYMOUS, &[GROUP_UNAUTHENTICATED])
    }

    /// A member of `system:masters`, for the parts that run inside the control plane's own process.
    pub fn system_master(name: impl Into<String>) -> User {
        User::new(name, &[GROUP_MASTERS, GROUP_AUTHENTICATED])
    }

    /// A service account, for controllers that run inside the control plane under their upstream names
    /// (`kube-system`, `job-controller`): bootstrap policy binds a role to each.
    pub fn service_account(namespace: &str, name: &str) -> User {
        let mut groups = authn::service_account_groups(namespace);
        groups.push(GROUP_AUTHENTICATED.to_owned());
        User { name: format!("system:serviceaccount:{namespace}:{name}"), groups, ..User::default() }
    }

    /// Whether the user is in a group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node this user is: `system:node:<name>` in the group `system:nodes`.
    ///
    /// `Some("")` is a member of the group whose name does not say which node it is.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_USER_PREFIX)?;
        self.in_group(GROUP_NODES).then_some(name)
    }

    /// The user as `userInfo` of a TokenReview, SelfSubjectReview or AdmissionReview.
    pub fn to_user_info(&self) -> Value {
        let mut info = serde_json::Map::new();
        info.insert("username".into(), Value::from(self.name.clone()));
        if !self.uid.is_empty() {
            info.insert("uid".into(), Value::from(self.uid.clone()));
        }
        if !self.groups.is_empty() {
            info.insert("groups".into(), Value::from(self.groups.clone()));
        }
        if !self.extra.is_empty() {
            info.insert("extra".into(), serde_json::json!(self.extra));
        }
        Value::Object(info)
    }
}

/// The cluster's objects as the API server's caches hold them now.
///
/// Groups are written as in `apiVersion` (`""` is core). Implemented by the API server over its watch caches; a
/// write that was acknowledged must be visible to the next call, or a revoked right would live on.
pub trait ObjectReader: Send + Sync {
    /// One object; `namespace` is empty for cluster-scoped kinds.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// All objects of a kind, in one namespace or (`None`) in all.
    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// A number that changes whenever any object of the kind changes, if the reader can tell cheaply.
    ///
    /// With it the authorizer keeps its index of bindings without listing them at every request; without it
    /// (`None`) it compares the listed objects by address.
    fn version(&self, group: &str, plural: &str) -> Option<u64> {
        let _ = (group, plural);
        None
    }

    /// Pods with `spec.nodeName` equal to `node`; override it where an index exists.
    fn pods_on_node(&self, node: &str) -> Vec<Arc<Value>> {
        let mut pods = self.list("", "pods", None);
        pods.retain(|pod| pod.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node));
        pods
    }
}

/// A string inside an object, or `""`.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of a list inside an object; none if it is absent.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The strings of a list inside an object.
pub(crate) fn strings(value: &Value, pointer: &str) -> Vec<String> {
    items(value, pointer).filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
