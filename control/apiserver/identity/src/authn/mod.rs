//! Who is asking? Enters: a request's headers and the client certificate TLS has verified. Leaves: a [`User`].
//!
//! Asked in upstream's order: the front proxy's headers, a client certificate, a bearer token, then (if allowed)
//! `system:anonymous`. A bearer token is looked for in the token file, among service accounts, bootstrap tokens, the
//! issuers of the configuration and last at the webhook. A credential that is presented and wrong is an error,
//! answered 401, even where anonymous requests are allowed. Called by the API server for every request and for
//! TokenReview.
//!
//! Only issuers and the webhook ever wait; certificates, service accounts and bootstrap tokens are answered without
//! yielding.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use parking_lot::RwLock;

use crate::token::{Claims, TokenError, TokenVerifier};
use crate::{ANONYMOUS, GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, ObjectReader, User};

mod bearer;
pub mod bootstrap;
pub mod config;
pub mod front_proxy;
pub mod impersonate;
pub mod issuers;
pub mod jwt;
pub mod peer;
mod reload;
mod review;
mod serviceaccount;
pub mod token_file;
pub mod webhook;
mod x509;

pub use front_proxy::{FrontProxy, FrontProxyError};
pub use impersonate::{Impersonation, ImpersonationError};
pub use issuers::{Anonymous, Issuers};
pub use peer::{Peer, PeerAuthorities};
pub(crate) use serviceaccount::groups as service_account_groups;
pub use serviceaccount::{StaleTokenError, service_account_user};
pub use token_file::TokenFile;
pub use webhook::TokenWebhook;
pub use x509::X509Error;

/// Where "now" comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Signatures proven before, by the token's SHA-256; above this many the cache starts anew.
const CACHE_LIMIT: usize = 4096;

