//! Which authorizers there are, and in which order: the AuthorizationConfiguration file (`--authorization-config`), or
//! `--authorization-mode` with the `--authorization-webhook-*` flags.
//!
//! Enters: YAML or JSON of `apiserver.config.k8s.io/v1`, or flags. Leaves: an [`AuthorizationConfiguration`] whose
//! every field is right, or all that is wrong, by field.
//!
//! Authority: `k8s.io/apiserver/pkg/apis/apiserver/{v1,validation}`, `kubeapiserver/options/authorization.go`.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use xebec_api::config_file;

use super::webhook::{FailurePolicy, WebhookOptions};
use crate::authn::config::ConfigError;

mod validate;

pub(super) use validate::TYPES;

const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationConfiguration {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    /// The authorizers, asked in this order.
    #[serde(default)]
    pub authorizers: Vec<AuthorizerConfig>,
}

/// One authorizer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizerConfig {
    /// `Webhook`, `Node`, `RBAC`, `AlwaysAllow` or `AlwaysDeny`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Its name, for messages; unique.
    #[serde(default)]
    pub name: String,
    /// Of type `Webhook` only.
    #[serde(default)]
    pub webhook: Option<WebhookConfig>,
}

/// A webhook.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookConfig {
    /// How long an allowed answer is remembered; default 5m.
    #[serde(default, rename = "authorizedTTL")]
    pub authorized_ttl: Option<String>,
    /// Whether allowed answers are remembered at all; default true.
    #[serde(default)]
    pub cache_authorized_requests: Option<bool>,
    /// How long any other answer is remembered; default 30s.
    #[serde(default, rename = "unauthorizedTTL")]
    pub unauthorized_ttl: Option<String>,
    /// Whether other answers are remembered at all; default true.
    #[serde(default)]
    pub cache_unauthorized_requests: Option<bool>,
    /// How long a question may take; at most 30s.
    #[serde(default)]
    pub timeout: Option<String>,
    /// `v1` or `v1beta1`.
    #[serde(default)]
    pub subject_access_review_version: String,
    /// `v1`, needed with conditions.
    #[serde(default)]
    pub match_condition_subject_access_review_version: String,
    /// `NoOpinion` or `Deny`.
    #[serde(default)]
    pub failure_policy: String,
    /// Where it is.
    #[serde(default)]
    pub connection_info: ConnectionInfo,
    /// CEL expressions over `request`, all of which must hold for the webhook to be asked.
    #[serde(default)]
    pub match_conditions: Vec<MatchCondition>,
}

/// Where a webhook is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionInfo {
    /// `KubeConfigFile`; `InClusterConfig` is for servers that are pods, which this one is not.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The kubeconfig, an absolute path.
    #[serde(default)]
    pub kube_config_file: Option<PathBuf>,
}

/// A condition.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchCondition {
    /// A CEL expression over `request`, the review's spec.
    #[serde(default)]
    pub expression: String,
}

/// A duration as Go writes it (`30s`, `5m`, `1h30m`); `None` if it is none.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    text.parse().ok()
}

/// The flags of `--authorization-mode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeFlags {
    /// `--authorization-mode`, in order.
    pub modes: Vec<String>,
    /// `--authorization-webhook-config-file`.
    pub webhook_config_file: Option<PathBuf>,
    /// `--authorization-webhook-version`; default v1beta1, as upstream.
    pub webhook_version: String,
    /// `--authorization-webhook-cache-authorized-ttl`.
    pub webhook_authorized_ttl: Duration,
    /// `--authorization-webhook-cache-unauthorized-ttl`.
    pub webhook_unauthorized_ttl: Duration,
}

impl Default for ModeFlags {
    /// `Node,RBAC`, and upstream's times.
    fn default() -> ModeFlags {
        ModeFlags {
            modes: vec!["Node".to_owned(), "RBAC".to_owned()],
            webhook_config_file: None,
            webhook_version: "v1beta1".to_owned(),
            webhook_authorized_ttl: Duration::from_secs(300),
            webhook_unauthorized_ttl: Duration::from_secs(30),
        }
    }
}

