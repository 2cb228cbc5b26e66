//! The EncryptionConfiguration file: which resources, which providers, which keys.
//!
//! Enters: YAML or JSON of `apiserver.config.k8s.io/v1`. Leaves: a configuration whose every field is right, or all
//! that is wrong, by field.
//!
//! Authority: `k8s.io/apiserver/pkg/apis/apiserver/validation/validation_encryption.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use xebec_api::config_file::{self, ConfigError};
use xebec_api::field::{FieldError, Path};

const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptionConfiguration {
    /// `apiserver.config.k8s.io/v1`.
    #[serde(default)]
    pub api_version: String,
    /// `EncryptionConfiguration`.
    #[serde(default)]
    pub kind: String,
    /// Rules; the first that names a resource holds for it.
    #[serde(default)]
    pub resources: Vec<ResourceRule>,
}

/// Providers for some resources.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceRule {
    /// `plural`, `plural.group`, `*.group`, `*.` (the core group) or `*.*`.
    #[serde(default)]
    pub resources: Vec<String>,
    /// The first encrypts, all decrypt.
    #[serde(default)]
    pub providers: Vec<ProviderConfig>,
}

/// One provider; exactly one field is given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderConfig {
    /// AES-GCM with a random nonce; keys of 16 or 32 bytes.
    #[serde(default)]
    pub aesgcm: Option<KeysConfig>,
    /// AES-CBC with PKCS#7 padding, unauthenticated; keys of 16, 24 or 32 bytes.
    #[serde(default)]
    pub aescbc: Option<KeysConfig>,
    /// XSalsa20 and Poly1305; keys of 32 bytes.
    #[serde(default)]
    pub secretbox: Option<KeysConfig>,
    /// Plain.
    #[serde(default)]
    pub identity: Option<IdentityConfig>,
    /// Upstream's key services; refused here.
    #[serde(default)]
    pub kms: Option<serde::de::IgnoredAny>,
}

/// The keys of a provider; the first encrypts, all decrypt.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeysConfig {
    /// The keys.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
}

/// A key.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyConfig {
    /// Its name, which is stored with each value.
    #[serde(default)]
    pub name: String,
    /// The key, in base64.
    #[serde(default)]
    pub secret: String,
}

impl std::fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {}

/// What a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AesGcm,
    AesCbc,
    Secretbox,
}

impl Kind {
    /// The provider's name, in the file and in stored values.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::AesGcm => "aesgcm",
            Kind::AesCbc => "aescbc",
            Kind::Secretbox => "secretbox",
        }
    }

    /// The lengths a key may have, in bytes.
    pub(crate) fn key_sizes(self) -> &'static [usize] {
        match self {
            Kind::AesGcm => &[16, 32],
            Kind::AesCbc => &[16, 24, 32],
            Kind::Secretbox => &[32],
        }
    }
}

impl ProviderConfig {
    /// The provider that is given, with its keys; `None` for `identity` and for none.
    pub(crate) fn keyed(&self) -> Option<(Kind, &KeysConfig)> {
        let of = |kind, config: &'_ Option<KeysConfig>| config.as_ref().map(|_| kind);
        let kind = of(Kind::AesGcm, &self.aesgcm)
            .or_else(|| of(Kind::AesCbc, &self.aescbc))
            .or_else(|| of(Kind::Secretbox, &self.secretbox))?;
        let keys = match kind {
            Kind::AesGcm => &self.aesgcm,
            Kind::AesCbc => &self.aescbc,
            Kind::Secretbox => &self.secretbox,
        };
        keys.as_ref().map(|keys| (kind, keys))
    }

    fn given(&self) -> usize {
        let given = [
            self.aesgcm.is_some(),
            self.aescbc.is_some(),
            self.secretbox.is_some(),
            self.identity.is_some(),
            self.kms.is_some(),
        ];
        given.iter().filter(|given| **given).count()
    }
}

impl KeyConfig {
    /// The key's bytes.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.secret).ok()
    }
}

