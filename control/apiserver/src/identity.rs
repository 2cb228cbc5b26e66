//! From the operator's options to who may ask: the authenticator and the authorizer put together.
//!
//! Enters: [`IdentityOptions`] (upstream's flags and files). Leaves: an [`Authenticator`] and an [`Authorizer`], or what
//! is wrong with the options. Called once by `ApiServer::build`; the two configuration files are followed
//! afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use xebec_identity::authn::config::{AuthenticationConfiguration, ConfigError, FlagError, OidcFlags};
use xebec_identity::authn::token_file::TokenFileError;
use xebec_identity::authn::{FrontProxy, TokenFile, TokenWebhook, webhook};
use xebec_identity::authz::config::ModeError;
use xebec_identity::authz::{AuthorizationConfiguration, ModeFlags};
use xebec_identity::reload::{self, Follower, Reloads};
use xebec_identity::remote::RemoteError;
use xebec_identity::token::TokenVerifier;
use xebec_identity::{Authenticator, AuthenticatorOptions, Authorizer, ObjectReader};

/// A webhook that reviews tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenWebhookOptions {
    /// `--authentication-token-webhook-config-file`.
    pub config_file: PathBuf,
    /// `--authentication-token-webhook-version`; default v1beta1, as upstream.
    pub version: String,
    /// `--authentication-token-webhook-cache-ttl`.
    pub cache_ttl: Duration,
}

impl TokenWebhookOptions {
    /// Upstream's defaults over a kubeconfig file.
    #[must_use]
    pub fn new(config_file: PathBuf) -> Self {
        Self { config_file, version: "v1beta1".to_owned(), cache_ttl: webhook::DEFAULT_CACHE }
    }
}

/// What the operator says about authentication and authorization.
#[derive(Clone, Debug, Default)]
pub struct IdentityOptions {
    /// `--authentication-config`; followed while the server runs.
    pub authentication_config: Option<PathBuf>,
    /// `--oidc-*`, not together with a file.
    pub oidc: OidcFlags,
    /// `--token-auth-file`.
    pub token_auth_file: Option<PathBuf>,
    /// `--authentication-token-webhook-*`.
    pub token_webhook: Option<TokenWebhookOptions>,
    /// `--requestheader-*` but for the CA, which is the PKI's `front-proxy-ca.crt`.
    pub front_proxy: FrontProxy,
    /// `--api-audiences`; the token issuer if empty.
    pub api_audiences: Vec<String>,
    /// `--authorization-config`, not together with modes other than the default; followed while the server runs.
    pub authorization_config: Option<PathBuf>,
    /// `--authorization-mode` and `--authorization-webhook-*`.
    pub authorization: ModeFlags,
}

/// The options make no sense together, or a file is wrong.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The authentication file.
    #[error("--authentication-config: {0}")]
    Authentication(#[source] ConfigError),
    /// The `--oidc-*` flags.
    #[error("{0}")]
    Oidc(#[from] FlagError),
    /// What the `--oidc-*` flags describe.
    #[error("--oidc-issuer-url and its companions: {0}")]
    OidcFields(#[source] ConfigError),
    /// The token file cannot be read.
    #[error("--token-auth-file {path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The token file is wrong.
    #[error("--token-auth-file: {0}")]
    Tokens(#[from] TokenFileError),
    /// The token webhook's file.
    #[error("--authentication-token-webhook-config-file: {0}")]
    TokenWebhook(#[source] RemoteError),
    /// The authorization file.
    #[error("--authorization-config: {0}")]
    Authorization(#[source] ConfigError),
    /// The authorization modes.
    #[error("--authorization-mode: {0}")]
    Mode(#[from] ModeError),
    /// A file and modes.
    #[error(
        "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined"
    )]
    TwoAuthorizations,
}

/// The configuration files that are followed, for as long as the server runs.
pub(crate) struct Followed {
    stop: CancellationToken,
    /// How that went, file by file.
    pub(crate) reloads: Vec<Arc<Reloads>>,
}

impl Followed {
    /// No file yet; following ends with `stop`.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { stop, reloads: Vec::new() }
    }

    fn follow(&mut self, path: PathBuf, text: String, reloads: Reloads, follower: Arc<dyn Follower>) {
        let reloads = Arc::new(reloads);
        let following = reload::follow(path, text, reload::LOOK_EVERY, follower, Arc::clone(&reloads));
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(following));
        self.reloads.push(reloads);
    }
}

impl IdentityOptions {
    /// The authenticator; `anonymous` is `--anonymous-auth`, `issuer` the issuer of service account tokens.
    pub(crate) async fn authenticator(
        &self,
        reader: Arc<dyn ObjectReader>,
        verifier: TokenVerifier,
        anonymous: bool,
        issuer: &str,
        followed: &mut Followed,
    ) -> Result<Arc<Authenticator>, IdentityError> {
        let audiences =
            if self.api_audiences.is_empty() { vec![issuer.to_owned()] } else { self.api_audiences.clone() };
        let mut options = AuthenticatorOptions::new(anonymous, audiences);
        options.front_proxy = Some(self.front_proxy.clone());
        let mut authenticator = Authenticator::new(reader, verifier, options);
        if let Some(path) = &self.token_auth_file {
            let failed = |source| IdentityError::TokenFile { path: path.clone(), source };
            let text = std::fs::read_to_string(path).map_err(failed)?;
            authenticator = authenticator.with_token_file(TokenFile::parse(&text)?);
        }
        if let Some(webhook) = &self.token_webhook {
            let loaded = TokenWebhook::load(&webhook.config_file, &webhook.version, webhook.cache_ttl).await;
            authenticator = authenticator.with_webhook(loaded.map_err(IdentityError::TokenWebhook)?);
        }
        let authenticator = Arc::new(authenticator);
        if let Some(jwt) = self.oidc.to_config(self.authentication_config.is_some())? {
            let config =
                AuthenticationConfiguration { jwt: vec![jwt], ..AuthenticationConfiguration::default() };
            authenticator.configure(&config).map_err(IdentityError::OidcFields)?;
        }
        if let Some(path) = &self.authentication_config {
            let wrong = IdentityError::Authentication;
            let text = reload::read(path).map_err(wrong)?;
            let config = AuthenticationConfiguration::parse(&text).map_err(wrong)?;
            authenticator.configure(&config).map_err(wrong)?;
            let reloads = Reloads::new("authentication", &text);
            followed.follow(path.clone(), text, reloads, Arc::clone(&authenticator) as _);
        }
        Ok(authenticator)
    }

    /// The authorizer.
    pub(crate) async fn authorizer(
        &self,
        reader: Arc<dyn ObjectReader>,
        followed: &mut Followed,
    ) -> Result<Arc<Authorizer>, IdentityError> {
        let wrong = IdentityError::Authorization;
        let Some(path) = &self.authorization_config else {
            let made = Authorizer::configured(reader, &self.authorization.to_config()?).await;
            return Ok(Arc::new(made.map_err(wrong)?));
        };
        if self.authorization != ModeFlags::default() {
            return Err(IdentityError::TwoAuthorizations);
        }
        let text = reload::read(path).map_err(wrong)?;
        let config = AuthorizationConfiguration::parse(&text).map_err(wrong)?;
        let authorizer = Arc::new(Authorizer::configured(reader, &config).await.map_err(wrong)?);
        let reloads = Reloads::new("authorization", &text).with_start();
        followed.follow(path.clone(), text, reloads, Arc::clone(&authorizer) as _);
        Ok(authorizer)
    }
}
