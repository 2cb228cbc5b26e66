//! Conversion webhooks, asked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use xebec_crd::definition::WebhookClient as Place;
use xebec_dynamic_admission::Resolver;
use xebec_dynamic_admission::webhook::{ClientConfig, WebhookClient};

/// How long a webhook may take, as upstream.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks a conversion webhook.
#[async_trait]
pub(crate) trait Hook: Send + Sync {
    /// Posts the ConversionReview; what was answered, or why nothing was.
    async fn ask(&self, place: &Place, review: &Value) -> Result<Value, String>;
}

/// Webhooks over HTTPS, the same client as that of admission.
pub(crate) struct Webhooks(WebhookClient);

impl Webhooks {
    /// Webhooks whose Services are found by `resolver`.
    pub(crate) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self(WebhookClient::new(resolver))
    }
}

#[async_trait]
impl Hook for Webhooks {
    async fn ask(&self, place: &Place, review: &Value) -> Result<Value, String> {
        let config = ClientConfig::parse(&client_config(place));
        let answered = self.0.ask(&config, review, PATIENCE).await;
        answered.map_err(|failure| {
            // Who calls says itself that it failed.
            let reason = failure.reason;
            reason.strip_prefix("failed to call webhook: ").map_or(reason.clone(), str::to_owned)
        })
    }
}

fn client_config(place: &Place) -> Value {
    let mut config = json!({"caBundle": place.ca_bundle});
    if let Some(url) = &place.url {
        config["url"] = json!(url);
    }
    if let Some((namespace, name, path, port)) = &place.service {
        config["service"] = json!({"namespace": namespace, "name": name, "path": path, "port": port});
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_client_configs() {
        let url =
            Place { url: Some("https://a".to_owned()), ca_bundle: "eA==".to_owned(), ..Place::default() };
        assert_eq!(client_config(&url), json!({"url": "https://a", "caBundle": "eA=="}));
        let service = Some(("n".to_owned(), "s".to_owned(), Some("/c".to_owned()), 8443));
        let config = client_config(&Place { service, ..Place::default() });
        assert_eq!(config["service"], json!({"namespace": "n", "name": "s", "path": "/c", "port": 8443}));
    }
}
