//! Nobody grants what they do not hold: the checks on writes of roles and bindings.
//!
//! Authority: `pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased` and
//! `pkg/registry/rbac/validation.ConfirmNoEscalation`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rbac::aggregate;
use super::rules::{compact, quoted};
use super::{Attributes, Authorizer, RBAC_GROUP, Rule, covers};
use crate::{GROUP_MASTERS, User, text};

/// Why a role or binding may not be written by this user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscalationError {
    /// The user would grant rights they do not hold (403; the text is the detail after `is forbidden: `).
    #[error("{0}")]
    NotHeld(String),
    /// An aggregated ClusterRole may be written by cluster administrators only (403).
    #[error("must have cluster-admin privileges to use the aggregationRule")]
    Aggregation,
    /// The binding names a role that does not exist (404 for that role).
    #[error("{plural}.rbac.authorization.k8s.io {name:?} not found")]
    RoleNotFound {
        /// `roles` or `clusterroles`.
        plural: String,
        /// The role's name.
        name: String,
    },
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

impl Authorizer {
    /// Checks a create (`old` is `None`) or update of a Role or ClusterRole; `plural` is `roles` or `clusterroles`.
    ///
    /// Passes members of `system:masters`, holders of the verb `escalate` on the role, updates that change no rule,
    /// and grants the user holds.
    pub async fn check_role_write(
        &self,
        user: &User,
        plural: &str,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), EscalationError> {
        let unchanged = old.is_some_and(|old| {
            Rule::all_of(old) == Rule::all_of(new) && old.get("aggregationRule") == new.get("aggregationRule")
        });
        let namespace = text(new, "/metadata/namespace");
        let name = text(new, "/metadata/name");
        if user.in_group(GROUP_MASTERS)
            || unchanged
            || self.may(user, "escalate", plural, namespace, name).await
        {
            return Ok(());
        }
        let aggregates = |role: &Value| role.get("aggregationRule").is_some_and(|rule| !rule.is_null());
        if aggregates(new) || old.is_some_and(aggregates) {
            let (held, _) = self.rbac.rules_for(user, "");
            if !covers(&held, &everything()).is_empty() {
                return Err(EscalationError::Aggregation);
            }
        }
        self.confirm_held(user, namespace, &Rule::all_of(new))
    }

    /// Checks a create or update of a RoleBinding or ClusterRoleBinding.
    ///
    /// Passes members of `system:masters`, holders of the verb `bind` on the role bound, updates that change neither
    /// role nor subjects, and roles whose every right the user holds.
    pub async fn check_binding_write(
        &self,
        user: &User,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), EscalationError> {
        let unchanged = old.is_some_and(|old| {
            old.get("roleRef") == new.get("roleRef") && old.get("subjects") == new.get("subjects")
        });
        let namespace = text(new, "/metadata/namespace");
        let (kind, name) = (text(new, "/roleRef/kind"), text(new, "/roleRef/name"));
        let plural = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if user.in_group(GROUP_MASTERS) || unchanged || self.may(user, "bind", plural, namespace, name).await
        {
            return Ok(());
        }
        let rules = self.rbac.role(kind, namespace, name).map_err(|_| EscalationError::RoleNotFound {
            plural: plural.to_owned(),
            name: name.to_owned(),
        })?;
        self.confirm_held(user, namespace, &rules)
    }

    async fn may(&self, user: &User, verb: &str, plural: &str, namespace: &str, name: &str) -> bool {
        self.decide(&Attributes::resource(user, verb, RBAC_GROUP, plural, namespace, name)).await.allowed()
    }

    fn confirm_held(&self, user: &User, namespace: &str, wanted: &[Rule]) -> Result<(), EscalationError> {
        let (held, errors) = self.rbac.rules_for(user, namespace);
        let missing = covers(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let lines: BTreeSet<String> = compact(missing).iter().map(Rule::to_string).collect();
        let lines: Vec<String> = lines.into_iter().collect();
        let mut message = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quoted(&user.groups),
            lines.join("\n")
        );
        if !errors.is_empty() {
            message.push_str(&format!("; resolution errors: [{}]", aggregate(&errors)));
        }
        Err(EscalationError::NotHeld(message))
    }
}
