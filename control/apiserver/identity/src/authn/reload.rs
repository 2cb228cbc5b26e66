//! The authentication configuration, taken over at the start and whenever its file changes.
//!
//! Enters: a configuration. Leaves: an authenticator that does as it says; nothing changes if it is wrong.
//!
//! Authority: `pkg/kubeapiserver/options/authentication.go`.

use std::sync::Arc;

use async_trait::async_trait;

use super::config::{AuthenticationConfiguration, ConfigError};
use super::{Anonymous, Authenticator};
use crate::reload::Follower;

impl Authenticator {
    /// Takes over a configuration: its issuers, and what it says about anonymous requests.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    pub fn configure(&self, config: &AuthenticationConfiguration) -> Result<(), ConfigError> {
        self.issuers.apply(config, self.verifier.issuers())?;
        let anonymous =
            config.anonymous.as_ref().map_or_else(|| self.options.anonymous.clone(), Anonymous::of);
        *self.anonymous.write() = Arc::new(anonymous);
        Ok(())
    }
}

#[async_trait]
impl Follower for Authenticator {
    async fn take(&self, text: &str) -> Result<bool, ConfigError> {
        self.configure(&AuthenticationConfiguration::parse(text)?)?;
        Ok(true)
    }
}
