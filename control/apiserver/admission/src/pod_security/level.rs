//! Levels, versions and the policy a namespace's labels ask for.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a pod may do, from everything to little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything.
    Privileged,
    /// No known privilege escalation.
    Baseline,
    /// Hardened.
    Restricted,
}

impl Level {
    /// Reads a level; the error says what would be right.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// The release whose rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Those of this server.
    Latest,
    /// Those of Kubernetes 1.x.
    Minor(u32),
}

impl Version {
    /// Reads `latest` or `v1.x`; the error says what would be right.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = r#"must be "latest" or "v1.x""#;
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let digits = text.strip_prefix("v1.").ok_or(WRONG)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        if !plain {
            return Err(WRONG);
        }
        digits.parse().map(Self::Minor).map_err(|_| WRONG)
    }

    /// The minor release whose checks to run; releases to come are treated as this one.
    pub fn minor(self) -> u32 {
        match self {
            Self::Latest => super::NEWEST,
            Self::Minor(minor) => minor.min(super::NEWEST),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

/// A level in a version: `restricted:latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl LevelVersion {
    /// A level in this server's version.
    pub fn latest(level: Level) -> Self {
        Self { level, version: Version::Latest }
    }

    fn equivalent(&self, other: &Self) -> bool {
        (self.level == Level::Privileged && other.level == Level::Privileged) || self == other
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

/// What a namespace asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Pods that violate it are refused.
    pub enforce: LevelVersion,
    /// What violates it is noted in the audit log.
    pub audit: LevelVersion,
    /// What violates it is warned about.
    pub warn: LevelVersion,
}

impl Default for Policy {
    fn default() -> Self {
        let all = LevelVersion::latest(Level::Privileged);
        Self { enforce: all, audit: all, warn: all }
    }
}

impl Policy {
    /// The policy of these labels over the defaults, and what is wrong with the labels.
    ///
    /// A wrong level is taken as restricted for `enforce` and as privileged for `audit` and `warn`; a wrong version as
    /// the latest.
    pub fn of(labels: &BTreeMap<String, String>, defaults: &Self) -> (Self, Vec<FieldError>) {
        let (mut policy, mut errors) = (*defaults, Vec::new());
        let enforced = read(labels, "enforce", Level::Restricted, &mut policy.enforce, &mut errors);
        read(labels, "audit", Level::Privileged, &mut policy.audit, &mut errors);
        read(labels, "warn", Level::Privileged, &mut policy.warn, &mut errors);
        let has = |name: &str| labels.contains_key(&format!("{PREFIX}{name}"));
        if !has("warn") && enforced && policy.enforce.level.cmp(&policy.warn.level) == Ordering::Greater {
            policy.warn.level = policy.enforce.level;
            if !has("warn-version") {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Whether nothing is checked.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|one| one.level == Level::Privileged)
    }

    /// `enforce=baseline:latest, warn=..`: what labels have set beyond privileged; empty when it is the default.
    pub fn described(&self, labels: &Value, defaults: &Self) -> String {
        let same = self.enforce.equivalent(&defaults.enforce)
            && self.audit.equivalent(&defaults.audit)
            && self.warn.equivalent(&defaults.warn);
        if self.is_privileged() || same {
            return String::new();
        }
        let set = |mode: &str| {
            labels.get(format!("{PREFIX}{mode}")).is_some()
                || labels.get(format!("{PREFIX}{mode}-version")).is_some()
        };
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let shown = modes.iter().filter(|(mode, one)| one.level != Level::Privileged && set(mode));
        shown.map(|(mode, one)| format!("{mode}={one}")).collect::<Vec<_>>().join(", ")
    }
}

/// Reads one mode's labels; whether a valid level is set.
fn read(
    labels: &BTreeMap<String, String>,
    mode: &str,
    on_error: Level,
    into: &mut LevelVersion,
    errors: &mut Vec<FieldError>,
) -> bool {
    let path = Path::new("metadata").child("labels");
    let mut valid = false;
    let key = format!("{PREFIX}{mode}");
    if let Some(text) = labels.get(&key) {
        match Level::parse(text) {
            Ok(level) => (into.level, valid) = (level, true),
            Err(detail) => {
                into.level = on_error;
                errors.push(FieldError::invalid(&path.key(&key), text, detail));
            }
        }
    }
    let key = format!("{PREFIX}{mode}-version");
    if let Some(text) = labels.get(&key) {
        into.version = Version::parse(text).unwrap_or_else(|detail| {
            errors.push(FieldError::invalid(&path.key(&key), text, detail));
            Version::Latest
        });
    }
    valid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(labels: &[(&str, &str)]) -> (String, Vec<String>) {
        let labels = labels.iter().map(|(k, v)| (format!("{PREFIX}{k}"), (*v).to_owned())).collect();
        let (policy, errors) = Policy::of(&labels, &Policy::default());
        (
            format!("{} {} {}", policy.enforce, policy.audit, policy.warn),
            errors.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn labels() {
        let ok = |labels: &[(&str, &str)]| {
            let (text, errors) = policy(labels);
            assert!(errors.is_empty(), "{errors:?}");
            text
        };
        assert_eq!(ok(&[]), "privileged:latest privileged:latest privileged:latest");
        assert_eq!(
            ok(&[("enforce", "baseline"), ("enforce-version", "v1.20")]),
            "baseline:v1.20 privileged:latest baseline:v1.20"
        );
        assert_eq!(
            ok(&[("enforce", "baseline"), ("warn", "privileged"), ("audit", "restricted")]),
            "baseline:latest restricted:latest privileged:latest"
        );
        let (text, errors) = policy(&[
            ("enforce", "x"),
            ("audit", "y"),
            ("warn-version", "1.2"),
            ("enforce-version", "v1.01"),
        ]);
        assert_eq!(text, "restricted:latest privileged:latest privileged:latest");
        assert_eq!(
            errors,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\"",
                "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"y\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\"",
            ]
        );
    }

    #[test]
    fn future_versions_are_this_one() {
        assert_eq!(Version::Minor(99).minor(), super::super::NEWEST);
        assert_eq!(Version::parse("v1.0"), Ok(Version::Minor(0)));
    }
}
