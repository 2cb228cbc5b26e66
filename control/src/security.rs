//! The options about who may ask, what is written down and what is encrypted, with upstream's names.
//!
//! Enters: flags, or the key `security` of the configuration file with the same names in camel case; a flag wins.
//! Leaves: the API server's identity options, its auditor, and the encryption of the store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use xebec_apiserver::identity::{IdentityOptions, TokenWebhookOptions};
use xebec_audit::sink::batch::{self, Batch};
use xebec_audit::sink::log::{Blocking, Log, LogOptions};
use xebec_audit::sink::webhook::{BatchOptions, Webhook};
use xebec_audit::sink::{Sink, Union};
use xebec_audit::{Auditor, Policy};
use xebec_encryption::EncryptedStore;
use xebec_identity::authn::config::OidcFlags;
use xebec_identity::authz::ModeFlags;
use xebec_program::Failure;
use xebec_store::Store;

/// The options as given; what is not given has upstream's default.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SecurityOptions {
    /// Whether requests without a credential become system:anonymous [default: true].
    #[arg(long)]
    anonymous_auth: Option<bool>,
    /// An AuthenticationConfiguration file: token issuers, anonymous requests. Followed while the server runs.
    #[arg(long)]
    authentication_config: Option<PathBuf>,
    /// URL of an OpenID Connect issuer.
    #[arg(long)]
    oidc_issuer_url: Option<String>,
    /// The audience tokens of the issuer must have.
    #[arg(long)]
    oidc_client_id: Option<String>,
    /// The CA of the issuer's certificate.
    #[arg(long)]
    oidc_ca_file: Option<PathBuf>,
    /// The claim that is the user's name [default: sub].
    #[arg(long)]
    oidc_username_claim: Option<String>,
    /// What is put before the name; "-" for nothing [default: the issuer and "#", nothing for email].
    #[arg(long)]
    oidc_username_prefix: Option<String>,
    /// The claim that holds the groups.
    #[arg(long)]
    oidc_groups_claim: Option<String>,
    /// What is put before each group.
    #[arg(long)]
    oidc_groups_prefix: Option<String>,
    /// Signature algorithms accepted [default: RS256].
    #[arg(long, value_delimiter = ',')]
    oidc_signing_algs: Option<Vec<String>>,
    /// A claim and the value it must have (key=value), any number of them.
    #[arg(long)]
    oidc_required_claim: Option<Vec<String>>,
    /// Tokens of a file: token,user,uid,"group1,group2".
    #[arg(long)]
    token_auth_file: Option<PathBuf>,
    /// Kubeconfig of a webhook that reviews tokens.
    #[arg(long)]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of TokenReview it speaks [default: v1beta1].
    #[arg(long)]
    authentication_token_webhook_version: Option<String>,
    /// How long its answers are remembered, such as 2m [default: 2m].
    #[arg(long)]
    authentication_token_webhook_cache_ttl: Option<String>,
    /// Common names a front proxy's certificate may have; "" allows any [default: front-proxy-client].
    #[arg(long, value_delimiter = ',')]
    requestheader_allowed_names: Option<Vec<String>>,
    /// Audiences this server answers to [default: the issuer of its tokens].
    #[arg(long, value_delimiter = ',')]
    api_audiences: Option<Vec<String>>,
    /// An AuthorizationConfiguration file.
    #[arg(long)]
    authorization_config: Option<PathBuf>,
    /// Authorizers in order: AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook [default: Node,RBAC].
    #[arg(long, value_delimiter = ',')]
    authorization_mode: Option<Vec<String>>,
    /// Kubeconfig of a webhook that decides about requests.
    #[arg(long)]
    authorization_webhook_config_file: Option<PathBuf>,
    /// The version of SubjectAccessReview it speaks [default: v1beta1].
    #[arg(long)]
    authorization_webhook_version: Option<String>,
    /// How long its allowed answers are remembered [default: 5m].
    #[arg(long)]
    authorization_webhook_cache_authorized_ttl: Option<String>,
    /// How long its other answers are remembered [default: 30s].
    #[arg(long)]
    authorization_webhook_cache_unauthorized_ttl: Option<String>,
    /// What is written down of which requests.
    #[arg(long)]
    audit_policy_file: Option<PathBuf>,
    /// The audit log; "-" is standard output.
    #[arg(long)]
    audit_log_path: Option<PathBuf>,
    /// When events are written: blocking, blocking-strict or batch [default: blocking].
    #[arg(long)]
    audit_log_mode: Option<String>,
    /// Days rotated logs are kept; 0 for ever [default: 0].
    #[arg(long)]
    audit_log_maxage: Option<u32>,
    /// Rotated logs that are kept; 0 all [default: 0].
    #[arg(long)]
    audit_log_maxbackup: Option<usize>,
    /// Size at which the log is rotated, in MiB [default: 100].
    #[arg(long)]
    audit_log_maxsize: Option<u64>,
    /// Kubeconfig of a webhook that takes audit events.
    #[arg(long)]
    audit_webhook_config_file: Option<PathBuf>,
    /// An EncryptionConfiguration file.
    #[arg(long)]
    encryption_provider_config: Option<PathBuf>,
    /// Whether the encryption file is followed while the server runs [default: false].
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    encryption_provider_config_automatic_reload: Option<bool>,
}

