//! What a configuration must be like; every error names its field as upstream names it.
//!
//! Enters: a parsed configuration and the issuers it must not claim. Leaves: all that is wrong. Expressions are
//! compiled where they are used; here only their presence counts.
//!
//! Authority: `k8s.io/apiserver/pkg/apis/apiserver/validation/validation.go`.

use std::collections::HashSet;

use http::Uri;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use xebec_api::field::{FieldError, Path};

use super::{
    AnonymousConfig, AuthenticationConfiguration, ClaimMappings, ClaimRule, ExtraMapping, IssuerConfig,
    JwtConfig, PrefixedClaim, UserRule,
};

/// The most issuers of one configuration.
const MAX_ISSUERS: usize = 64;

/// Everything wrong with the configuration; `disallowed` are the issuers of service account tokens, whose tokens
/// another authenticator proves.
pub fn validate(config: &AuthenticationConfiguration, disallowed: &[String]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Path::new("jwt");
    if config.jwt.len() > MAX_ISSUERS {
        errors.push(FieldError::too_many(&root, config.jwt.len(), MAX_ISSUERS));
        return errors;
    }
    let (mut issuers, mut discoveries) = (HashSet::new(), HashSet::new());
    for (index, jwt) in config.jwt.iter().enumerate() {
        let at = root.index(index);
        validate_jwt(jwt, &at, disallowed, &mut errors);
        let issuer = at.child("issuer");
        if !jwt.issuer.url.is_empty() && !issuers.insert(jwt.issuer.url.as_str()) {
            errors.push(FieldError::duplicate(&issuer.child("url"), &jwt.issuer.url));
        }
        if let Some(url) = jwt.issuer.discovery_url.as_deref().filter(|url| !url.is_empty())
            && !discoveries.insert(url.trim_end_matches('/'))
        {
            errors.push(FieldError::duplicate(&issuer.child("discoveryURL"), url));
        }
    }
    if let Some(anonymous) = &config.anonymous {
        validate_anonymous(anonymous, &mut errors);
    }
    errors
}

fn validate_anonymous(anonymous: &AnonymousConfig, errors: &mut Vec<FieldError>) {
    let at = Path::new("anonymous").child("conditions");
    if !anonymous.enabled && !anonymous.conditions.is_empty() {
        let paths: Vec<_> = anonymous.conditions.iter().map(|condition| &condition.path).collect();
        errors.push(FieldError::invalid(
            &at,
            paths,
            "enabled should be set to true when conditions are defined",
        ));
    }
    for (index, condition) in anonymous.conditions.iter().enumerate() {
        if !condition.path.starts_with('/') {
            let detail = "must be an absolute path, such as /livez";
            errors.push(FieldError::invalid(&at.index(index).child("path"), &condition.path, detail));
        }
    }
}

fn validate_jwt(jwt: &JwtConfig, at: &Path, disallowed: &[String], errors: &mut Vec<FieldError>) {
    validate_issuer(&jwt.issuer, &at.child("issuer"), disallowed, errors);
    validate_claim_rules(&jwt.claim_validation_rules, &at.child("claimValidationRules"), errors);
    validate_mappings(&jwt.claim_mappings, &at.child("claimMappings"), errors);
    validate_email(jwt, at, errors);
    validate_user_rules(&jwt.user_validation_rules, &at.child("userValidationRules"), errors);
}

/// Whether an expression names `claims.<claim>` itself, and not a longer name.
fn names_claim(expression: &str, claim: &str) -> bool {
    let wanted = format!("claims.{claim}");
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    expression.match_indices(&wanted).any(|(at, _)| !expression[at + wanted.len()..].starts_with(is_word))
}

/// An address makes a name only where somebody looks whether it was verified.
fn validate_email(jwt: &JwtConfig, at: &Path, errors: &mut Vec<FieldError>) {
    let username = &jwt.claim_mappings.username.expression;
    if !names_claim(username, "email") {
        return;
    }
    let extra = jwt.claim_mappings.extra.iter().map(|extra| &extra.value_expression);
    let rules = jwt.claim_validation_rules.iter().map(|rule| &rule.expression);
    let mut all = std::iter::once(username).chain(extra).chain(rules);
    if !all.any(|expression| names_claim(expression, "email_verified")) {
        let detail = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
        let at = at.child("claimMappings").child("username").child("expression");
        errors.push(FieldError::invalid(&at, username, detail));
    }
}