/// Why the flags are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// No mode at all.
    #[error("at least one authorization-mode must be passed")]
    None,
    /// An unknown mode.
    #[error(
        "authorization-mode {0:?} is not a valid mode; valid are AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook"
    )]
    Unknown(String),
    /// A mode given twice.
    #[error("authorization-mode {0:?} is specified more than once")]
    Twice(String),
    /// The mode without its file.
    #[error(
        "authorization-mode Webhook's authorization config file not passed (--authorization-webhook-config-file)"
    )]
    NoFile,
    /// The file without its mode.
    #[error("cannot specify --authorization-webhook-config-file without mode Webhook")]
    NoMode,
}

impl ModeFlags {
    /// The configuration the flags describe.
    pub fn to_config(&self) -> Result<AuthorizationConfiguration, ModeError> {
        if self.modes.is_empty() {
            return Err(ModeError::None);
        }
        let has_webhook = self.modes.iter().any(|mode| mode == "Webhook");
        match (&self.webhook_config_file, has_webhook) {
            (None, true) => return Err(ModeError::NoFile),
            (Some(_), false) => return Err(ModeError::NoMode),
            _ => {}
        }
        let mut authorizers = Vec::new();
        for (index, mode) in self.modes.iter().enumerate() {
            if !TYPES.contains(&mode.as_str()) {
                return Err(ModeError::Unknown(mode.clone()));
            }
            if self.modes[..index].contains(mode) {
                return Err(ModeError::Twice(mode.clone()));
            }
            let webhook = (mode == "Webhook").then(|| self.webhook());
            let name = if webhook.is_some() { "default".to_owned() } else { mode.to_ascii_lowercase() };
            authorizers.push(AuthorizerConfig { kind: mode.clone(), name, webhook });
        }
        Ok(AuthorizationConfiguration { authorizers, ..AuthorizationConfiguration::default() })
    }

    fn webhook(&self) -> WebhookConfig {
        let seconds = |ttl: Duration| Some(format!("{}s", ttl.as_secs()));
        WebhookConfig {
            authorized_ttl: seconds(self.webhook_authorized_ttl),
            cache_authorized_requests: Some(!self.webhook_authorized_ttl.is_zero()),
            unauthorized_ttl: seconds(self.webhook_unauthorized_ttl),
            cache_unauthorized_requests: Some(!self.webhook_unauthorized_ttl.is_zero()),
            timeout: Some("30s".to_owned()),
            subject_access_review_version: self.webhook_version.clone(),
            failure_policy: "NoOpinion".to_owned(),
            connection_info: ConnectionInfo {
                kind: "KubeConfigFile".to_owned(),
                kube_config_file: self.webhook_config_file.clone(),
            },
            ..WebhookConfig::default()
        }
    }
}

impl AuthorizationConfiguration {
    /// Reads and checks the file's text; unknown fields are refused.
    pub fn parse(text: &str) -> Result<AuthorizationConfiguration, ConfigError> {
        let config: AuthorizationConfiguration =
            config_file::parse(text, &VERSIONS, "AuthorizationConfiguration", |config: &Self| {
                (&config.api_version, &config.kind)
            })?;
        config_file::ConfigError::unless_empty(validate::validate(&config))?;
        Ok(config)
    }
}

impl WebhookConfig {
    /// The options of a webhook that was found in order.
    pub(super) fn options(&self, name: &str) -> WebhookOptions {
        let defaults = WebhookOptions::new(name);
        let given = |text: &Option<String>, default: Duration, cached: Option<bool>| {
            let ttl = text.as_deref().and_then(duration).and_then(|ttl| Duration::try_from(ttl).ok());
            if cached == Some(false) { Duration::ZERO } else { ttl.unwrap_or(default) }
        };
        WebhookOptions {
            version: self.subject_access_review_version.clone(),
            timeout: given(&self.timeout, defaults.timeout, None),
            authorized_ttl: given(
                &self.authorized_ttl,
                defaults.authorized_ttl,
                self.cache_authorized_requests,
            ),
            unauthorized_ttl: given(
                &self.unauthorized_ttl,
                defaults.unauthorized_ttl,
                self.cache_unauthorized_requests,
            ),
            failure_policy: if self.failure_policy == "Deny" {
                FailurePolicy::Deny
            } else {
                FailurePolicy::NoOpinion
            },
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests;
