//! The CEL expressions of an object, for whoever can compile them.
//!
//! Enters: a webhook configuration, an admission policy or a device claim. Leaves: each expression that upstream
//! would compile when the object is written, with its field, its surroundings and whether it was accepted before.
//! Called by the API server between [`crate::Strategy::validate`] and the store, see
//! [`crate::Strategy::expressions`]; compiling needs a CEL library and is therefore not done here.

use xebec_api::field::Path;
use xebec_api::names::is_cel_reserved;

/// One expression to compile.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// The field errors are reported on.
    pub path: Path,
    /// The text to compile, trimmed where upstream trims it.
    pub text: String,
    /// The value shown in an `Invalid value` error.
    pub shown: String,
    /// What the expression sees and must return.
    pub environment: Environment,
    /// True when the stored object has the same text: it is compiled in the environment for stored expressions,
    /// so that an upgrade's stricter rules do not make old objects unwritable.
    pub stored: bool,
}

/// What an expression sees and must return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Environment {
    /// An expression of a webhook or an admission policy.
    Admission(Admission),
    /// A device selector: sees `device`, returns a boolean, and may cost so much at most.
    Device,
}

/// The surroundings of an admission expression: `object`, `oldObject`, `request`, `namespaceObject`, and:
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// What the expression is for: decides the type it must return.
    pub role: Role,
    /// `params` is declared.
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource` are declared.
    pub authorizer: bool,
    /// The policy's variables listed before this expression are declared as fields of `variables`.
    pub variables: bool,
}

/// What an admission expression is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A match condition: bool.
    MatchCondition,
    /// A variable of this name: any type; later expressions see it as `variables.<name>`.
    Variable(String),
    /// A validation: bool.
    Validation,
    /// The message of a failed validation: string.
    Message,
    /// The value of an audit annotation: string or null.
    AuditAnnotation,
    /// A mutation by apply configuration: `Object`.
    ApplyConfiguration,
    /// A mutation by JSON patch: list of `JSONPatch`.
    JsonPatch,
}

/// True for a text that can name a CEL variable.
pub fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && !is_cel_reserved(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for good in ["a", "_", "a1_B"] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", "1a", "a-b", "a.b", "in", "namespace"] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }
}
