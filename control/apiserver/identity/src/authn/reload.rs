//! The configuration file, followed while the server runs.
//!
//! Enters: the file's path. Leaves: an authenticator that does as the file says. A changed file that is wrong is
//! logged and changes nothing; the server goes on with what it had.
//!
//! Authority: `pkg/controlplane/apiserver/config.go` (upstream looks once a minute).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use xebec_api::config_file;

use super::config::{AuthenticationConfiguration, ConfigError};
use super::{Anonymous, Authenticator};

/// How often the file is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Reads and parses the file.
pub fn read(path: &Path) -> Result<(String, AuthenticationConfiguration), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(config_file::ConfigError::file(path))?;
    let config = AuthenticationConfiguration::parse(&text)?;
    Ok((text, config))
}

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

    /// Follows the file for ever, looking every `every`; `seen` is the text that is in force. Runs in a task of its own.
    pub async fn follow_file(self: Arc<Self>, path: PathBuf, mut seen: String, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let outcome = read(&path).and_then(|(text, config)| {
                if text == seen {
                    return Ok(None);
                }
                self.configure(&config)?;
                Ok(Some(text))
            });
            match outcome {
                Ok(None) => {}
                Ok(Some(text)) => {
                    tracing::info!(path = %path.display(), "authentication configuration reloaded");
                    seen = text;
                }
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "keeping the old authentication configuration");
                }
            }
        }
    }
}