fn validate_url(url: &str, at: &Path, errors: &mut Vec<FieldError>) {
    if url.is_empty() {
        errors.push(FieldError::required(at, "URL is required"));
        return;
    }
    let mut invalid = |detail: &str| errors.push(FieldError::invalid(at, url, detail));
    // The type drops a fragment without a word.
    if url.contains('#') {
        return invalid("URL must not contain a fragment");
    }
    let Ok(parsed) = url.parse::<Uri>() else { return invalid("not a URL") };
    if parsed.scheme_str() != Some("https") {
        return invalid("URL scheme must be https");
    }
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        invalid("URL must not contain a username or password");
    }
    if parsed.query().is_some() {
        invalid("URL must not contain a query");
    }
}

fn validate_issuer(issuer: &IssuerConfig, at: &Path, disallowed: &[String], errors: &mut Vec<FieldError>) {
    let url_at = at.child("url");
    validate_url(&issuer.url, &url_at, errors);
    if disallowed.contains(&issuer.url) {
        let detail = format!("URL must not overlap with disallowed issuers: [{}]", disallowed.join(" "));
        errors.push(FieldError::invalid(&url_at, &issuer.url, detail));
    }
    if let Some(discovery) = issuer.discovery_url.as_deref().filter(|url| !url.is_empty()) {
        let discovery_at = at.child("discoveryURL");
        if discovery.trim_end_matches('/') == issuer.url.trim_end_matches('/') {
            let detail = "discoveryURL must be different from URL";
            errors.push(FieldError::invalid(&discovery_at, discovery, detail));
        }
        validate_url(discovery, &discovery_at, errors);
    }
    validate_audiences(issuer, at, errors);
    if let Some(pem) = issuer.certificate_authority.as_deref().filter(|pem| !pem.is_empty()) {
        let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let problem = match certs {
            Err(error) => Some(error.to_string()),
            Ok(certs) if certs.is_empty() => Some("data does not contain any valid certificates".to_owned()),
            Ok(_) => None,
        };
        if let Some(problem) = problem {
            errors.push(FieldError::invalid(&at.child("certificateAuthority"), "<omitted>", problem));
        }
    }
    if !matches!(issuer.egress_selector_type.as_str(), "" | "cluster" | "controlplane") {
        let allowed = ["controlplane", "cluster"];
        let at = at.child("egressSelectorType");
        errors.push(FieldError::not_supported(&at, &issuer.egress_selector_type, &allowed));
    }
}

