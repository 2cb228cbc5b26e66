//! The conversion a definition asks for.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names::is_dns1035_label;
use xebec_kinds::shared::access::{at, text, texts};

use super::webhook;
use super::{Conversion, WebhookClient};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// Whether a list of review versions has one the server speaks, or is empty.
pub(super) fn speaks(versions: &[&str]) -> bool {
    versions.is_empty() || versions.iter().any(|version| REVIEW_VERSIONS.contains(version))
}

/// What is asked of a conversion.
#[derive(Clone, Copy)]
pub(super) struct Demands {
    /// A review version the server speaks.
    pub recognized: bool,
    /// A CA bundle that is one.
    pub ca_bundle: bool,
}

/// The errors of `spec.conversion`, at upstream's internal paths.
pub(super) fn errors(value: &Value, demands: Demands, path: &Path) -> Vec<FieldError> {
    if !value.is_object() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let strategy = text(value, &["strategy"]);
    match strategy {
        "" => errors.push(FieldError::required(&path.child("strategy"), "")),
        "None" | "Webhook" => {}
        other => errors.push(FieldError::not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
    }
    let versions = texts(value, &["webhook", "conversionReviewVersions"]);
    let client_path = path.child("webhookClientConfig");
    let versions_path = path.child("conversionReviewVersions");
    if let Conversion::Webhook { client, .. } = read(value) {
        match client {
            None => {
                errors.push(FieldError::required(&client_path, "required when strategy is set to Webhook"))
            }
            Some(client) => errors.extend(client_errors(&client, demands, &client_path)),
        }
        errors.extend(version_errors(&versions, demands.recognized, &versions_path));
        return errors;
    }
    let detail = "should not be set when strategy is not set to Webhook";
    if at(value, &["webhook", "clientConfig"]).is_object() {
        errors.push(FieldError::forbidden(&client_path, detail));
    }
    if !versions.is_empty() {
        errors.push(FieldError::forbidden(&versions_path, detail));
    }
    errors
}

fn read(value: &Value) -> Conversion {
    super::Definition::read(&serde_json::json!({"spec": {"conversion": value}})).conversion
}

fn client_errors(client: &WebhookClient, demands: Demands, path: &Path) -> Vec<FieldError> {
    let mut errors = match (&client.url, &client.service) {
        (Some(url), None) => webhook::url_errors(url, &path.child("url")),
        (None, Some(service)) => webhook::service_errors(service, &path.child("service")),
        _ => vec![FieldError::required(path, "exactly one of url or service is required")],
    };
    if demands.ca_bundle
        && let Some(error) = webhook::ca_bundle_error(&client.ca_bundle)
    {
        errors.push(FieldError::invalid(&path.child("caBundle"), &client.ca_bundle, error));
    }
    errors
}

fn version_errors(versions: &[&str], recognized: bool, path: &Path) -> Vec<FieldError> {
    if versions.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Vec::new();
    for (at, version) in versions.iter().enumerate() {
        if versions[..at].contains(version) {
            errors.push(FieldError::invalid(&path.index(at), version, "duplicate version"));
            continue;
        }
        for message in is_dns1035_label(version) {
            errors.push(FieldError::invalid(&path.index(at), version, message));
        }
    }
    if recognized && !speaks(versions) {
        let detail = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.push(FieldError::invalid(path, versions, detail));
    }
    errors
}
