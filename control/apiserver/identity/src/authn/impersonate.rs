//! Acting as someone else: the `Impersonate-*` headers.
//!
//! Enters: headers, and what the request wants to do. Leaves: ways ([`Way`]) to become the user, each with the requests
//! the caller must be allowed to make first. The API server goes the first way all of whose checks hold: the constrained
//! ones, which need a right for the identity and one for the action, then the unconstrained verb `impersonate`.
//!
//! Authority: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`, KEP-5284 (on by default in 1.36).

use std::collections::BTreeMap;

use http::HeaderMap;

use super::serviceaccount::groups;
use crate::{
    ANONYMOUS, Attributes, GROUP_AUTHENTICATED, GROUP_NODES, GROUP_UNAUTHENTICATED, NODE_USER_PREFIX, User,
};

/// The fact of a service account's token that tells its node.
const CALLER_NODE: &str = "authentication.kubernetes.io/node-name";
const CALLER_NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Why the headers make no sense (400).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpersonationError {
    /// Group, uid or extra without a user.
    #[error("requested {0} without impersonating a user")]
    NoUser(String),
}

/// A request to act as another user.
#[derive(Clone, Debug, PartialEq)]
pub struct Impersonation {
    /// Who to become.
    pub user: User,
    /// The groups asked for, before defaults were added.
    requested_groups: Vec<String>,
}

/// A way to become the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// What limits it (`impersonate:user-info` and the like), for the audit log; empty for the unconstrained way.
    pub constraint: &'static str,
    /// What the caller must be allowed to do, all of it, in this order.
    pub checks: Vec<Attributes>,
    /// Who the caller becomes.
    pub user: User,
}

impl Way {
    /// A constrained way: the action is checked first, as upstream, since it depends on no identity.
    fn new(
        mode: &'static str,
        caller: &User,
        request: &Attributes,
        identity: Vec<Attributes>,
        user: User,
    ) -> Way {
        let verb = format!("impersonate-on:{mode}:{}", request.verb);
        let action = Attributes { user: caller.clone(), verb, ..request.clone() };
        let constraint = match mode {
            "associated-node" => "impersonate:associated-node",
            "arbitrary-node" => "impersonate:arbitrary-node",
            "serviceaccount" => "impersonate:serviceaccount",
            _ => "impersonate:user-info",
        };
        Way { constraint, checks: [vec![action], identity].concat(), user }
    }
}

fn identity_check(caller: &User, verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    Attributes::resource(caller, verb, "authentication.k8s.io", resource, namespace, name)
}

/// The caller as authorizers see it on the way to its own node: which node it is plays no part, so the values of its
/// extra facts are left out and their keys kept.
fn without_extra_values(caller: &User) -> User {
    let keys = caller.extra.keys().cloned().collect();
    User { extra: BTreeMap::from([(CALLER_NODE_KEYS.to_owned(), keys)]), ..caller.clone() }
}

/// `%2f` and the like; what is not well-formed stays as it is.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