fn wrong(flag: &str, reason: impl std::fmt::Display) -> Failure {
    Failure::Option(format!("--{flag}: {reason}"))
}

fn ttl(flag: &str, given: Option<&String>, default: Duration) -> Result<Duration, Failure> {
    let Some(text) = given else { return Ok(default) };
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|ttl| Duration::try_from(ttl).ok());
    parsed.ok_or_else(|| wrong(flag, format!("{text:?}: must be a duration such as 30s or 2m, not negative")))
}

/// Field by field: what is given here, else what is given there.
macro_rules! first_given {
    ($here:ident, $there:ident, $($field:ident),* $(,)?) => { SecurityOptions { $($field: $here.$field.or($there.$field)),* } };
}

impl SecurityOptions {
    /// These options, and those of a file for what is not given.
    pub(crate) fn or(self, file: SecurityOptions) -> SecurityOptions {
        first_given!(
            self,
            file,
            anonymous_auth,
            authentication_config,
            oidc_issuer_url,
            oidc_client_id,
            oidc_ca_file,
            oidc_username_claim,
            oidc_username_prefix,
            oidc_groups_claim,
            oidc_groups_prefix,
            oidc_signing_algs,
            oidc_required_claim,
            token_auth_file,
            authentication_token_webhook_config_file,
            authentication_token_webhook_version,
            authentication_token_webhook_cache_ttl,
            requestheader_allowed_names,
            api_audiences,
            authorization_config,
            authorization_mode,
            authorization_webhook_config_file,
            authorization_webhook_version,
            authorization_webhook_cache_authorized_ttl,
            authorization_webhook_cache_unauthorized_ttl,
            audit_policy_file,
            audit_log_path,
            audit_log_mode,
            audit_log_maxage,
            audit_log_maxbackup,
            audit_log_maxsize,
            audit_webhook_config_file,
            encryption_provider_config,
            encryption_provider_config_automatic_reload,
        )
    }

    /// Whether requests without a credential are let in.
    pub(crate) fn anonymous(&self) -> bool {
        self.anonymous_auth.unwrap_or(true)
    }

