//! A client over the network, for parts that run without the API server in their process.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use xebec_program::Failure;

/// A client from a kubeconfig's current context.
pub(crate) async fn from_kubeconfig(path: &Path) -> Result<Client, Failure> {
    let named = |error: &dyn std::error::Error| {
        // The parser draws the place over several lines; its first one says what and where.
        let reason = error.to_string();
        Failure::Option(format!(
            "--kubeconfig {}: {}",
            path.display(),
            reason.lines().next().unwrap_or_default()
        ))
    };
    let file = Kubeconfig::read_from(path).map_err(|error| named(&error))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| named(&error))?;
    Client::try_from(config).map_err(|error| named(&error))
}
