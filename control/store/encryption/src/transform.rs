//! Which providers a key of the store has, and values through them.
//!
//! Enters: a checked configuration, then keys and values of the store. Leaves: the value's other form, and whether the
//! stored form is the one a write would choose now. A resource no rule names is stored plain.

use std::sync::Arc;

use bytes::Bytes;

use crate::cipher::{CipherError, Key};
use crate::config::{EncryptionConfiguration, ProviderConfig, split};

/// What every encrypted value starts with, whoever encrypted it.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Why a stored value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// It is encrypted, and the resource has no provider for it.
    #[error(
        "the value is encrypted by {prefix:?}, and no provider of the encryption configuration has this key"
    )]
    NoKey {
        /// The provider and key it was encrypted with.
        prefix: String,
    },
    /// It is plain, and plain values are not allowed.
    #[error(
        "the value is not encrypted, and the encryption configuration does not list the provider identity for it"
    )]
    Plain,
    /// The key does not open it.
    #[error("the key {prefix:?} does not decrypt the value: {source}")]
    Cipher {
        /// The provider and key it was encrypted with.
        prefix: String,
        /// What the cipher says.
        source: CipherError,
    },
}

enum Provider {
    Identity,
    Keys(Vec<Key>),
}

/// A value in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) plain: Bytes,
    /// Whether a write would store it in another form: another key, another provider.
    pub(crate) is_stale: bool,
}

/// The providers of one rule, in order.
pub(crate) struct Chain(Vec<Provider>);

struct Rule {
    /// Plural and group; `*` for all.
    resources: Vec<(String, String)>,
    chain: Arc<Chain>,
}

/// The rules of a configuration.
pub struct Transformers {
    rules: Vec<Rule>,
    plain: Arc<Chain>,
}

fn provider(config: &ProviderConfig) -> Provider {
    let Some((kind, keys)) = config.keyed() else { return Provider::Identity };
    let made = keys.keys.iter().filter_map(|key| Key::new(kind, &key.name, &key.bytes()?));
    Provider::Keys(made.collect())
}

impl Default for Transformers {
    /// Everything plain.
    fn default() -> Transformers {
        Transformers { rules: Vec::new(), plain: Arc::new(Chain(vec![Provider::Identity])) }
    }
}

/// Plural and group of a key of the store (`/registry/<group or "core">/<plural>/...`).
fn resource_of(key: &str) -> Option<(&str, &str)> {
    let mut parts = key.strip_prefix("/registry/")?.split('/');
    let group = parts.next()?;
    Some((parts.next()?, if group == "core" { "" } else { group }))
}

impl Rule {
    /// Its resources as the file writes them.
    fn title(&self) -> String {
        let written = |(plural, group): &(String, String)| match (plural.as_str(), group.as_str()) {
            ("*", "") => "*.".to_owned(),
            (plural, "") => plural.to_owned(),
            (plural, group) => format!("{plural}.{group}"),
        };
        self.resources.iter().map(written).collect::<Vec<_>>().join(", ")
    }

    fn names(&self, plural: &str, group: &str) -> bool {
        let matches = |own: &str, other: &str| own == "*" || own == other;
        self.resources.iter().any(|(own, own_group)| matches(own, plural) && matches(own_group, group))
    }
}

impl Transformers {
    /// The rules of a configuration that [`EncryptionConfiguration::parse`] found in order.
    pub fn new(config: &EncryptionConfiguration) -> Transformers {
        let rules = config.resources.iter().map(|rule| Rule {
            resources: rule
                .resources
                .iter()
                .map(|name| split(name))
                .map(|(p, g)| (p.to_owned(), g.to_owned()))
                .collect(),
            chain: Arc::new(Chain(rule.providers.iter().map(provider).collect())),
        });
        Transformers { rules: rules.collect(), ..Transformers::default() }
    }

    /// The providers of a key of the store: those of the first rule that names its resource.
    pub(crate) fn chain(&self, key: &str) -> &Chain {
        let rule = resource_of(key)
            .and_then(|(plural, group)| self.rules.iter().find(|rule| rule.names(plural, group)));
        rule.map_or(&self.plain, |rule| &rule.chain)
    }

