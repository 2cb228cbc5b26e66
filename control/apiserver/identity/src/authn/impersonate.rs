//! Acting as someone else: the `Impersonate-*` headers.
//!
//! Enters: headers. Leaves: the user to become and the requests the caller must be allowed to make first. The API
//! server authorizes each of [`Impersonation::checks`] for the caller and then goes on as the user.
//!
//! Authority: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::serviceaccount::groups;
use crate::{ANONYMOUS, Attributes, GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, User};

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

    /// What the caller must be allowed to do, all of it: `impersonate` the user (or service account), each group
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
