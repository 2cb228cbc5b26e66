//! What a configuration must be like; every error names its field as upstream names it.
//!
//! Authority: `k8s.io/apiserver/pkg/apis/apiserver/validation.ValidateAuthorizationConfiguration`.

use std::collections::HashSet;

use jiff::SignedDuration;
use xebec_api::field::{FieldError, Path};

use super::{AuthorizationConfiguration, AuthorizerConfig, ConnectionInfo, WebhookConfig, duration};

/// The types of authorizers.
pub(in crate::authz) const TYPES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
/// The most conditions of one webhook.
const MAX_CONDITIONS: usize = 64;

pub(super) fn validate(config: &AuthorizationConfiguration) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Path::new("authorizers");
    if config.authorizers.is_empty() {
        errors.push(FieldError::required(&root, "at least one authorization mode must be defined"));
    }
    let (mut types, mut names) = (HashSet::new(), HashSet::new());
    for (index, authorizer) in config.authorizers.iter().enumerate() {
        let at = root.index(index);
        check_authorizer(authorizer, &at, &mut errors);
        let is_repeatable = authorizer.kind == "Webhook";
        if !authorizer.kind.is_empty() && !types.insert(authorizer.kind.as_str()) && !is_repeatable {
            errors.push(FieldError::duplicate(&at.child("type"), &authorizer.kind));
        }
        if !authorizer.name.is_empty() && !names.insert(authorizer.name.as_str()) {
            errors.push(FieldError::duplicate(&at.child("name"), &authorizer.name));
        }
    }
    errors
}

fn check_authorizer(authorizer: &AuthorizerConfig, at: &Path, errors: &mut Vec<FieldError>) {
    let type_at = at.child("type");
    if authorizer.kind.is_empty() {
        errors.push(FieldError::required(&type_at, ""));
    } else if !TYPES.contains(&authorizer.kind.as_str()) {
        errors.push(FieldError::not_supported(&type_at, &authorizer.kind, &TYPES));
    }
    let name_at = at.child("name");
    if authorizer.name.is_empty() {
        errors.push(FieldError::required(&name_at, ""));
    } else if TYPES.contains(&authorizer.kind.as_str())
        && authorizer.kind != "Webhook"
        && authorizer.name != authorizer.kind.to_ascii_lowercase()
    {
        let expected = authorizer.kind.to_ascii_lowercase();
        let detail = format!("expected name {expected} for authorizer {}", authorizer.kind);
        errors.push(FieldError::invalid(&name_at, &authorizer.name, detail));
    } else {
        for problem in xebec_api::names::is_dns1123_subdomain(&authorizer.name) {
            errors.push(FieldError::invalid(&name_at, &authorizer.name, problem));
        }
    }
    let webhook_at = at.child("webhook");
    match (&authorizer.webhook, authorizer.kind == "Webhook") {
        (None, true) => errors.push(FieldError::required(&webhook_at, "required when type=Webhook")),
        (Some(_), false) => {
            let detail = "may only be specified when type=Webhook";
            errors.push(FieldError::invalid(&webhook_at, "non-null", detail));
        }
        (Some(webhook), true) => check_webhook(webhook, &webhook_at, errors),
        (None, false) => {}
    }
}

fn check_duration(
    text: Option<&String>,
    max: Option<SignedDuration>,
    at: &Path,
    detail: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(text) = text else { return };
    match duration(text) {
        Some(given) if given > SignedDuration::ZERO && max.is_none_or(|max| given <= max) => {}
        Some(given) if given == SignedDuration::ZERO => errors.push(FieldError::required(at, "")),
        Some(_) => errors.push(FieldError::invalid(at, text, detail)),
        None => errors.push(FieldError::invalid(at, text, "must be a duration such as 30s or 5m")),
    }
}

fn check_choice(value: &str, allowed: &[&str], at: &Path, errors: &mut Vec<FieldError>) {
    if value.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if !allowed.contains(&value) {
        errors.push(FieldError::not_supported(at, value, allowed));
    }
}

fn check_webhook(webhook: &WebhookConfig, at: &Path, errors: &mut Vec<FieldError>) {
    let timeout_at = at.child("timeout");
    if webhook.timeout.is_none() {
        errors.push(FieldError::required(&timeout_at, ""));
    }
    let longest = Some(SignedDuration::from_secs(30));
    check_duration(webhook.timeout.as_ref(), longest, &timeout_at, "must be > 0s and <= 30s", errors);
    for (field, text, cached) in [
        ("authorizedTTL", &webhook.authorized_ttl, webhook.cache_authorized_requests),
        ("unauthorizedTTL", &webhook.unauthorized_ttl, webhook.cache_unauthorized_requests),
    ] {
        if cached != Some(false) {
            check_duration(text.as_ref(), None, &at.child(field), "must be > 0s", errors);
        }
    }
    let version_at = at.child("subjectAccessReviewVersion");
    check_choice(&webhook.subject_access_review_version, &["v1", "v1beta1"], &version_at, errors);
    let condition_version = webhook.match_condition_subject_access_review_version.as_str();
    if !webhook.match_conditions.is_empty() || !condition_version.is_empty() {
        let at = at.child("matchConditionSubjectAccessReviewVersion");
        check_choice(condition_version, &["v1"], &at, errors);
    }
    check_choice(&webhook.failure_policy, &["Deny", "NoOpinion"], &at.child("failurePolicy"), errors);
    check_connection(&webhook.connection_info, &at.child("connectionInfo"), errors);
    let conditions_at = at.child("matchConditions");
    if webhook.match_conditions.len() > MAX_CONDITIONS {
        errors.push(FieldError::too_many(&conditions_at, webhook.match_conditions.len(), MAX_CONDITIONS));
    }
    for (index, condition) in webhook.match_conditions.iter().enumerate() {
        let at = conditions_at.index(index).child("expression");
        let earlier = &webhook.match_conditions[..index];
        if condition.expression.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if earlier.contains(condition) {
            errors.push(FieldError::duplicate(&at, &condition.expression));
        }
    }
}

fn check_connection(connection: &ConnectionInfo, at: &Path, errors: &mut Vec<FieldError>) {
    let (type_at, file_at) = (at.child("type"), at.child("kubeConfigFile"));
    match connection.kind.as_str() {
        "" => errors.push(FieldError::required(&type_at, "")),
        "KubeConfigFile" => match &connection.kube_config_file {
            None => errors.push(FieldError::required(&file_at, "")),
            Some(path) if path.as_os_str().is_empty() => errors.push(FieldError::required(&file_at, "")),
            Some(path) if !path.is_absolute() => {
                errors.push(FieldError::invalid(&file_at, path, "must be an absolute path"));
            }
            Some(path) if !path.is_file() => {
                errors.push(FieldError::invalid(&file_at, path, "must be a file"));
            }
            Some(_) => {}
        },
        other => errors.push(FieldError::not_supported(&type_at, other, &["KubeConfigFile"])),
    }
}