    /// Proves that every rule's values can be written and read again; else says of which resources they cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        const PROBE: (&str, &[u8]) = ("/registry/healthz", b"ok");
        for rule in &self.rules {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", rule.title());
            let sealed = rule.chain.seal(PROBE.0, Bytes::from_static(PROBE.1)).map_err(|e| wrong(&e))?;
            let opened = rule.chain.open(PROBE.0, &sealed).map_err(|e| wrong(&e))?;
            if opened.plain != PROBE.1 || opened.is_stale {
                return Err(wrong(&"a value does not come back as it was written"));
            }
        }
        Ok(())
    }
}

/// The provider and key name at the start of an encrypted value, for messages.
fn named_prefix(stored: &[u8]) -> String {
    let mut colons = stored.iter().take(512).enumerate().filter(|(_, byte)| **byte == b':').map(|(i, _)| i);
    let end = colons.nth(4).unwrap_or_else(|| stored.len().min(32));
    String::from_utf8_lossy(&stored[..end]).into_owned()
}

impl Chain {
    /// The form a value is stored in.
    pub(crate) fn seal(&self, key: &str, plain: Bytes) -> Result<Bytes, CipherError> {
        match self.0.first() {
            None | Some(Provider::Identity) => Ok(plain),
            Some(Provider::Keys(keys)) => {
                let first = keys.first().ok_or(CipherError::Encryption)?;
                Ok(first.seal(&plain, key.as_bytes())?.into())
            }
        }
    }