/// Why a credential is refused. Every variant is answered 401 `Unauthorized` and nothing more.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// The client certificate names nobody.
    #[error("client certificate: {0}")]
    Certificate(#[from] X509Error),
    /// The token itself is wrong.
    #[error("invalid bearer token, {0}")]
    Token(#[from] TokenError),
    /// The token is genuine, but what it stands for is gone.
    #[error("invalid bearer token, {0}")]
    Stale(#[from] StaleTokenError),
    /// The front proxy's certificate does not entitle it.
    #[error(transparent)]
    FrontProxy(#[from] FrontProxyError),
    /// The token's issuer is known, and the token is wrong.
    #[error(transparent)]
    Jwt(#[from] jwt::JwtError),
    /// The webhook refuses the token or cannot be asked.
    #[error(transparent)]
    Webhook(#[from] webhook::WebhookError),
    /// Nobody knows the token.
    #[error("invalid bearer token")]
    UnknownToken,
    /// Several ways refuse it, each for a reason of its own.
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<AuthnError>),
    /// No credential, and anonymous requests are off, or not for this path.
    #[error("no credential, and anonymous requests are not allowed")]
    AnonymousOff,
}

/// One error as it is, several together; `None` if there are none.
fn aggregate(mut errors: Vec<AuthnError>) -> Option<AuthnError> {
    if errors.len() > 1 { Some(AuthnError::Several(errors)) } else { errors.pop() }
}

/// What the authenticator accepts.
#[derive(Clone, Debug)]
pub struct AuthenticatorOptions {
    /// Whether requests without a credential become `system:anonymous` (`--anonymous-auth`, or the configuration).
    pub anonymous: Anonymous,
    /// Audiences this server answers to (`--api-audiences`; default: the token issuer).
    pub api_audiences: Vec<String>,
    /// Whether bootstrap tokens count (`--enable-bootstrap-token-auth`).
    pub bootstrap_tokens: bool,
    /// The front proxy's headers (`--requestheader-*`); `None` ignores them.
    pub front_proxy: Option<FrontProxy>,
}

impl AuthenticatorOptions {
    /// Anonymous or not, these audiences, bootstrap tokens, no front proxy.
    pub fn new(anonymous: bool, api_audiences: Vec<String>) -> AuthenticatorOptions {
        let anonymous = if anonymous { Anonymous::On } else { Anonymous::Off };
        AuthenticatorOptions { anonymous, api_audiences, bootstrap_tokens: true, front_proxy: None }
    }
}

/// A user proven by a token, and the audiences the token and the server share.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenUser {
    /// The user, in `system:authenticated`.
    pub user: User,
    /// Never empty.
    pub audiences: Vec<String>,
}

/// Turns credentials into users.
pub struct Authenticator {
    reader: Arc<dyn ObjectReader>,
    verifier: TokenVerifier,
    options: AuthenticatorOptions,
    anonymous: RwLock<Arc<Anonymous>>,
    token_file: TokenFile,
    issuers: Issuers,
    webhook: Option<TokenWebhook>,
    clock: Clock,
    proven: RwLock<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Authenticator {
    /// An authenticator on the machine's clock.
    pub fn new(
        reader: Arc<dyn ObjectReader>,
        verifier: TokenVerifier,
        options: AuthenticatorOptions,
    ) -> Authenticator {
        Authenticator::with_clock(reader, verifier, options, Arc::new(Timestamp::now))
    }

    /// An authenticator on a given clock.
    pub fn with_clock(
        reader: Arc<dyn ObjectReader>,
        verifier: TokenVerifier,
        options: AuthenticatorOptions,
        clock: Clock,
    ) -> Authenticator {
        Authenticator {
            reader,
            verifier,
            anonymous: RwLock::new(Arc::new(options.anonymous.clone())),
            options,
            token_file: TokenFile::default(),
            issuers: Issuers::default(),
            webhook: None,
            clock,
            proven: RwLock::default(),
        }
    }

    /// Also accepts the tokens of a file.
    #[must_use]
    pub fn with_token_file(mut self, file: TokenFile) -> Authenticator {
        self.token_file = file;
        self
    }

    /// Also asks a webhook about tokens nobody else knows.
    #[must_use]
    pub fn with_webhook(mut self, webhook: TokenWebhook) -> Authenticator {
        self.webhook = Some(webhook);
        self
    }

    /// Also accepts the tokens of these issuers.
    #[must_use]
    pub fn with_issuers(mut self, issuers: Issuers) -> Authenticator {
        self.issuers = issuers;
        self
    }

    /// The verifier, for `/openid/v1/jwks`.
    pub fn verifier(&self) -> &TokenVerifier {
        &self.verifier
    }

    /// The audiences this server answers to.
    pub fn api_audiences(&self) -> &[String] {
        &self.options.api_audiences
    }

    /// The front proxy's headers, to be taken off a request once it is authenticated.
    pub fn front_proxy(&self) -> Option<&FrontProxy> {
        self.options.front_proxy.as_ref()
    }

    /// The user behind a request for `path`; `peer` is the client certificate that TLS verified.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        path: &str,
    ) -> Result<User, AuthnError> {
        let mut errors = Vec::new();
        if let Some(front_proxy) = &self.options.front_proxy {
            match front_proxy.user(headers, peer) {
                Ok(Some(user)) => return Ok(authenticated(user)),
                Ok(None) => {}
                Err(error) => errors.push(error.into()),
            }
        }
        if let Some(peer) = peer.filter(|peer| peer.is_client) {
            match peer.user((self.clock)()) {
                Ok(Some(user)) => return Ok(authenticated(user)),
                Ok(None) => {}
                Err(error) => errors.push(error.into()),
            }
        }
        if let Some(token) = bearer::token(headers) {
            match self.authenticate_token(&token, &self.options.api_audiences).await {
                Ok(found) => return Ok(found.user),
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = aggregate(errors) {
            return Err(error);
        }
        if self.anonymous.read().allows(path) { Ok(User::anonymous()) } else { Err(AuthnError::AnonymousOff) }
    }

    /// The user behind a bearer token meant for one of `audiences`.
    ///
    /// Of a service account's token only the signature is remembered between calls; expiry and the objects behind the
    /// token are checked anew.
    pub async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<TokenUser, AuthnError> {
        let mut errors = Vec::new();
        if let Some(user) = self.token_file.user(token)
            && let Some(found) = self.for_any_audience(user, audiences)
        {
            return Ok(found);
        }
        if self.verifier.recognizes(token) {
            match self.service_account(token, audiences) {
                Ok(found) => return Ok(found),
                Err(error) => errors.push(error),
            }
        }
        if self.options.bootstrap_tokens
            && let Some(user) = bootstrap::user(self.reader.as_ref(), token, (self.clock)())
            && let Some(found) = self.for_any_audience(user, audiences)
        {
            return Ok(found);
        }
        match self.outside(token, audiences).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(aggregate(errors).unwrap_or(AuthnError::UnknownToken)),
            Err(more) => {
                errors.extend(more);
                Err(aggregate(errors).unwrap_or(AuthnError::UnknownToken))
            }
        }
    }

    /// The issuers of the configuration, then the webhook.
    async fn outside(&self, token: &str, audiences: &[String]) -> Result<Option<TokenUser>, Vec<AuthnError>> {
        let mut errors = Vec::new();
        if !self.issuers.is_empty() {
            for issuer in self.issuers.current() {
                match issuer.authenticate(token, (self.clock)()).await {
                    Some(Ok(user)) => {
                        if let Some(found) = self.for_any_audience(user, audiences) {
                            return Ok(Some(found));
                        }
                    }
                    Some(Err(error)) => errors.push(error.into()),
                    None => {}
                }
            }
        }
        if let Some(webhook) = &self.webhook {
            match webhook.user(token, audiences).await {
                Ok(Some(found)) => {
                    return Ok(Some(TokenUser {
                        user: authenticated(found.user),
                        audiences: found.audiences,
                    }));
                }
                Ok(None) => {}
                Err(error) => errors.push(error.into()),
            }
        }
        if errors.is_empty() { Ok(None) } else { Err(errors) }
    }

    /// A user whose credential names no audience: it is meant for this server.
    fn for_any_audience(&self, user: User, audiences: &[String]) -> Option<TokenUser> {
        let shared: Vec<String> = audiences
            .iter()
            .filter(|audience| self.options.api_audiences.contains(audience))
            .cloned()
            .collect();
        (!shared.is_empty()).then(|| TokenUser { user: authenticated(user), audiences: shared })
    }

    fn service_account(&self, token: &str, audiences: &[String]) -> Result<TokenUser, AuthnError> {
        let now = (self.clock)();
        let claims = self.proven_claims(token)?;
        let audiences = claims.check(audiences, now)?;
        let user = service_account_user(self.reader.as_ref(), &claims, now)?;
        Ok(TokenUser { user: authenticated(user), audiences })
    }

    fn proven_claims(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
        if let Some(claims) = self.proven.read().get(&digest) {
            return Ok(Arc::clone(claims));
        }
        let claims = Arc::new(self.verifier.verify_signature(token)?);
        let mut proven = self.proven.write();
        if proven.len() >= CACHE_LIMIT {
            proven.clear();
        }
        proven.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }
}

/// Adds the group every authenticated user is in.
fn authenticated(mut user: User) -> User {
    let settled =
        user.name == ANONYMOUS || user.in_group(GROUP_AUTHENTICATED) || user.in_group(GROUP_UNAUTHENTICATED);
    if !settled {
        user.groups.push(GROUP_AUTHENTICATED.to_owned());
    }
    user
}

#[cfg(test)]
mod tests;
