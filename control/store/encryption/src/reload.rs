//! The configuration's file, followed while the server runs.
//!
//! Enters: the file's path. Leaves: a store that does as the file says. A changed file that is wrong changes nothing:
//! it is logged, and the health check tells it until the file is right.
//!
//! Authority: `k8s.io/apiserver/pkg/server/options/encryptionconfig/controller`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use xebec_api::config_file::ConfigError;

use crate::config::EncryptionConfiguration;
use crate::store::EncryptedStore;
use crate::transform::Transformers;

/// How often the file is looked at (upstream's default).
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Reads and checks the file; also returns its text, which [`follow`] compares with.
pub fn load(path: &Path) -> Result<(Transformers, String), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(ConfigError::file(path))?;
    let config = EncryptionConfiguration::parse(&text)?;
    Ok((Transformers::new(&config), text))
}

/// Follows the file for ever, looking every `every`; `seen` is the text in force. Runs in a task of its own.
pub async fn follow(store: Arc<EncryptedStore>, path: PathBuf, mut seen: String, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        look(&store, &path, &mut seen);
    }
}

/// One look.
pub(crate) fn look(store: &EncryptedStore, path: &Path, seen: &mut String) {
    match load(path) {
        Ok((transformers, text)) => {
            if text != *seen {
                store.replace(transformers);
                tracing::info!(path = %path.display(), "encryption configuration reloaded");
                *seen = text;
            } else {
                store.unrefuse();
            }
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "keeping the old encryption configuration");
            store.refuse(error.to_string());
        }
    }
}
