//! The agent's way to the API server.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::failure::Failure;

/// A client from a kubeconfig's current context; without one, from the pod's service account or KUBECONFIG.
pub(crate) async fn from(path: Option<&Path>) -> Result<Client, Failure> {
    let Some(path) = path else {
        let config = Config::infer().await.map_err(|error| Failure::part("API client")(&error))?;
        return Client::try_from(config).map_err(|error| Failure::part("API client")(&error));
    };
    let named = |error: &dyn std::error::Error| {
        Failure::Option(format!("--kubeconfig {}: {}", path.display(), xebec_dataplane::chain(error)))
    };
    let file = Kubeconfig::read_from(path).map_err(|error| named(&error))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| named(&error))?;
    Client::try_from(config).map_err(|error| named(&error))
}