    /// How requests are authenticated and authorized.
    pub(crate) fn identity(&self) -> Result<IdentityOptions, Failure> {
        let mut identity = IdentityOptions {
            authentication_config: self.authentication_config.clone(),
            oidc: self.oidc()?,
            token_auth_file: self.token_auth_file.clone(),
            api_audiences: self.api_audiences.clone().unwrap_or_default(),
            authorization_config: self.authorization_config.clone(),
            authorization: self.modes()?,
            ..IdentityOptions::default()
        };
        if let Some(path) = &self.authentication_token_webhook_config_file {
            let mut webhook = TokenWebhookOptions::new(path.clone());
            if let Some(version) = &self.authentication_token_webhook_version {
                webhook.version.clone_from(version);
            }
            let flag = "authentication-token-webhook-cache-ttl";
            let given = self.authentication_token_webhook_cache_ttl.as_ref();
            webhook.cache_ttl = ttl(flag, given, webhook.cache_ttl)?;
            identity.token_webhook = Some(webhook);
        }
        if let Some(names) = &self.requestheader_allowed_names {
            identity.front_proxy.allowed_names =
                names.iter().filter(|name| !name.is_empty()).cloned().collect();
        }
        Ok(identity)
    }

    fn oidc(&self) -> Result<OidcFlags, Failure> {
        let mut required_claims = BTreeMap::new();
        for claim in self.oidc_required_claim.iter().flatten() {
            let (key, value) = claim
                .split_once('=')
                .ok_or_else(|| wrong("oidc-required-claim", format!("{claim:?}: must be key=value")))?;
            required_claims.insert(key.to_owned(), value.to_owned());
        }
        let ca = match &self.oidc_ca_file {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| wrong("oidc-ca-file", format!("{}: {error}", path.display())))?,
            ),
        };
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        Ok(OidcFlags {
            issuer_url: text(&self.oidc_issuer_url),
            client_id: text(&self.oidc_client_id),
            ca,
            username_claim: text(&self.oidc_username_claim),
            username_prefix: text(&self.oidc_username_prefix),
            groups_claim: text(&self.oidc_groups_claim),
            groups_prefix: text(&self.oidc_groups_prefix),
            signing_algs: self.oidc_signing_algs.clone().unwrap_or_default(),
            required_claims,
        })
    }

    fn modes(&self) -> Result<ModeFlags, Failure> {
        let defaults = ModeFlags::default();
        Ok(ModeFlags {
            modes: self.authorization_mode.clone().unwrap_or(defaults.modes),
            webhook_config_file: self.authorization_webhook_config_file.clone(),
            webhook_version: self.authorization_webhook_version.clone().unwrap_or(defaults.webhook_version),
            webhook_authorized_ttl: ttl(
                "authorization-webhook-cache-authorized-ttl",
                self.authorization_webhook_cache_authorized_ttl.as_ref(),
                defaults.webhook_authorized_ttl,
            )?,
            webhook_unauthorized_ttl: ttl(
                "authorization-webhook-cache-unauthorized-ttl",
                self.authorization_webhook_cache_unauthorized_ttl.as_ref(),
                defaults.webhook_unauthorized_ttl,
            )?,
        })
    }

    /// What writes requests down; `None` without a policy or without anywhere to write, as upstream.
    pub(crate) async fn auditor(&self) -> Result<Option<Arc<Auditor>>, Failure> {
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
        if let Some(path) = &self.audit_log_path {
            sinks.push(self.audit_log(path.clone())?);
        }
        if let Some(path) = &self.audit_webhook_config_file {
            let webhook = Webhook::start(path, BatchOptions::default()).await;
            sinks.push(Arc::new(webhook.map_err(|error| wrong("audit-webhook-config-file", error))?));
        }
        let Some(path) = &self.audit_policy_file else {
            if !sinks.is_empty() {
                tracing::warn!("no audit policy file provided, no events will be recorded");
            }
            return Ok(None);
        };
        let policy = Policy::load(path).map_err(|error| wrong("audit-policy-file", error))?;
        if sinks.is_empty() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Auditor::new(policy, Arc::new(Union(sinks))))))
    }

    fn audit_log(&self, path: PathBuf) -> Result<Arc<dyn Sink>, Failure> {
        let failed = |error: &dyn std::fmt::Display| wrong("audit-log-path", error);
        let log = Log::open(LogOptions {
            path,
            max_age_days: self.audit_log_maxage.unwrap_or(0),
            max_backups: self.audit_log_maxbackup.unwrap_or(0),
            max_size: self.audit_log_maxsize.unwrap_or(0) << 20,
        })
        .map_err(|error| failed(&error))?;
        Ok(match self.audit_log_mode.as_deref().unwrap_or("blocking") {
            "blocking" => Arc::new(Blocking::new(log, false)),
            "blocking-strict" => Arc::new(Blocking::new(log, true)),
            "batch" => {
                let started = Batch::start(log, batch::DEFAULT_EVENTS, batch::DEFAULT_BYTES);
                Arc::new(started.map_err(|error| failed(&error))?)
            }
            other => {
                let reason = format!("{other:?}: must be blocking, blocking-strict or batch");
                return Err(wrong("audit-log-mode", reason));
            }
        })
    }

    /// The store with what the encryption file says above it; the store itself without one.
    pub(crate) fn encrypted(
        &self,
        store: Arc<dyn Store>,
        stop: &CancellationToken,
    ) -> Result<Arc<dyn Store>, Failure> {
        let Some(path) = &self.encryption_provider_config else { return Ok(store) };
        let loaded = xebec_encryption::load(path);
        let (transformers, text) = loaded.map_err(|error| wrong("encryption-provider-config", error))?;
        let encrypted = EncryptedStore::new(store, transformers);
        if self.encryption_provider_config_automatic_reload == Some(true) {
            let (own, path) = (Arc::clone(&encrypted), path.clone());
            let follow = xebec_encryption::follow(own, path, text, xebec_encryption::LOOK_EVERY);
            tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
        }
        Ok(encrypted)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: SecurityOptions,
    }

    fn parse(arguments: &[&str]) -> SecurityOptions {
        Line::try_parse_from([&["x"], arguments].concat()).unwrap().options
    }

    #[test]
    fn flags_become_options() {
        let options = parse(&[
            "--oidc-issuer-url=https://i",
            "--oidc-client-id=c",
            "--oidc-required-claim=a=b",
            "--oidc-required-claim=c=d=e",
            "--authorization-mode=RBAC,Node",
            "--authorization-webhook-cache-authorized-ttl=1m30s",
            "--requestheader-allowed-names=",
            "--encryption-provider-config-automatic-reload",
        ]);
        let identity = options.identity().unwrap();
        assert_eq!(identity.oidc.required_claims["c"], "d=e");
        assert_eq!(identity.authorization.modes, ["RBAC", "Node"]);
        assert_eq!(identity.authorization.webhook_authorized_ttl, Duration::from_secs(90));
        assert!(identity.front_proxy.allowed_names.is_empty());
        assert_eq!(options.encryption_provider_config_automatic_reload, Some(true));
        let file = xebec_api::config_file::decode("auditLogMaxage: 3\noidcClientId: other\n").unwrap();
        let merged = options.or(file);
        assert_eq!((merged.audit_log_maxage, merged.oidc_client_id.as_deref()), (Some(3), Some("c")));
    }

    #[tokio::test]
    async fn bad_values_name_their_flag() {
        let error = |arguments: &[&str]| parse(arguments).identity().unwrap_err().to_string();
        assert!(error(&["--oidc-required-claim=x"]).starts_with("--oidc-required-claim: \"x\""));
        assert!(error(&["--oidc-ca-file=/none"]).contains("/none"));
        let soon = error(&["--authorization-webhook-cache-authorized-ttl=soon"]);
        assert!(soon.contains("authorized-ttl: \"soon\""), "{soon}");
        let directory = tempfile::tempdir().unwrap();
        let log = format!("--audit-log-path={}", directory.path().join("a.log").display());
        let mode = parse(&[&log, "--audit-log-mode=later"]).auditor().await.err().unwrap().to_string();
        assert!(mode.starts_with("--audit-log-mode: \"later\""), "{mode}");
        let policy = parse(&["--audit-policy-file=/none"]).auditor().await.err().unwrap().to_string();
        assert!(policy.contains("/none"), "{policy}");
        assert!(parse(&[]).auditor().await.unwrap().is_none());
    }
}