impl EncryptionConfiguration {
    /// Reads and checks the file's text; unknown fields are refused.
    pub fn parse(text: &str) -> Result<EncryptionConfiguration, ConfigError> {
        let config: EncryptionConfiguration =
            config_file::parse(text, &[API_VERSION], KIND, |config: &Self| {
                (&config.api_version, &config.kind)
            })?;
        ConfigError::unless_empty(config.validate())?;
        Ok(config)
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let root = Path::new("resources");
        if self.resources.is_empty() {
            errors.push(FieldError::required(&root, "at least one resource is required"));
        }
        for (index, rule) in self.resources.iter().enumerate() {
            let at = root.index(index);
            check_resources(&rule.resources, &at.child("resources"), &mut errors);
            let providers_at = at.child("providers");
            if rule.providers.is_empty() {
                errors.push(FieldError::required(&providers_at, "at least one provider is required"));
            }
            for (index, provider) in rule.providers.iter().enumerate() {
                check_provider(provider, &providers_at.index(index), &mut errors);
            }
        }
        errors
    }
}

/// Group of a resource as the file writes it: what follows the first dot, `None` for a plain plural.
pub(crate) fn split(resource: &str) -> (&str, &str) {
    resource.split_once('.').unwrap_or((resource, ""))
}

fn check_resources(resources: &[String], at: &Path, errors: &mut Vec<FieldError>) {
    if resources.is_empty() {
        errors.push(FieldError::required(at, "at least one resource is required"));
    }
    for (index, resource) in resources.iter().enumerate() {
        let at = at.index(index);
        let mut invalid = |detail: &str| errors.push(FieldError::invalid(&at, resource, detail));
        let (plural, group) = split(resource);
        if resource.chars().any(char::is_uppercase) {
            invalid("resource name should not contain capital letters");
        }
        if plural.is_empty() {
            invalid("a resource is a plural, plural.group, *.group, *. or *.*");
        }
        if resource == "*" {
            invalid(
                "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
            );
        }
        if plural != "*" && group == "*" {
            invalid("encrypting the same resource across groups is not supported");
        }
        if group == "events.k8s.io" {
            invalid(
                "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
            );
        }
        if group == "extensions" {
            invalid("'extensions' group has been removed and cannot be used for encryption");
        }
        if resources[..index].contains(resource) {
            invalid("the same resource cannot be specified multiple times");
        } else if resources.iter().any(|other| other != resource && masks(other, plural, group)) {
            invalid(
                "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
            );
        }
    }
}

/// Whether a wildcard in the same list names the resource too.
fn masks(wildcard: &str, plural: &str, group: &str) -> bool {
    match split(wildcard) {
        ("*", "*") => true,
        ("*", own) if wildcard.contains('.') => own == group && plural != "*",
        _ => false,
    }
}

fn check_provider(provider: &ProviderConfig, at: &Path, errors: &mut Vec<FieldError>) {
    match provider.given() {
        0 => {
            let detail = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
            errors.push(FieldError::required(at, detail));
            return;
        }
        1 => {}
        _ => {
            let detail = "more than one provider specified in a single element, should split into different list elements";
            errors.push(FieldError::invalid(at, "<omitted>", detail));
            return;
        }
    }
    if provider.kms.is_some() {
        let detail = "key services are not supported; use aesgcm, secretbox or aescbc";
        errors.push(FieldError::forbidden(&at.child("kms"), detail));
    }
    let Some((kind, config)) = provider.keyed() else { return };
    let keys_at = at.child(kind.name()).child("keys");
    if config.keys.is_empty() {
        errors.push(FieldError::required(&keys_at, "at least one keys is required"));
    }
    for (index, key) in config.keys.iter().enumerate() {
        let at = keys_at.index(index);
        check_key(kind, key, &at, errors);
        if config.keys[..index].iter().any(|other| other.name == key.name) {
            errors.push(FieldError::duplicate(&at.child("name"), &key.name));
        }
    }
}

