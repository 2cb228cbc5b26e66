//! The `--oidc-*` flags: one issuer, in the words of the configuration file.
//!
//! Enters: flags as given. Leaves: a [`JwtConfig`], or what is wrong with them.
//!
//! Authority: `pkg/kubeapiserver/options/authentication.go`.

use std::collections::BTreeMap;

use super::{ClaimMappings, ClaimRule, IssuerConfig, JwtConfig, PrefixedClaim};

/// The flags; empty means not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcFlags {
    /// `--oidc-issuer-url`.
    pub issuer_url: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// `--oidc-ca-file`, its content (PEM).
    pub ca: Option<String>,
    /// `--oidc-username-claim`; default `sub`.
    pub username_claim: String,
    /// `--oidc-username-prefix`; default the issuer and `#` (nothing for `email`), `-` means none.
    pub username_prefix: String,
    /// `--oidc-groups-claim`.
    pub groups_claim: String,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: String,
    /// `--oidc-signing-algs`; default RS256.
    pub signing_algs: Vec<String>,
    /// `--oidc-required-claim`, any number of them.
    pub required_claims: BTreeMap<String, String>,
}

/// Why the flags are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// One of the two without the other.
    #[error("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")]
    Together,
    /// Both a file and flags.
    #[error("authentication-config file and oidc-* flags are mutually exclusive")]
    Exclusive,
    /// A signature algorithm this server cannot check.
    #[error("oidc: unsupported signing alg: {0:?}; supported are {supported}", supported = crate::authn::jwt::ALGORITHMS.join(", "))]
    Algorithm(String),
}

impl OidcFlags {
    /// Whether any of them was given.
    pub fn any(&self) -> bool {
        *self != OidcFlags::default()
    }

    /// The issuer they describe; `None` if none was given. `file` says whether a configuration file is given too.
    pub fn to_config(&self, file: bool) -> Result<Option<JwtConfig>, FlagError> {
        if !self.any() {
            return Ok(None);
        }
        if file {
            return Err(FlagError::Exclusive);
        }
        if self.issuer_url.is_empty() || self.client_id.is_empty() {
            return Err(FlagError::Together);
        }
        let algorithms =
            if self.signing_algs.is_empty() { vec!["RS256".to_owned()] } else { self.signing_algs.clone() };
        let supported = |name: &String| crate::authn::jwt::ALGORITHMS.contains(&name.as_str());
        if let Some(unknown) = algorithms.iter().find(|name| !supported(name)) {
            return Err(FlagError::Algorithm(unknown.clone()));
        }
        let claim = if self.username_claim.is_empty() { "sub" } else { &self.username_claim };
        let prefix = match self.username_prefix.as_str() {
            "-" => String::new(),
            "" if claim == "email" => String::new(),
            "" => format!("{}#", self.issuer_url),
            given => given.to_owned(),
        };
        let mut mappings = ClaimMappings {
            username: PrefixedClaim {
                claim: claim.to_owned(),
                prefix: Some(prefix),
                ..PrefixedClaim::default()
            },
            ..ClaimMappings::default()
        };
        if !self.groups_claim.is_empty() {
            mappings.groups.claim.clone_from(&self.groups_claim);
            mappings.groups.prefix = Some(self.groups_prefix.clone());
        }
        let rules = self.required_claims.iter().map(|(claim, value)| ClaimRule {
            claim: claim.clone(),
            required_value: value.clone(),
            ..ClaimRule::default()
        });
        Ok(Some(JwtConfig {
            issuer: IssuerConfig {
                url: self.issuer_url.clone(),
                certificate_authority: self.ca.clone(),
                audiences: vec![self.client_id.clone()],
                ..IssuerConfig::default()
            },
            claim_validation_rules: rules.collect(),
            claim_mappings: mappings,
            signing_algorithms: algorithms,
            ..JwtConfig::default()
        }))
    }
}
