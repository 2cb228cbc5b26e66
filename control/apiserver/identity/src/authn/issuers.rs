//! The issuers of the configuration file as they are now: the file may change while the server runs.
//!
//! Enters: a checked configuration. Leaves: the authenticators of its issuers and what it says about anonymous
//! requests. An issuer whose configuration did not change keeps its keys. A file that is wrong changes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;
use xebec_api::field::Path;

use super::config::{AnonymousConfig, AuthenticationConfiguration, ConfigError, JwtConfig, validate};
use super::jwt::{Fetch, JwtAuthenticator};

/// One issuer and what it was made from.
struct Issuer {
    config: JwtConfig,
    authenticator: Arc<JwtAuthenticator>,
}

/// Whether, and for which paths, requests without a credential are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// Never.
    Off,
    /// For every path.
    On,
    /// For these paths only.
    Paths(HashSet<String>),
}

impl Anonymous {
    /// What the configuration says.
    pub fn of(config: &AnonymousConfig) -> Anonymous {
        match (config.enabled, config.conditions.is_empty()) {
            (false, _) => Anonymous::Off,
            (true, true) => Anonymous::On,
            (true, false) => {
                Anonymous::Paths(config.conditions.iter().map(|condition| condition.path.clone()).collect())
            }
        }
    }

    /// Whether a request for `path` needs no credential.
    pub fn allows(&self, path: &str) -> bool {
        match self {
            Anonymous::Off => false,
            Anonymous::On => true,
            Anonymous::Paths(paths) => paths.contains(path),
        }
    }
}

/// A way to fetch an issuer's documents, made for each issuer.
type MakeFetch = Box<dyn Fn(&JwtConfig) -> Arc<dyn Fetch> + Send + Sync>;

/// The issuers, replaced as a whole.
#[derive(Default)]
pub struct Issuers {
    list: RwLock<Arc<[Issuer]>>,
    make_fetch: Option<MakeFetch>,
}

impl Issuers {
    /// No issuers yet; their documents will be fetched as `make_fetch` says.
    pub fn with_fetch(make_fetch: impl Fn(&JwtConfig) -> Arc<dyn Fetch> + Send + Sync + 'static) -> Issuers {
        Issuers { make_fetch: Some(Box::new(make_fetch)), ..Issuers::default() }
    }

    /// Takes over a configuration; `disallowed` are the issuers of service account tokens.
    ///
    /// # Errors
    /// Everything that is wrong with it; the issuers stay as they were.
    pub fn apply(
        &self,
        config: &AuthenticationConfiguration,
        disallowed: &[String],
    ) -> Result<(), ConfigError> {
        xebec_api::config_file::ConfigError::unless_empty(validate(config, disallowed))?;
        let before = Arc::clone(&self.list.read());
        let mut list = Vec::with_capacity(config.jwt.len());
        for (index, jwt) in config.jwt.iter().enumerate() {
            let kept = before.iter().find(|issuer| issuer.config == *jwt);
            let authenticator = match kept {
                Some(issuer) => Arc::clone(&issuer.authenticator),
                None => Arc::new(self.make(jwt, &Path::new("jwt").index(index))?),
            };
            list.push(Issuer { config: jwt.clone(), authenticator });
        }
        *self.list.write() = list.into();
        Ok(())
    }

    fn make(&self, jwt: &JwtConfig, at: &Path) -> Result<JwtAuthenticator, ConfigError> {
        match &self.make_fetch {
            Some(make) => JwtAuthenticator::with_fetch(jwt, at, make(jwt)),
            None => JwtAuthenticator::new(jwt, at),
        }
    }

    /// Whether there is any issuer.
    pub fn is_empty(&self) -> bool {
        self.list.read().is_empty()
    }

    /// The authenticators, in the file's order.
    pub(super) fn current(&self) -> Vec<Arc<JwtAuthenticator>> {
        self.list.read().iter().map(|issuer| Arc::clone(&issuer.authenticator)).collect()
    }
}
