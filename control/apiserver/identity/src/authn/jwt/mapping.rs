//! From proven claims to a user, by an issuer's rules.
//!
//! Enters: the claims of a token whose signature, time and audience hold. Leaves: the user, or which rule the token
//! breaks. The order is upstream's: name, groups, uid, extra, then the rules on claims, then those on the user.
//!
//! Authority: `k8s.io/apiserver/plugin/pkg/authenticator/token/oidc/oidc.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use xebec_api::field::Path;

use crate::User;
use crate::authn::config::{AuthenticationConfiguration, ConfigError, JwtConfig, PrefixedClaim};
use crate::expression::{Compiled, Variable, Wanted, compile};

/// Why claims make no user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The claim of the name is missing or no string.
    #[error("parse username claims {claim:?}: {reason}")]
    Username {
        /// Which claim.
        claim: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The address is not verified.
    #[error("email not verified")]
    EmailNotVerified,
    /// The claim `email_verified` is no boolean.
    #[error("parse 'email_verified' claim: not a boolean")]
    EmailVerified,
    /// The claim of the groups is neither a string nor a list of strings.
    #[error("parse groups claim {0:?}: neither a string nor a list of strings")]
    Groups(String),
    /// The claim of the uid is missing or no string.
    #[error("parse uid claim {claim:?}: {reason}")]
    Uid {
        /// Which claim.
        claim: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An expression failed, or gave something else than wanted.
    #[error("error evaluating {what} expression: {reason}")]
    Expression {
        /// What it is for.
        what: &'static str,
        /// What happened.
        reason: String,
    },
    /// An expression gave no name.
    #[error("username claim is empty")]
    EmptyUsername,
    /// A claim that must be there is not.
    #[error("required claim {0} not present in ID token")]
    Missing(String),
    /// A claim has another value than it must.
    #[error("required claim {claim} value does not match. Got = {got}, want = {wanted}")]
    Value {
        /// Which claim.
        claim: String,
        /// Its value.
        got: String,
        /// The value wanted.
        wanted: String,
    },
    /// A claim that must be a string is none.
    #[error("parse claim {0}: not a string")]
    NotAString(String),
    /// A rule does not hold.
    #[error(
        "error evaluating {what} validation expression: validation expression '{expression}' failed: {message}"
    )]
    Rule {
        /// `claims` or `user info`.
        what: &'static str,
        /// The expression.
        expression: String,
        /// The rule's message.
        message: String,
    },
}

/// Where a value comes from.
enum Source {
    Nothing,
    Claim { name: String, prefix: String },
    Expression(Compiled),
}

struct Rule {
    compiled: Compiled,
    expression: String,
    message: String,
}

/// The compiled rules of one issuer.
pub(super) struct Mapping {
    username: Source,
    groups: Source,
    uid: Source,
    extra: Vec<(String, Compiled)>,
    required: BTreeMap<String, String>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

fn source(
    claim: &str,
    prefix: Option<&str>,
    expression: &str,
    wanted: Wanted,
    at: &Path,
) -> Result<Source, ConfigError> {
    if !expression.is_empty() {
        return Ok(Source::Expression(compile(
            expression,
            Variable::Claims,
            wanted,
            &at.child("expression"),
        )?));
    }
    if claim.is_empty() {
        return Ok(Source::Nothing);
    }
    Ok(Source::Claim { name: claim.to_owned(), prefix: prefix.unwrap_or_default().to_owned() })
}

fn prefixed(mapping: &PrefixedClaim, wanted: Wanted, at: &Path) -> Result<Source, ConfigError> {
    source(&mapping.claim, mapping.prefix.as_deref(), &mapping.expression, wanted, at)
}

fn rule(expression: &str, message: &str, variable: Variable, at: &Path) -> Result<Rule, ConfigError> {
    let compiled = compile(expression, variable, Wanted::Truth, &at.child("expression"))?;
    Ok(Rule { compiled, expression: expression.to_owned(), message: message.to_owned() })
}

impl Mapping {
    /// Compiles an issuer's rules; `at` is `jwt[i]`.
    pub(super) fn new(config: &JwtConfig, at: &Path) -> Result<Mapping, ConfigError> {
        let mappings = &config.claim_mappings;
        let mappings_at = at.child("claimMappings");
        let uid = source(
            &mappings.uid.claim,
            None,
            &mappings.uid.expression,
            Wanted::Text,
            &mappings_at.child("uid"),
        )?;
        let mut extra = Vec::new();
        for (index, one) in mappings.extra.iter().enumerate() {
            let at = mappings_at.child("extra").index(index).child("valueExpression");
            extra.push((
                one.key.clone(),
                compile(&one.value_expression, Variable::Claims, Wanted::Texts, &at)?,
            ));
        }
        let mut claim_rules = Vec::new();
        for (index, one) in config.claim_validation_rules.iter().enumerate() {
            if !one.expression.is_empty() {
                let at = at.child("claimValidationRules").index(index);
                claim_rules.push(rule(&one.expression, &one.message, Variable::Claims, &at)?);
            }
        }
        let mut user_rules = Vec::new();
        for (index, one) in config.user_validation_rules.iter().enumerate() {
            let at = at.child("userValidationRules").index(index);
            user_rules.push(rule(&one.expression, &one.message, Variable::User, &at)?);
        }
        Ok(Mapping {
            username: prefixed(&mappings.username, Wanted::Text, &mappings_at.child("username"))?,
            groups: prefixed(&mappings.groups, Wanted::Texts, &mappings_at.child("groups"))?,
            uid,
            extra,
            required: AuthenticationConfiguration::required_claims(config),
            claim_rules,
            user_rules,
        })
    }