impl Impersonation {
    /// Reads the headers; `None` if nobody is to be impersonated.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Impersonation>, ImpersonationError> {
        let one = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let name = one("impersonate-user");
        let uid = one("impersonate-uid");
        let requested: Vec<String> = headers
            .get_all("impersonate-group")
            .iter()
            .filter_map(|group| group.to_str().ok().map(str::to_owned))
            .collect();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (header, value) in headers {
            let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) else { continue };
            let Ok(value) = value.to_str() else { continue };
            extra.entry(unescape(key)).or_default().push(value.to_owned());
        }
        if name.is_empty() {
            let mut orphans = Vec::new();
            if !requested.is_empty() {
                orphans.push(format!("groups {requested:?}"));
            }
            if !uid.is_empty() {
                orphans.push(format!("uid {uid:?}"));
            }
            if !extra.is_empty() {
                orphans.push(format!("extra {extra:?}"));
            }
            return if orphans.is_empty() {
                Ok(None)
            } else {
                Err(ImpersonationError::NoUser(orphans.join(", ")))
            };
        }
        let mut all = requested.clone();
        if let (true, Some((namespace, _))) = (all.is_empty(), service_account(&name)) {
            all = groups(namespace);
        }
        let implied = if name == ANONYMOUS { GROUP_UNAUTHENTICATED } else { GROUP_AUTHENTICATED };
        if !all.iter().any(|g| g == GROUP_AUTHENTICATED || g == GROUP_UNAUTHENTICATED) {
            all.push(implied.to_owned());
        }
        let user = User { name, uid, groups: all, extra };
        Ok(Some(Impersonation { user, requested_groups: requested }))
    }

    /// The ways to become the user for one request, in the order they are tried; the last one is the unconstrained one,
    /// whose refusal is the request's.
    pub fn ways(&self, caller: &User, request: &Attributes) -> Vec<Way> {
        let mut ways = Vec::new();
        if let Some(node) = self.user.name.strip_prefix(NODE_USER_PREFIX).filter(|_| self.is_name_only()) {
            let user = self.with_groups(&[GROUP_NODES]);
            let own = caller.extra.get(CALLER_NODE).map(Vec::as_slice);
            if service_account(&caller.name).is_some() && own == Some(&[node.to_owned()]) {
                let caller = without_extra_values(caller);
                let check = identity_check(&caller, "impersonate:associated-node", "nodes", "", "*");
                ways.push(Way::new("associated-node", &caller, request, vec![check], user.clone()));
            }
            let check = identity_check(caller, "impersonate:arbitrary-node", "nodes", "", node);
            ways.push(Way::new("arbitrary-node", caller, request, vec![check], user));
        } else if let Some((namespace, name)) =
            service_account(&self.user.name).filter(|_| self.is_name_only())
        {
            let verb = "impersonate:serviceaccount";
            let check = identity_check(caller, verb, "serviceaccounts", namespace, name);
            ways.push(Way::new("serviceaccount", caller, request, vec![check], self.user.clone()));
        } else if !self.user.name.starts_with(NODE_USER_PREFIX) && service_account(&self.user.name).is_none()
        {
            let checks = self.user_info_checks(caller);
            ways.push(Way::new("user-info", caller, request, checks, self.user.clone()));
        }
        ways.push(Way { constraint: "", checks: self.checks(caller), user: self.user.clone() });
        ways
    }

    /// Whether nothing but a name is asked for: groups follow from it.
    fn is_name_only(&self) -> bool {
        self.requested_groups.is_empty() && self.user.uid.is_empty() && self.user.extra.is_empty()
    }

    fn with_groups(&self, groups: &[&str]) -> User {
        let groups = groups.iter().chain(&[GROUP_AUTHENTICATED]).map(|group| (*group).to_owned()).collect();
        User { groups, ..self.user.clone() }
    }

    fn user_info_checks(&self, caller: &User) -> Vec<Attributes> {
        const VERB: &str = "impersonate:user-info";
        let mut checks = vec![identity_check(caller, VERB, "users", "", &self.user.name)];
        let groups = self.requested_groups.iter();
        checks.extend(groups.map(|group| identity_check(caller, VERB, "groups", "", group)));
        if !self.user.uid.is_empty() {
            checks.push(identity_check(caller, VERB, "uids", "", &self.user.uid));
        }
        for (key, values) in &self.user.extra {
            let extras = values.iter().map(|value| identity_check(caller, VERB, "userextras", "", value));
            checks.extend(extras.map(|attributes| attributes.with_subresource(key)));
        }
        checks
    }

    /// What the caller must be allowed to do for the unconstrained way, all of it: `impersonate` the user (or service account), each group
    /// asked for, the uid, and each extra value.
    pub fn checks(&self, caller: &User) -> Vec<Attributes> {
        let check = |group: &str, resource: &str, namespace: &str, name: &str| {
            Attributes::resource(caller, "impersonate", group, resource, namespace, name)
        };
        let mut checks = vec![match service_account(&self.user.name) {
            Some((namespace, name)) => check("", "serviceaccounts", namespace, name),
            None => check("", "users", "", &self.user.name),
        }];
        checks.extend(self.requested_groups.iter().map(|group| check("", "groups", "", group)));
        if !self.user.uid.is_empty() {
            checks.push(check("authentication.k8s.io", "uids", "", &self.user.uid));
        }
        for (key, values) in &self.user.extra {
            let extras = values.iter().map(|value| check("authentication.k8s.io", "userextras", "", value));
            checks.extend(extras.map(|attributes| attributes.with_subresource(key)));
        }
        checks
    }
}