    /// The value of a stored form; several providers may hold a key of one name, each is tried.
    pub(crate) fn open(&self, key: &str, stored: &Bytes) -> Result<Opened, OpenError> {
        let is_encrypted = stored.starts_with(ENCRYPTED);
        let mut failure = None;
        for (position, provider) in self.0.iter().enumerate() {
            match provider {
                Provider::Identity if !is_encrypted => {
                    return Ok(Opened { plain: stored.clone(), is_stale: position != 0 });
                }
                Provider::Identity => {}
                Provider::Keys(keys) => {
                    for (number, own) in keys.iter().enumerate() {
                        let Some(body) = stored.strip_prefix(own.prefix.as_slice()) else { continue };
                        match own.open(body, key.as_bytes()) {
                            Ok(plain) => {
                                let is_stale = position != 0 || number != 0;
                                return Ok(Opened { plain: plain.into(), is_stale });
                            }
                            Err(source) => failure = Some(source),
                        }
                    }
                }
            }
        }
        Err(match failure {
            Some(source) => OpenError::Cipher { prefix: named_prefix(stored), source },
            None if is_encrypted => OpenError::NoKey { prefix: named_prefix(stored) },
            None => OpenError::Plain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transformers(resources: &str) -> Transformers {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{resources}"
        );
        Transformers::new(&EncryptionConfiguration::parse(&text).unwrap())
    }

    fn keys(provider: &str, names: &[(&str, u8)]) -> String {
        use base64::Engine as _;
        let one = |(name, byte): &(&str, u8)| {
            let secret = base64::engine::general_purpose::STANDARD.encode([*byte; 32]);
            format!("{{name: {name}, secret: {secret}}}")
        };
        let all: Vec<String> = names.iter().map(one).collect();
        format!("{{{provider}: {{keys: [{}]}}}}", all.join(", "))
    }

    const SECRET: &str = "/registry/core/secrets/a/b";

    #[test]
    fn the_first_rule_that_names_a_resource_holds() {
        let (one, two) = (keys("aesgcm", &[("one", 1)]), keys("aesgcm", &[("two", 2)]));
        let all = transformers(&format!(
            "- {{resources: [secrets, deployments.apps], providers: [{one}]}}\n- {{resources: ['*.', '*.batch'], providers: [{two}]}}"
        ));
        for (key, wanted) in [
            (SECRET, "k8s:enc:aesgcm:v1:one:"),
            ("/registry/apps/deployments/a/b", "k8s:enc:aesgcm:v1:one:"),
            ("/registry/core/configmaps/a/b", "k8s:enc:aesgcm:v1:two:"),
            ("/registry/batch/jobs/a/b", "k8s:enc:aesgcm:v1:two:"),
            ("/registry/apps/replicasets/a/b", "{}"),
            ("/registry/example.com/secrets/a/b", "{}"),
        ] {
            let sealed = all.chain(key).seal(key, Bytes::from_static(b"{}")).unwrap();
            assert!(sealed.starts_with(wanted.as_bytes()), "{key}");
            let opened = all.chain(key).open(key, &sealed).unwrap();
            assert_eq!(opened, Opened { plain: Bytes::from_static(b"{}"), is_stale: false });
        }
        assert_eq!(all.check(), Ok(()));
    }

    #[test]
    fn all_providers_read_and_what_is_not_the_first_key_is_stale() {
        let rule = |providers: &[String]| {
            transformers(&format!("- {{resources: [secrets], providers: [{}]}}", providers.join(", ")))
        };
        let identity = || "{identity: {}}".to_owned();
        let old = rule(&[keys("aescbc", &[("k1", 1)]), identity()]);
        let sealed = old.chain(SECRET).seal(SECRET, Bytes::from_static(b"{}")).unwrap();
        let plain = Bytes::from_static(b"{}");
        let is_stale =
            |all: &Transformers, stored: &Bytes| all.chain(SECRET).open(SECRET, stored).map(|o| o.is_stale);
        assert_eq!((is_stale(&old, &sealed), is_stale(&old, &plain)), (Ok(false), Ok(true)));
        let rotated = rule(&[keys("aescbc", &[("k2", 2), ("k1", 1)]), identity()]);
        assert_eq!((is_stale(&rotated, &sealed), is_stale(&rotated, &plain)), (Ok(true), Ok(true)));
        let other = rule(&[keys("secretbox", &[("k1", 3)]), keys("aescbc", &[("k1", 1)])]);
        assert_eq!((is_stale(&other, &sealed), is_stale(&other, &plain)), (Ok(true), Err(OpenError::Plain)));
        let decrypting = rule(&[identity(), keys("aescbc", &[("k1", 1)])]);
        assert_eq!((is_stale(&decrypting, &sealed), is_stale(&decrypting, &plain)), (Ok(true), Ok(false)));
        let lost = rule(&[keys("aescbc", &[("k3", 1)]), identity()]);
        let error = is_stale(&lost, &sealed).unwrap_err();
        assert_eq!(error, OpenError::NoKey { prefix: "k8s:enc:aescbc:v1:k1".to_owned() });
        assert!(matches!(is_stale(&Transformers::default(), &sealed), Err(OpenError::NoKey { .. })));
        let wrong = rule(&[keys("aesgcm", &[("k1", 9)])]);
        let gcm = rule(&[keys("aesgcm", &[("k1", 8)])]).chain(SECRET).seal(SECRET, plain).unwrap();
        let error = wrong.chain(SECRET).open(SECRET, &gcm).unwrap_err().to_string();
        assert!(error.contains("\"k8s:enc:aesgcm:v1:k1\" does not decrypt the value"), "{error}");
    }
    #[test]
    fn a_check_says_of_which_resources_values_cannot_be_used() {
        let mut all = transformers(&format!(
            "- {{resources: [secrets, '*.apps'], providers: [{}]}}\n- {{resources: ['*.'], providers: [{}]}}",
            keys("aescbc", &[("k1", 1)]),
            keys("aescbc", &[("k2", 2)]),
        ));
        assert_eq!(all.check(), Ok(()));
        let broken = || Arc::new(Chain(vec![Provider::Keys(Vec::new())]));
        all.rules[1].chain = broken();
        assert_eq!(all.check(), Err(format!("*.: {}", CipherError::Encryption)));
        all.rules[0].chain = broken();
        assert_eq!(all.check(), Err(format!("secrets, *.apps: {}", CipherError::Encryption)));
    }
}