    /// The user the claims describe.
    pub(super) fn user(&self, claims: &Map<String, Value>) -> Result<User, MappingError> {
        let whole = Value::Object(claims.clone());
        let mut user = User {
            name: self.name(claims, &whole)?,
            groups: self.groups(claims, &whole)?,
            uid: self.uid(claims, &whole)?,
            ..User::default()
        };
        for (key, compiled) in &self.extra {
            let values = strings(eval(compiled, &whole, "extra claim")?, "extra claim")?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        self.check_claims(claims, &whole)?;
        if !self.user_rules.is_empty() {
            check_rules(&self.user_rules, &user.to_user_info(), "user info")?;
        }
        Ok(user)
    }

    fn name(&self, claims: &Map<String, Value>, whole: &Value) -> Result<String, MappingError> {
        let (claim, prefix) = match &self.username {
            Source::Nothing => return Err(MappingError::EmptyUsername),
            Source::Expression(compiled) => {
                return match eval(compiled, whole, "username claim")? {
                    Value::String(name) if name.is_empty() => Err(MappingError::EmptyUsername),
                    Value::String(name) => Ok(name),
                    _ => Err(wrong_type("username claim", "a string")),
                };
            }
            Source::Claim { name, prefix } => (name, prefix),
        };
        let failed = |reason| MappingError::Username { claim: claim.clone(), reason };
        let name = claims.get(claim).ok_or_else(|| failed("claim not present"))?;
        let name = name.as_str().ok_or_else(|| failed("not a string"))?;
        // An address somebody merely typed in is nobody's name.
        if claim == "email" {
            match claims.get("email_verified") {
                None | Some(Value::Bool(true)) => {}
                Some(Value::Bool(false)) => return Err(MappingError::EmailNotVerified),
                Some(_) => return Err(MappingError::EmailVerified),
            }
        }
        Ok(format!("{prefix}{name}"))
    }

    fn groups(&self, claims: &Map<String, Value>, whole: &Value) -> Result<Vec<String>, MappingError> {
        match &self.groups {
            Source::Nothing => Ok(Vec::new()),
            Source::Expression(compiled) => strings(eval(compiled, whole, "group claim")?, "group claim"),
            Source::Claim { name, prefix } => {
                let Some(value) = claims.get(name) else { return Ok(Vec::new()) };
                let found = match value {
                    Value::Null => Some(Vec::new()),
                    Value::String(one) => Some(vec![one.clone()]),
                    Value::Array(many) => many.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
                    _ => None,
                };
                let found: Vec<String> = found.ok_or_else(|| MappingError::Groups(name.clone()))?;
                Ok(found.into_iter().map(|group| format!("{prefix}{group}")).collect())
            }
        }
    }

    fn uid(&self, claims: &Map<String, Value>, whole: &Value) -> Result<String, MappingError> {
        match &self.uid {
            Source::Nothing => Ok(String::new()),
            Source::Expression(compiled) => match eval(compiled, whole, "uid claim")? {
                Value::String(uid) => Ok(uid),
                _ => Err(wrong_type("uid claim", "a string")),
            },
            Source::Claim { name, .. } => {
                let failed = |reason| MappingError::Uid { claim: name.clone(), reason };
                let value = claims.get(name).ok_or_else(|| failed("claim not present"))?;
                value.as_str().map(str::to_owned).ok_or_else(|| failed("not a string"))
            }
        }
    }

    fn check_claims(&self, claims: &Map<String, Value>, whole: &Value) -> Result<(), MappingError> {
        for (claim, wanted) in &self.required {
            let value = claims.get(claim).ok_or_else(|| MappingError::Missing(claim.clone()))?;
            let got = value.as_str().ok_or_else(|| MappingError::NotAString(claim.clone()))?;
            if got != wanted {
                let (claim, got, wanted) = (claim.clone(), got.to_owned(), wanted.clone());
                return Err(MappingError::Value { claim, got, wanted });
            }
        }
        check_rules(&self.claim_rules, whole, "claims")
    }
}

fn check_rules(rules: &[Rule], subject: &Value, what: &'static str) -> Result<(), MappingError> {
    for rule in rules {
        match eval(&rule.compiled, subject, what)? {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                let (expression, message) = (rule.expression.clone(), rule.message.clone());
                return Err(MappingError::Rule { what, expression, message });
            }
            _ => return Err(wrong_type(what, "a boolean")),
        }
    }
    Ok(())
}

fn eval(compiled: &Compiled, subject: &Value, what: &'static str) -> Result<Value, MappingError> {
    compiled.eval(subject).map_err(|reason| MappingError::Expression { what, reason })
}

fn wrong_type(what: &'static str, wanted: &str) -> MappingError {
    MappingError::Expression { what, reason: format!("expression must return {wanted}") }
}

/// A string or a list of strings; null, an empty string and an empty list are no value.
fn strings(value: Value, what: &'static str) -> Result<Vec<String>, MappingError> {
    let wrong = || wrong_type(what, "a string or a list of strings");
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(one) => Ok(if one.is_empty() { Vec::new() } else { vec![one] }),
        Value::Array(many) => many
            .into_iter()
            .map(|v| if let Value::String(one) = v { Ok(one) } else { Err(wrong()) })
            .collect(),
        _ => Err(wrong()),
    }
}
