//! The agent's way to the API server.

mod requests;

use std::path::Path;
use std::sync::Arc;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use xebec_dataplane::MoreMetrics;
use xebec_program::Failure;

/// Where the API server is and who asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Server<'a> {
    /// A kubeconfig, of which the current context counts.
    pub(crate) kubeconfig: Option<&'a Path>,
    /// The server's URL, in place of the kubeconfig's.
    pub(crate) url: Option<&'a str>,
}

/// A client from a kubeconfig's current context; without one, from the pod's service account or KUBECONFIG.
pub(crate) async fn from(path: Option<&Path>) -> Result<Client, Failure> {
    let config = match path {
        Some(path) => from_kubeconfig(path).await?,
        None => Config::infer().await.map_err(|error| Failure::part("API client")(&error))?,
    };
    Client::try_from(config).map_err(|error| Failure::part("API client")(&error))
}

/// A client whose requests are counted, and the counts by the names of Kubernetes' own components. Without a
/// kubeconfig and a URL the pod's service account says where and who, as for kube-proxy.
pub(crate) async fn measured(server: Server<'_>) -> Result<(Client, MoreMetrics), Failure> {
    let url = server.url.map(|url| {
        let bad = |error| {
            Failure::Option(format!("--master {url:?}: {error}; give a URL such as https://10.0.0.1:6443"))
        };
        url.parse::<http::Uri>().map_err(|error| bad(error.to_string())).and_then(|uri| {
            if uri.host().is_none() || uri.scheme().is_none() {
                return Err(bad("scheme and host are missing".to_owned()));
            }
            Ok(uri)
        })
    });
    let url = url.transpose()?;
    let mut config = match (server.kubeconfig, &url) {
        (Some(path), _) => from_kubeconfig(path).await?,
        (None, Some(url)) => Config::new(url.clone()),
        (None, None) => Config::incluster().map_err(|error| {
            Failure::Option(format!(
                "neither --kubeconfig nor --master is given, and this is no pod with a service account: {}",
                xebec_program::chain(&error)
            ))
        })?,
    };
    if let Some(url) = url {
        config.cluster_url = url;
    }
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let requests = requests::Requests::new(host);
    let builder = ClientBuilder::try_from(config).map_err(|error| Failure::part("API client")(&error))?;
    let client = builder.with_layer(&requests).build();
    Ok((client, MoreMetrics(Arc::new(move |text| requests.write(text)))))
}

async fn from_kubeconfig(path: &Path) -> Result<Config, Failure> {
    let named = |error: &dyn std::error::Error| {
        Failure::Option(format!("--kubeconfig {}: {}", path.display(), xebec_program::chain(error)))
    };
    let file = Kubeconfig::read_from(path).map_err(|error| named(&error))?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(|error| named(&error))
}
