//! The authorizers of a configuration in their order, replaced as a whole when the configuration changes.
//!
//! Enters: an [`AuthorizationConfiguration`] that was found in order, at the start and when its file changes. Leaves:
//! the steps that [`Authorizer::decide`] asks. A configuration that is wrong changes nothing.
//!
//! Authority: `pkg/kubeapiserver/authorizer/reload.go`.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use xebec_api::config_file;
use xebec_api::field::{FieldError, Path};

use super::Authorizer;
use super::conditions::Conditions;
use super::config::{AuthorizationConfiguration, TYPES};
use super::webhook::AccessWebhook;
use crate::authn::config::ConfigError;
use crate::reload::Follower;

/// One authorizer of the chain.
pub(super) enum Step {
    AlwaysAllow,
    AlwaysDeny,
    Node,
    Rbac,
    Webhook(Arc<AccessWebhook>, Conditions),
}

/// The authorizers and what they were made from.
pub(super) struct Chain {
    config: AuthorizationConfiguration,
    pub(super) steps: Vec<Step>,
}

impl Chain {
    /// Upstream's default mode `Node,RBAC`.
    pub(super) fn usual() -> Chain {
        Chain { config: AuthorizationConfiguration::default(), steps: vec![Step::Node, Step::Rbac] }
    }

    /// The chain of a configuration; webhooks' kubeconfigs are read now.
    pub(super) async fn new(config: &AuthorizationConfiguration) -> Result<Chain, ConfigError> {
        let mut steps = Vec::with_capacity(config.authorizers.len());
        for (index, one) in config.authorizers.iter().enumerate() {
            let at = Path::new("authorizers").index(index);
            steps.push(match (one.kind.as_str(), &one.webhook) {
                ("AlwaysAllow", _) => Step::AlwaysAllow,
                ("AlwaysDeny", _) => Step::AlwaysDeny,
                ("Node", _) => Step::Node,
                ("RBAC", _) => Step::Rbac,
                ("Webhook", Some(webhook)) => {
                    let file = webhook.connection_info.kube_config_file.clone().unwrap_or_default();
                    let conditions_at = at.child("webhook").child("matchConditions");
                    let conditions = Conditions::new(&webhook.match_conditions, &conditions_at)?;
                    let loaded = AccessWebhook::load(&file, webhook.options(&one.name)).await?;
                    Step::Webhook(Arc::new(loaded), conditions)
                }
                (other, _) => {
                    let error = FieldError::not_supported(&at.child("type"), other, &TYPES);
                    return Err(ConfigError::field(error));
                }
            });
        }
        Ok(Chain { config: config.clone(), steps })
    }
}

/// The types of a configuration's authorizers but for webhooks.
fn types(config: &AuthorizationConfiguration) -> BTreeSet<&str> {
    config.authorizers.iter().map(|one| one.kind.as_str()).filter(|kind| *kind != "Webhook").collect()
}

/// Whether a configuration may take effect in a server that began with `first`: what is no webhook stays, and Node and
/// RBAC are not there later if they were not there then.
fn check_successor(
    first: &AuthorizationConfiguration,
    next: &AuthorizationConfiguration,
) -> Result<(), ConfigError> {
    let (first, wanted) = (types(first), types(next));
    let missing: Vec<&str> = first.difference(&wanted).copied().collect();
    let refused = |text| Err(config_file::ConfigError::Form(text).into());
    if !missing.is_empty() {
        return refused(format!("missing required types: [{}]", missing.join(" ")));
    }
    let late = wanted.difference(&first).find(|kind| matches!(**kind, "Node" | "RBAC"));
    late.map_or(Ok(()), |kind| {
        refused(format!(
            "authorizer type {kind} is not allowed if it was not enabled at initial server startup"
        ))
    })
}

#[async_trait]
impl Follower for Authorizer {
    async fn take(&self, text: &str) -> Result<bool, ConfigError> {
        let config = AuthorizationConfiguration::parse(text)?;
        check_successor(&self.first, &config)?;
        if self.chain().config == config {
            return Ok(false);
        }
        let next = Chain::new(&config).await?;
        *self.chain.write() = Arc::new(next);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::MemoryReader;
    use crate::{Attributes, User};

    fn text(types: &[&str]) -> String {
        let entry = |kind: &&str| json!({"type": kind, "name": kind.to_ascii_lowercase()});
        let authorizers: Vec<_> = types.iter().map(entry).collect();
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers})
            .to_string()
    }

    #[tokio::test]
    async fn a_configuration_follows_another_only_if_nothing_built_in_leaves() {
        let first = AuthorizationConfiguration::parse(&text(&["RBAC"])).unwrap();
        let authorizer = Authorizer::configured(MemoryReader::with(Vec::new()), &first).await.unwrap();
        let asked = Attributes::path(&User::new("ann", &[]), "get", "/x");
        for (next, outcome, allowed) in [
            (text(&["RBAC"]), Ok(false), false),
            (text(&["AlwaysDeny"]), Err("missing required types: [RBAC]"), false),
            (
                text(&["RBAC", "Node"]),
                Err("authorizer type Node is not allowed if it was not enabled at initial server startup"),
                false,
            ),
            (text(&[]), Err("authorizers: Required value"), false),
            ("authorizers: [".to_owned(), Err("line 1"), false),
            (text(&["RBAC", "AlwaysAllow"]), Ok(true), true),
            (text(&["nothing"]), Err("authorizers[0].type: Unsupported value"), true),
            (text(&["RBAC", "AlwaysAllow"]).replace(",", ", "), Ok(false), true),
            (text(&["AlwaysAllow", "RBAC"]), Ok(true), true),
            (text(&["RBAC"]), Ok(true), false),
        ] {
            let taken = authorizer.take(&next).await.map_err(|error| error.to_string());
            match outcome {
                Ok(changed) => assert_eq!(taken, Ok(changed), "{next}"),
                Err(part) => {
                    assert!(taken.clone().is_err_and(|error| error.contains(part)), "{next}: {taken:?}")
                }
            }
            assert_eq!(authorizer.decide(&asked).await.allowed(), allowed, "{next}");
            let rules = authorizer.rules_for(&asked.user, "a").to_status();
            assert_eq!(rules["resourceRules"].as_array().map(Vec::len), Some(usize::from(allowed)), "{next}");
        }
    }
}
