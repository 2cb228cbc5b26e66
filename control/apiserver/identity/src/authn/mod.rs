//! Who is asking? Enters: a request's headers and the client certificate TLS has verified. Leaves: a [`User`].
//!
//! A verified client certificate wins, then a bearer token, then (if allowed) `system:anonymous`. A credential that
//! is presented and wrong is an error, answered 401, even where anonymous requests are allowed. Called by the API
//! server for every request and for TokenReview.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use parking_lot::RwLock;

use crate::token::{Claims, TokenError, TokenVerifier};
use crate::{GROUP_AUTHENTICATED, ObjectReader, User};

mod bearer;
pub mod impersonate;
mod review;
mod serviceaccount;
mod x509;

pub use impersonate::{Impersonation, ImpersonationError};
pub(crate) use serviceaccount::groups as service_account_groups;
pub use serviceaccount::{StaleTokenError, service_account_user};
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
    /// No credential, and anonymous requests are off.
    #[error("no credential, and anonymous requests are not allowed")]
    AnonymousOff,
}

/// What the authenticator accepts.
#[derive(Clone, Debug)]
pub struct AuthenticatorOptions {
    /// Whether requests without a credential become `system:anonymous` (`--anonymous-auth`).
    pub anonymous: bool,
    /// Audiences this server answers to (`--api-audiences`; default: the token issuer).
    pub api_audiences: Vec<String>,
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
        Authenticator { reader, verifier, options, clock, proven: RwLock::default() }
    }

    /// The verifier, for `/openid/v1/jwks`.
    pub fn verifier(&self) -> &TokenVerifier {
        &self.verifier
    }

    /// The audiences this server answers to.
    pub fn api_audiences(&self) -> &[String] {
        &self.options.api_audiences
    }

    /// The user behind a request; `peer_cert` is the leaf certificate (DER) that TLS verified against the CA.
    pub fn authenticate(&self, headers: &HeaderMap, peer_cert: Option<&[u8]>) -> Result<User, AuthnError> {
        if let Some(der) = peer_cert
            && let Some(user) = x509::user(der, (self.clock)())?
        {
            return Ok(authenticated(user));
        }
        if let Some(token) = bearer::token(headers) {
            return Ok(self.authenticate_token(&token, &self.options.api_audiences)?.user);
        }
        if self.options.anonymous { Ok(User::anonymous()) } else { Err(AuthnError::AnonymousOff) }
    }

    /// The user behind a bearer token meant for one of `audiences`.
    ///
    /// Only the signature is remembered between calls; expiry and the objects behind the token are checked anew.
    pub fn authenticate_token(&self, token: &str, audiences: &[String]) -> Result<TokenUser, AuthnError> {
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
    if !user.in_group(GROUP_AUTHENTICATED) {
        user.groups.push(GROUP_AUTHENTICATED.to_owned());
    }
    user
}

#[cfg(test)]
mod tests;
