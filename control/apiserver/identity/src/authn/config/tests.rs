use std::collections::BTreeMap;

use super::{AuthenticationConfiguration, FlagError, OidcFlags, validate};

const GOOD: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://issuer.example.com
    audiences: [a]
  claimMappings:
    username: {claim: sub, prefix: \"\"}
anonymous:
  enabled: true
  conditions: [{path: /livez}, {path: /readyz}]
";

fn errors(text: &str) -> Vec<String> {
    let config = AuthenticationConfiguration::parse(text).unwrap();
    let own = ["https://kubernetes.default.svc".to_owned()];
    validate(&config, &own).iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_file_is_read() {
    let config = AuthenticationConfiguration::parse(GOOD).unwrap();
    assert_eq!(config.jwt[0].issuer.url, "https://issuer.example.com");
    assert_eq!(config.anonymous.as_ref().unwrap().conditions.len(), 2);
    assert_eq!(errors(GOOD), [""; 0]);
    let json = r#"{"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthenticationConfiguration"}"#;
    assert!(AuthenticationConfiguration::parse(json).is_ok());
}

#[test]
fn another_kind_version_or_field_is_refused() {
    for (from, to, wanted) in [
        ("k8s.io/v1", "k8s.io/v7", "must be apiserver.config.k8s.io/v1 or"),
        ("kind: AuthenticationConfiguration", "kind: Other", "must be AuthenticationConfiguration"),
        ("audiences:", "audience:", "audience"),
    ] {
        let error = AuthenticationConfiguration::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// A change of [`GOOD`], and what is then wrong.
const WRONG: &[(&str, &str, &str)] = &[
    ("https://issuer.example.com", "\"\"", "jwt[0].issuer.url: Required value: URL is required"),
    (
        "https://issuer.example.com",
        "http://issuer.example.com",
        "jwt[0].issuer.url: Invalid value: \"http://issuer.example.com\": URL scheme must be https",
    ),
    (
        "https://issuer.example.com",
        "https://u:p@issuer.example.com",
        "jwt[0].issuer.url: Invalid value: \"https://u:p@issuer.example.com\": URL must not contain a username or password",
    ),
    (
        "https://issuer.example.com",
        "https://issuer.example.com?q",
        "jwt[0].issuer.url: Invalid value: \"https://issuer.example.com?q\": URL must not contain a query",
    ),
    (
        "https://issuer.example.com",
        "\"https://issuer.example.com#f\"",
        "jwt[0].issuer.url: Invalid value: \"https://issuer.example.com#f\": URL must not contain a fragment",
    ),
    (
        "https://issuer.example.com",
        "https://kubernetes.default.svc",
        "jwt[0].issuer.url: Invalid value: \"https://kubernetes.default.svc\": URL must not overlap with disallowed issuers: [https://kubernetes.default.svc]",
    ),
    (
        "audiences: [a]",
        "audiences: [a]\n    discoveryURL: https://issuer.example.com/",
        "jwt[0].issuer.discoveryURL: Invalid value: \"https://issuer.example.com/\": discoveryURL must be different from URL",
    ),
    (
        "audiences: [a]",
        "audiences: []",
        "jwt[0].issuer.audiences: Required value: at least one jwt[*].issuer.audiences is required",
    ),
    (
        "audiences: [a]",
        "audiences: [a, b]",
        "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
    ),
    (
        "audiences: [a]",
        "audiences: [a, a]\n    audienceMatchPolicy: MatchAny",
        "jwt[0].issuer.audiences[1]: Duplicate value: \"a\"",
    ),
    (
        "audiences: [a]",
        "audiences: [a]\n    certificateAuthority: nonsense",
        "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid certificates",
    ),
    (
        "{claim: sub, prefix: \"\"}",
        "{}",
        "jwt[0].claimMappings.username: Required value: claim or expression is required",
    ),
    (
        "{claim: sub, prefix: \"\"}",
        "{claim: sub}",
        "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing.",
    ),
    (
        "{claim: sub, prefix: \"\"}",
        "{claim: sub, prefix: \"\", expression: claims.sub}",
        "jwt[0].claimMappings.username: Invalid value: \"\": claim and expression can't both be set",
    ),
    (
        "{claim: sub, prefix: \"\"}",
        "{claim: sub, prefix: \"\"}\n    extra: [{key: Acme.io/X, valueExpression: claims.x}]",
        "jwt[0].claimMappings.extra[0].key: Invalid value: \"Acme.io/X\": key must be lowercase",
    ),
    (
        "{claim: sub, prefix: \"\"}",
        "{claim: sub, prefix: \"\"}\n    extra: [{key: x.k8s.io/y, valueExpression: claims.x}]",
        "jwt[0].claimMappings.extra[0].key: Invalid value: \"x.k8s.io/y\": k8s.io domains are reserved for Kubernetes use",
    ),
    (
        "{claim: sub, prefix: \"\"}",
        "{claim: sub, prefix: \"\"}\n    extra: [{key: acme.io/y}]",
        "jwt[0].claimMappings.extra[0].valueExpression: Required value: valueExpression is required",
    ),
    (
        "  claimMappings:",
        "  claimValidationRules: [{claim: hd, expression: \"true\"}]\n  claimMappings:",
        "jwt[0].claimValidationRules[0]: Invalid value: \"hd\": claim and expression can't both be set",
    ),
    (
        "  claimMappings:",
        "  claimValidationRules: [{claim: hd, requiredValue: x}, {claim: hd}]\n  claimMappings:",
        "jwt[0].claimValidationRules[1].claim: Duplicate value: \"hd\"",
    ),
    (
        "  claimMappings:",
        "  userValidationRules: [{message: m}]\n  claimMappings:",
        "jwt[0].userValidationRules[0].expression: Required value: expression is required",
    ),
    (
        "{claim: sub, prefix: \"\"}",
        "{expression: claims.email}",
        "jwt[0].claimMappings.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression",
    ),
    (
        "enabled: true",
        "enabled: false",
        "anonymous.conditions: Invalid value: [\"/livez\",\"/readyz\"]: enabled should be set to true when conditions are defined",
    ),
];

#[test]
fn each_wrong_field_is_named() {
    for (from, to, wanted) in WRONG {
        assert!(GOOD.contains(from), "{from}");
        let found = errors(&GOOD.replace(from, to));
        assert_eq!(found[0], *wanted);
        // Only the expression beside the claim is wrong twice: its prefix too.
        assert_eq!(found.len(), if to.contains("expression: claims.sub") { 2 } else { 1 }, "{found:?}");
    }
}

#[test]
fn one_issuer_stands_once() {
    let second = "jwt:\n- issuer: {url: https://issuer.example.com, audiences: [b]}\n  claimMappings: {username: {claim: sub, prefix: x}}";
    let found = errors(&GOOD.replace("jwt:", second));
    assert_eq!(found, ["jwt[1].issuer.url: Duplicate value: \"https://issuer.example.com\""]);
}

#[test]
fn flags_say_the_same_as_a_file() {
    assert_eq!(OidcFlags::default().to_config(true), Ok(None));
    let only_issuer = OidcFlags { issuer_url: "https://i".to_owned(), ..OidcFlags::default() };
    assert_eq!(only_issuer.to_config(false), Err(FlagError::Together));
    let flags = OidcFlags {
        client_id: "client".to_owned(),
        groups_claim: "roles".to_owned(),
        required_claims: BTreeMap::from([("hd".to_owned(), "x".to_owned())]),
        ..only_issuer
    };
    assert_eq!(flags.to_config(true), Err(FlagError::Exclusive));
    let config = flags.to_config(false).unwrap().unwrap();
    assert_eq!(config.claim_mappings.username.claim, "sub");
    assert_eq!(config.claim_mappings.username.prefix.as_deref(), Some("https://i#"));
    assert_eq!(config.claim_mappings.groups.prefix.as_deref(), Some(""));
    assert_eq!(config.signing_algorithms, ["RS256"]);
    assert_eq!(config.claim_validation_rules[0].required_value, "x");
    let email = OidcFlags { username_claim: "email".to_owned(), ..flags.clone() };
    assert_eq!(email.to_config(false).unwrap().unwrap().claim_mappings.username.prefix.as_deref(), Some(""));
    let none = OidcFlags { username_prefix: "-".to_owned(), ..flags.clone() };
    assert_eq!(none.to_config(false).unwrap().unwrap().claim_mappings.username.prefix.as_deref(), Some(""));
    let unknown = OidcFlags { signing_algs: vec!["HS256".to_owned()], ..flags };
    assert_eq!(unknown.to_config(false), Err(FlagError::Algorithm("HS256".to_owned())));
}