fn check_key(kind: Kind, key: &KeyConfig, at: &Path, errors: &mut Vec<FieldError>) {
    if key.name.is_empty() {
        errors.push(FieldError::required(&at.child("name"), "name is a mandatory field for a key"));
    } else if key.name.contains(':') {
        let detail = "must not contain ':', which ends the name in stored values";
        errors.push(FieldError::invalid(&at.child("name"), &key.name, detail));
    }
    let secret_at = at.child("secret");
    if key.secret.is_empty() {
        errors.push(FieldError::required(&secret_at, "secret is a mandatory field for a key"));
        return;
    }
    match key.bytes() {
        None => errors.push(FieldError::invalid(&secret_at, "REDACTED", "secrets must be base64 encoded")),
        Some(bytes) if !kind.key_sizes().contains(&bytes.len()) => {
            let sizes: Vec<String> = kind.key_sizes().iter().map(ToString::to_string).collect();
            let detail = format!(
                "secret is not of the expected length, got {}, expected one of [{}]",
                bytes.len(),
                sizes.join(" ")
            );
            errors.push(FieldError::invalid(&secret_at, "REDACTED", detail));
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, configmaps]
  providers:
  - aesgcm: {keys: [{name: k1, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}
  - identity: {}
- resources: ['*.apps', '*.*']
  providers: [{secretbox: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]
";

    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        EncryptionConfiguration::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn a_good_file_is_read_and_keys_are_not_shown() {
        let text = GOOD.replace("'*.apps', '*.*'", "'*.*'");
        let config = EncryptionConfiguration::parse(&text).unwrap();
        let (kind, keys) = config.resources[0].providers[0].keyed().unwrap();
        assert_eq!((kind, keys.keys[0].bytes().unwrap().len()), (Kind::AesGcm, 16));
        assert!(!format!("{config:?}").contains("MDEy"));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let overlap = EncryptionConfiguration::parse(GOOD).unwrap_err().to_string();
        assert!(
            overlap.starts_with("resources[1].resources[0]: Invalid value: \"*.apps\": using overlapping"),
            "{overlap}"
        );
        for (from, to, wanted) in [
            ("/v1", "/v2", "apiVersion: \"apiserver.config.k8s.io/v2\": must be apiserver.config.k8s.io/v1"),
            ("kind: Enc", "kind: Dec", "must be EncryptionConfiguration"),
            (
                "[secrets, configmaps]",
                "[]",
                "resources[0].resources: Required value: at least one resource is required",
            ),
            ("[secrets, configmaps]", "[Secrets]", "resource name should not contain capital letters"),
            ("[secrets, configmaps]", "['*']", "use '*.' to encrypt all"),
            ("[secrets, configmaps]", "['secrets.*']", "encrypting the same resource across groups"),
            ("[secrets, configmaps]", "[events.events.k8s.io]", "Use 'events' instead"),
            (
                "[secrets, configmaps]",
                "[secrets, secrets]",
                "resources[0].resources[1]: Invalid value: \"secrets\": the same resource",
            ),
            (
                "[secrets, configmaps]",
                "[secrets, '*.']",
                "resources[0].resources[0]: Invalid value: \"secrets\": using overlapping",
            ),
            (
                "  - identity: {}",
                "  - {}",
                "resources[0].providers[1]: Required value: provider does not contain any",
            ),
            ("  - identity: {}", "  - {identity: {}, kms: {name: x}}", "more than one provider"),
            ("  - identity: {}", "  - kms: {name: x}", "resources[0].providers[1].kms: Forbidden"),
            ("name: k1", "name: ''", "resources[0].providers[0].aesgcm.keys[0].name: Required value"),
            ("name: k1", "name: 'a:b'", "must not contain ':'"),
            ("MDEyMzQ1Njc4OWFiY2RlZg==", "''", "secret is a mandatory field for a key"),
            ("MDEyMzQ1Njc4OWFiY2RlZg==", "'%'", "secrets must be base64 encoded"),
            (
                "MDEyMzQ1Njc4OWFiY2RlZg==",
                "AAAA",
                "secret is not of the expected length, got 3, expected one of [16 32]",
            ),
            ("resources: [secrets", "resourcez: [secrets", "resourcez"),
        ] {
            let error = error(from, to);
            assert!(error.contains(wanted), "{to}: {error}");
            assert!(!error.contains("MDEy"), "{error}");
        }
    }
}
