//! The AuthenticationConfiguration file (`--authentication-config`), and the `--oidc-*` flags mapped onto it.
//!
//! Enters: YAML or JSON of `apiserver.config.k8s.io/v1` (or v1beta1, which is the same), or flags. Leaves: an
//! [`AuthenticationConfiguration`] whose every field is right, or all that is wrong, by field. Called by
//! `xebec-control` at the start and by [`crate::reload`] when the file changes.
//!
//! Authority: `k8s.io/apiserver/pkg/apis/apiserver/{v1,validation}`, `kubeapiserver/options/authentication.go`.

use std::collections::BTreeMap;

use serde::Deserialize;
use xebec_api::config_file;
use xebec_api::field::FieldError;

mod flags;
mod validate;

pub use flags::{FlagError, OidcFlags};
pub use validate::validate;

/// Which forms of the file are read.
const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationConfiguration {
    /// `apiserver.config.k8s.io/v1`.
    #[serde(default)]
    pub api_version: String,
    /// `AuthenticationConfiguration`.
    #[serde(default)]
    pub kind: String,
    /// Issuers of tokens; at most 64.
    #[serde(default)]
    pub jwt: Vec<JwtConfig>,
    /// Requests without a credential; absent means what `--anonymous-auth` says.
    #[serde(default)]
    pub anonymous: Option<AnonymousConfig>,
}

/// Requests without a credential.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnonymousConfig {
    /// Whether they become `system:anonymous`.
    pub enabled: bool,
    /// If given, only requests for one of these paths do.
    #[serde(default)]
    pub conditions: Vec<AnonymousCondition>,
}

/// A path anonymous requests may ask for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnonymousCondition {
    /// The whole path, such as `/livez`.
    pub path: String,
}

/// One issuer of tokens and what its claims mean.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtConfig {
    /// Who issues them.
    pub issuer: IssuerConfig,
    /// What a token must say to be accepted.
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimRule>,
    /// Who the token's user is.
    #[serde(default)]
    pub claim_mappings: ClaimMappings,
    /// What the user must be like.
    #[serde(default)]
    pub user_validation_rules: Vec<UserRule>,
    /// Signature algorithms accepted; set by `--oidc-signing-algs` only, empty means every one supported.
    #[serde(skip)]
    pub signing_algorithms: Vec<String>,
}

/// Who issues tokens, and where its keys are found.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerConfig {
    /// The claim `iss`; the discovery document stands below it. Must be `https`.
    #[serde(default)]
    pub url: String,
    /// Where the discovery document stands instead, in full.
    #[serde(default, rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// The CA bundle (PEM) the issuer's certificate is checked against; the system's if absent.
    #[serde(default)]
    pub certificate_authority: Option<String>,
    /// The claim `aud` must hold one of these.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// `MatchAny`, required when several audiences are listed.
    #[serde(default)]
    pub audience_match_policy: String,
    /// The egress to use; only the direct one exists here.
    #[serde(default)]
    pub egress_selector_type: String,
}

/// What a token must say: a claim's value, or a CEL expression over `claims`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRule {
    /// The claim.
    #[serde(default)]
    pub claim: String,
    /// Its value, a string.
    #[serde(default)]
    pub required_value: String,
    /// An expression that must be true.
    #[serde(default)]
    pub expression: String,
    /// What to say when it is not.
    #[serde(default)]
    pub message: String,
}

/// Who the token's user is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimMappings {
    /// The name.
    #[serde(default)]
    pub username: PrefixedClaim,
    /// The groups.
    #[serde(default)]
    pub groups: PrefixedClaim,
    /// The uid.
    #[serde(default)]
    pub uid: ClaimOrExpression,
    /// Further facts.
    #[serde(default)]
    pub extra: Vec<ExtraMapping>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrefixedClaim {
    /// The claim.
    #[serde(default)]
    pub claim: String,
    /// What is put before its value; must be given with a claim, may be empty.
    #[serde(default)]
    pub prefix: Option<String>,
    /// An expression over `claims` instead.
    #[serde(default)]
    pub expression: String,
}

/// A claim, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimOrExpression {
    /// The claim.
    #[serde(default)]
    pub claim: String,
    /// An expression over `claims` instead.
    #[serde(default)]
    pub expression: String,
}

/// One further fact of the user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtraMapping {
    /// Its key: a domain, a slash, a path, in lower case.
    #[serde(default)]
    pub key: String,
    /// An expression over `claims`; a string or a list of strings, empty adds nothing.
    #[serde(default)]
    pub value_expression: String,
}

/// What the user must be like: an expression over `user`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserRule {
    /// The expression, which must be true.
    #[serde(default)]
    pub expression: String,
    /// What to say when it is not.
    #[serde(default)]
    pub message: String,
}

/// Why a configuration is refused; an operator must correct it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] config_file::ConfigError),
    /// A server it names cannot be asked.
    #[error("{0}")]
    Remote(#[from] crate::remote::RemoteError),
}

impl ConfigError {
    /// The error of one wrong field.
    pub(crate) fn field(error: FieldError) -> ConfigError {
        config_file::ConfigError::Fields(vec![error]).into()
    }
}

impl AuthenticationConfiguration {
    /// Reads the file's text; unknown fields are refused. The fields are not checked yet ([`validate()`]).
    pub fn parse(text: &str) -> Result<AuthenticationConfiguration, ConfigError> {
        Ok(config_file::parse(text, &VERSIONS, "AuthenticationConfiguration", |config: &Self| {
            (&config.api_version, &config.kind)
        })?)
    }

    /// The required claims of an issuer that are compared as strings.
    pub(crate) fn required_claims(jwt: &JwtConfig) -> BTreeMap<String, String> {
        let rules = jwt.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty());
        rules.map(|rule| (rule.claim.clone(), rule.required_value.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