fn validate_audiences(issuer: &IssuerConfig, at: &Path, errors: &mut Vec<FieldError>) {
    let audiences_at = at.child("audiences");
    if issuer.audiences.is_empty() {
        errors.push(FieldError::required(&audiences_at, "at least one jwt[*].issuer.audiences is required"));
        return;
    }
    let mut seen = HashSet::new();
    for (index, audience) in issuer.audiences.iter().enumerate() {
        let at = audiences_at.index(index);
        if audience.is_empty() {
            errors.push(FieldError::required(&at, "audience can't be empty"));
        } else if !seen.insert(audience) {
            errors.push(FieldError::duplicate(&at, audience));
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let policy_at = at.child("audienceMatchPolicy");
    if issuer.audiences.len() > 1 && policy != "MatchAny" {
        let detail = "audienceMatchPolicy must be MatchAny for multiple audiences";
        errors.push(FieldError::invalid(&policy_at, policy, detail));
    }
    if issuer.audiences.len() == 1 && !matches!(policy, "" | "MatchAny") {
        let detail = "audienceMatchPolicy must be empty or MatchAny for single audience";
        errors.push(FieldError::invalid(&policy_at, policy, detail));
    }
}

fn validate_claim_rules(rules: &[ClaimRule], root: &Path, errors: &mut Vec<FieldError>) {
    let (mut claims, mut expressions) = (HashSet::new(), HashSet::new());
    for (index, rule) in rules.iter().enumerate() {
        let at = root.index(index);
        match (rule.claim.is_empty(), rule.expression.is_empty()) {
            (true, true) => errors.push(FieldError::required(&at, "claim or expression is required")),
            (false, false) => {
                errors.push(FieldError::invalid(&at, &rule.claim, "claim and expression can't both be set"));
            }
            (false, true) => {
                if !claims.insert(rule.claim.as_str()) {
                    errors.push(FieldError::duplicate(&at.child("claim"), &rule.claim));
                }
                if !rule.message.is_empty() {
                    let detail = "message can't be set when claim is set";
                    errors.push(FieldError::invalid(&at.child("message"), &rule.message, detail));
                }
            }
            (true, false) => {
                if !expressions.insert(rule.expression.as_str()) {
                    errors.push(FieldError::duplicate(&at.child("expression"), &rule.expression));
                }
                if !rule.required_value.is_empty() {
                    let detail = "requiredValue can't be set when expression is set";
                    errors.push(FieldError::invalid(
                        &at.child("requiredValue"),
                        &rule.required_value,
                        detail,
                    ));
                }
            }
        }
    }
}

fn validate_prefixed(mapping: &PrefixedClaim, at: &Path, required: bool, errors: &mut Vec<FieldError>) {
    match (mapping.claim.is_empty(), mapping.expression.is_empty()) {
        (true, true) if required => {
            errors.push(FieldError::required(at, "claim or expression is required"));
        }
        (false, false) => errors.push(FieldError::invalid(at, "", "claim and expression can't both be set")),
        _ => {}
    }
    let prefix_at = at.child("prefix");
    match &mapping.prefix {
        None if !mapping.claim.is_empty() => {
            let detail = "prefix is required when claim is set. It can be set to an empty string to disable prefixing.";
            errors.push(FieldError::required(&prefix_at, detail));
        }
        Some(prefix) if !mapping.expression.is_empty() => {
            let detail = "prefix can't be set when expression is set";
            errors.push(FieldError::invalid(&prefix_at, prefix, detail));
        }
        Some(prefix) if mapping.claim.is_empty() && !prefix.is_empty() => {
            errors.push(FieldError::required(
                &at.child("claim"),
                "non-empty claim name is required when prefix is set",
            ));
        }
        _ => {}
    }
}

fn validate_mappings(mappings: &ClaimMappings, at: &Path, errors: &mut Vec<FieldError>) {
    validate_prefixed(&mappings.username, &at.child("username"), true, errors);
    validate_prefixed(&mappings.groups, &at.child("groups"), false, errors);
    if !mappings.uid.claim.is_empty() && !mappings.uid.expression.is_empty() {
        errors.push(FieldError::invalid(&at.child("uid"), "", "claim and expression can't both be set"));
    }
    let mut keys = HashSet::new();
    for (index, extra) in mappings.extra.iter().enumerate() {
        validate_extra(extra, &at.child("extra").index(index), &mut keys, errors);
    }
}

fn validate_extra<'a>(
    extra: &'a ExtraMapping,
    at: &Path,
    keys: &mut HashSet<&'a str>,
    errors: &mut Vec<FieldError>,
) {
    let key_at = at.child("key");
    let mut invalid = |detail: &str| errors.push(FieldError::invalid(&key_at, &extra.key, detail));
    if extra.key.is_empty() {
        errors.push(FieldError::required(&key_at, "key is required"));
    } else {
        let domain = extra.key.split_once('/').map(|(domain, path)| (domain, path.is_empty()));
        let reserved = ["kubernetes.io", "k8s.io"];
        match domain {
            None | Some(("", _) | (_, true)) => {
                invalid("must be a domain-prefixed path (such as \"acme.io/foo\")");
            }
            Some((domain, false)) => {
                if reserved.iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}"))) {
                    let owner = reserved.iter().find(|own| domain.ends_with(**own)).unwrap_or(&"k8s.io");
                    invalid(&format!("{owner} domains are reserved for Kubernetes use"));
                }
            }
        }
        if extra.key.chars().any(char::is_uppercase) {
            errors.push(FieldError::invalid(&key_at, &extra.key, "key must be lowercase"));
        }
        if !keys.insert(&extra.key) {
            errors.push(FieldError::duplicate(&key_at, &extra.key));
        }
    }
    if extra.value_expression.is_empty() {
        errors.push(FieldError::required(&at.child("valueExpression"), "valueExpression is required"));
    }
}

fn validate_user_rules(rules: &[UserRule], root: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (index, rule) in rules.iter().enumerate() {
        let at = root.index(index).child("expression");
        if rule.expression.is_empty() {
            errors.push(FieldError::required(&at, "expression is required"));
        } else if !seen.insert(&rule.expression) {
            errors.push(FieldError::duplicate(&at, &rule.expression));
        }
    }
}
