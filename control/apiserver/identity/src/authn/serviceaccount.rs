//! From proven claims to a user: is the account, and what the token is bound to, still there?
//!
//! Authority: `pkg/serviceaccount/claims.go` (validator), `pkg/serviceaccount/util.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::token::{Claims, LEEWAY_SECONDS, Reference};
use crate::{ObjectReader, User, text};

/// Why a genuine token no longer counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaleTokenError {
    /// The object is gone.
    #[error("{kind} {name:?} not found")]
    Gone {
        /// What it was.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Another object has its name.
    #[error("{kind} UID ({own}) does not match claim ({claim})")]
    Replaced {
        /// What it is.
        kind: &'static str,
        /// The uid of the object there now.
        own: String,
        /// The uid in the token.
        claim: String,
    },
    /// The object is being deleted, its time is up.
    #[error("{kind} {name:?} has been deleted")]
    Deleted {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// The user `system:serviceaccount:<namespace>:<name>` of proven claims.
///
/// Checked: the account, then the Secret, pod or node the token is bound to, by uid. The node of a pod-bound token
/// is reported, not checked: the pod's existence implies it.
pub fn service_account_user(
    reader: &dyn ObjectReader,
    claims: &Claims,
    now: Timestamp,
) -> Result<User, StaleTokenError> {
    let own = &claims.kubernetes;
    let namespace = own.namespace.as_str();
    let check = |kind, plural, scope, wanted: &Reference| {
        let object = reader.get("", plural, scope, &wanted.name);
        alive(kind, object.as_deref(), wanted, now)
    };
    check("service account", "serviceaccounts", namespace, &own.serviceaccount)?;
    if let Some(secret) = &own.secret {
        check("secret", "secrets", namespace, secret)?;
    }
    if let Some(pod) = &own.pod {
        check("pod", "pods", namespace, pod)?;
    } else if let Some(node) = &own.node {
        check("node", "nodes", "", node)?;
    }
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if !claims.jti.is_empty() {
        add("credential-id", &format!("JTI={}", claims.jti));
    }
    for (kind, bound) in [("pod", &own.pod), ("node", &own.node)] {
        if let Some(bound) = bound {
            add(&format!("{kind}-name"), &bound.name);
            add(&format!("{kind}-uid"), &bound.uid);
        }
    }
    Ok(User {
        name: format!("system:serviceaccount:{namespace}:{}", own.serviceaccount.name),
        uid: own.serviceaccount.uid.clone(),
        groups: groups(namespace),
        extra,
    })
}

/// The groups of every service account of a namespace.
pub(crate) fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

fn alive(
    kind: &'static str,
    object: Option<&Value>,
    wanted: &Reference,
    now: Timestamp,
) -> Result<(), StaleTokenError> {
    let name = || wanted.name.clone();
    let object = object.ok_or_else(|| StaleTokenError::Gone { kind, name: name() })?;
    let uid = text(object, "/metadata/uid");
    if uid != wanted.uid {
        return Err(StaleTokenError::Replaced { kind, own: uid.to_owned(), claim: wanted.uid.clone() });
    }
    // The deletion timestamp of a pod is when its grace period ends; the token lives as long (plus the leeway).
    let deleted = text(object, "/metadata/deletionTimestamp").parse::<Timestamp>();
    if deleted.is_ok_and(|deleted| deleted.as_second() < now.as_second().saturating_sub(LEEWAY_SECONDS)) {
        return Err(StaleTokenError::Deleted { kind, name: name() });
    }
    Ok(())
}
